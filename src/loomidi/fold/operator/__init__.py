"""The operator: carries Folds through their life. For the composition roots alone: it needs httpx, an extra."""

from loomidi.fold.operator.approving import Approvers, OwnKeys, SharedKey, approval_note, signed_note, statement
from loomidi.fold.operator.carrying import Carrier
from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.hearing import heard
from loomidi.fold.operator.leading import Leadership, LeaseSettings
from loomidi.fold.operator.people import People
from loomidi.fold.operator.probing import ASKERS
from loomidi.fold.operator.reconciling import Reconciler
from loomidi.fold.operator.running import Operator, RunSettings
from loomidi.fold.operator.sweeping import SweepSettings
from loomidi.fold.operator.world import World, unkept
from loomidi.fold.operator.writing import FAULTS, Fence, Pen

__all__ = [
    "ASKERS",
    "FAULTS",
    "Approvers",
    "Carrier",
    "Fence",
    "Leadership",
    "LeaseSettings",
    "NotLeading",
    "Operator",
    "OwnKeys",
    "Pen",
    "People",
    "Reconciler",
    "RunSettings",
    "SharedKey",
    "SweepSettings",
    "World",
    "approval_note",
    "heard",
    "signed_note",
    "statement",
    "unkept",
]
