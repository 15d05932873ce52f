"""An environment of the system graph with attacks, failures and look-alikes, in which policies are tried and trained.

Called by the bench and, in the environment that trains models, by Gymnasium (`environment`), sb3 (`agents`) and
RLlib (`clusters`). In: scenarios, seeds, actions. Out: rewards, and beside them what the budgets count. It stands for
no cluster but by its figures: `comparing` holds it against the lab.
"""

from loomidi.origami.gym.actions import ACTIONS, FIRST_FOLD, HUMAN, KINDS, NOTHING, action_of, slot_of, traits_of
from loomidi.origami.gym.comparing import Parity, parity
from loomidi.origami.gym.figures import Figures, calibrate, measured, read_lines, read_page
from loomidi.origami.gym.guarding import Budgets, GuardSettings
from loomidi.origami.gym.observing import FEATURES, OBSERVED, PLAIN, candidates, observation
from loomidi.origami.gym.playing import Bandit, Decided, Idle, Played, Player, decide_once, episodes_of, play
from loomidi.origami.gym.scenarios import FAMILIES, SCENARIOS, SIGNALS, parted
from loomidi.origami.gym.simulating import GymSettings, Simulator

__all__ = [
    "ACTIONS",
    "FAMILIES",
    "FEATURES",
    "FIRST_FOLD",
    "HUMAN",
    "KINDS",
    "NOTHING",
    "OBSERVED",
    "PLAIN",
    "SCENARIOS",
    "SIGNALS",
    "Bandit",
    "Budgets",
    "Decided",
    "Figures",
    "GuardSettings",
    "GymSettings",
    "Idle",
    "Parity",
    "Played",
    "Player",
    "Simulator",
    "action_of",
    "calibrate",
    "candidates",
    "decide_once",
    "episodes_of",
    "measured",
    "observation",
    "parity",
    "parted",
    "play",
    "read_lines",
    "read_page",
    "slot_of",
    "traits_of",
]
