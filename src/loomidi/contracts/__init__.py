"""What crosses a boundary: frozen records, Arrow schemas, Protocols and the error tree.

Every house imports from here; nothing here does I/O or imports another house (except `kit`).
`schemas` is not imported by this face, so that records can be used without loading pyarrow.
"""

from loomidi.contracts.errors import (
    Conflict,
    EnvironmentLacks,
    InputError,
    LoomidiError,
    Refused,
    Retryable,
    UsageError,
)
from loomidi.contracts.records import (
    Approval,
    BlastRadius,
    Edge,
    Entity,
    Evidence,
    Finding,
    FoldKind,
    FoldSpec,
    Match,
    Mode,
    Outcome,
    Plan,
    Receipt,
    Severity,
    Step,
    Verdict,
    content_id,
)

__all__ = [
    "Approval",
    "BlastRadius",
    "Conflict",
    "Edge",
    "Entity",
    "EnvironmentLacks",
    "Evidence",
    "Finding",
    "FoldKind",
    "FoldSpec",
    "InputError",
    "LoomidiError",
    "Match",
    "Mode",
    "Outcome",
    "Plan",
    "Receipt",
    "Refused",
    "Retryable",
    "Severity",
    "Step",
    "UsageError",
    "Verdict",
    "content_id",
]
