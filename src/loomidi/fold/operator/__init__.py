"""The operator: carries Folds through their life. For the composition roots alone: it needs httpx, an extra."""

from loomidi.fold.operator.approving import approval_note
from loomidi.fold.operator.carrying import Carrier
from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.leading import Leadership, LeaseSettings
from loomidi.fold.operator.reconciling import Reconciler
from loomidi.fold.operator.running import Operator, RunSettings
from loomidi.fold.operator.world import World
from loomidi.fold.operator.writing import FAULTS, Fence, Pen

__all__ = [
    "FAULTS",
    "Carrier",
    "Fence",
    "Leadership",
    "LeaseSettings",
    "NotLeading",
    "Operator",
    "Pen",
    "Reconciler",
    "RunSettings",
    "World",
    "approval_note",
]
