"""Which fold: a contextual bandit over the candidates of rules, its log, and what other policies would have earned.

Called by `services`, `origami.gym` and the bench. In: candidates as plain arrays, with the guards' mask. Out: a choice
with its propensity. Leaves to `ionic` what a candidate is, whether it is allowed, and carrying it out.
"""

from loomidi.origami.policy.arms import LinearArms
from loomidi.origami.policy.candidates import ARMS, ASK_HUMAN, NO_ACTION, Candidates, Choice
from loomidi.origami.policy.choosing import Chooser, ChooserSettings, MaskedAction
from loomidi.origami.policy.estimating import (
    METHODS,
    Estimate,
    EstimateSettings,
    Judged,
    Logged,
    dr,
    effective_size,
    estimate,
    ips,
    modelled,
    snips,
)
from loomidi.origami.policy.logs import DECISIONS, OUTCOMES, DecisionLog, Outcome, candidates_of, joined, read, replay

__all__ = [
    "ARMS",
    "ASK_HUMAN",
    "DECISIONS",
    "METHODS",
    "NO_ACTION",
    "OUTCOMES",
    "Candidates",
    "Choice",
    "Chooser",
    "ChooserSettings",
    "DecisionLog",
    "Estimate",
    "EstimateSettings",
    "Judged",
    "LinearArms",
    "Logged",
    "MaskedAction",
    "Outcome",
    "candidates_of",
    "dr",
    "effective_size",
    "estimate",
    "ips",
    "joined",
    "modelled",
    "read",
    "replay",
    "snips",
]
