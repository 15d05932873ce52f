"""Tuning: thresholds of the data plane learned from normal traffic, within bounds that policy sets.

Called by `services.fast.tuning`. Learning, bounds and proposing are here; deciding is `ionic.decide`'s and doing
`ionic.act`'s, as for every plan.
"""

from loomidi.ionic.enforcer.bounds import Bounds, read_bounds
from loomidi.ionic.enforcer.learning import Usual, UsualWindows
from loomidi.ionic.enforcer.proposing import Standing, Tuning, tuned

__all__ = ["Bounds", "Standing", "Tuning", "Usual", "UsualWindows", "read_bounds", "tuned"]
