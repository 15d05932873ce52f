"""What crosses a boundary: frozen records, Arrow schemas, Protocols and the error tree.

Every house imports from here; nothing here does I/O or imports another house (except `kit`).
`schemas` is not imported by this face, so that records can be used without loading pyarrow; records are made when the
first is asked for, so that a verb without any does not wait for them.
"""

from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import (
    Conflict,
    EnvironmentLacks,
    InputError,
    LoomidiError,
    Refused,
    Retryable,
    UsageError,
)

if TYPE_CHECKING:
    from loomidi.contracts.records import (
        Approval,
        BlastRadius,
        Conversation,
        Edge,
        Entity,
        Evidence,
        Extension,
        Finding,
        FoldKind,
        FoldSpec,
        Match,
        Mode,
        Outcome,
        Plan,
        Receipt,
        Replay,
        Severity,
        Step,
        Verdict,
        content_id,
    )

__all__ = [
    "Approval",
    "BlastRadius",
    "Conflict",
    "Conversation",
    "Edge",
    "Entity",
    "EnvironmentLacks",
    "Evidence",
    "Extension",
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
    "Replay",
    "Retryable",
    "Severity",
    "Step",
    "UsageError",
    "Verdict",
    "content_id",
]


def __getattr__(name: str) -> Any:
    """A record, by its name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from loomidi.contracts import records

    return getattr(records, name)
