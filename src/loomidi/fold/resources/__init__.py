"""The custom resources of Loomidi: their schemas, and the life of a Fold.

Called by `tools/crds.py`, which writes `deployments/crd`, and by the operator, which works by the same tables.
"""

from loomidi.fold.resources.definitions import GROUP, VERSION
from loomidi.fold.resources.folds import fold_definition
from loomidi.fold.resources.objects import fold_object, plan_of
from loomidi.fold.resources.phases import JUDGED, MEANING, NEXT, OPEN, TERMINAL, TOUCHING, Phase
from loomidi.fold.resources.policies import fold_policy_definition

__all__ = [
    "GROUP",
    "JUDGED",
    "MEANING",
    "NEXT",
    "OPEN",
    "TERMINAL",
    "TOUCHING",
    "VERSION",
    "Phase",
    "fold_definition",
    "fold_object",
    "fold_policy_definition",
    "plan_of",
]
