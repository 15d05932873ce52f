"""Whether environment and lab agree: the same scenario under the same policy, times within two standard errors.

Called by tests and the bench. In: result lines of `loomidi-lab heal --results`, and a player that does what Loomidi
did there. Out: `Parity` per scenario, way and measure. Calibrate on other runs than those that are compared, or
nothing was tested: `halves` cuts them by seed.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from loomidi.contracts import InputError
from loomidi.origami.gym.figures import Figures, Line
from loomidi.origami.gym.playing import Idle, Player, play_on
from loomidi.origami.gym.simulating import GymSettings, Simulator
from loomidi.origami.gym.troubles import SuspectSettings

LEAST_RUNS = 3  # of the lab, before a standard error means anything
_MEASURES = ("detected_s", "over_s")  # the first only where Loomidi is at work


@dataclasses.dataclass(frozen=True, slots=True)
class Parity:
    """One measure of one scenario. Seconds."""

    scenario: str
    defended: bool
    measure: str
    lab: float
    lab_error: float  # standard error of the mean
    runs: int
    gym: float
    gym_error: float

    @property
    def within(self) -> bool:
        """Whether the means are no further apart than two standard errors of their difference."""
        return abs(self.lab - self.gym) <= 2.0 * math.hypot(self.lab_error, self.gym_error)


def halves(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """To calibrate on (even seeds) and to compare (odd seeds)."""
    even = [line for line in lines if int(line.get("seed", 0)) % 2 == 0]
    return even, [line for line in lines if line not in even]


def parity(lines: Sequence[Line], figures: Figures, player: Player, episodes: int = 200) -> list[Parity]:
    """Every scenario and way of which the lab has at least LEAST_RUNS runs; with Loomidi, those in which it acted.

    Raises InputError when it has of none: the answer would be silence, which is no agreement.
    """
    groups: dict[tuple[str, bool], list[Line]] = {}
    for line in lines:
        if line["defended"] and line["folded_s"] is None:
            continue
        groups.setdefault((line["scenario"], bool(line["defended"])), []).append(line)
    enough = {key: group for key, group in groups.items() if len(group) >= LEAST_RUNS}
    if not enough:
        raise InputError(f"no scenario has {LEAST_RUNS} runs on the lab; run `loomidi-lab heal` with more seeds")
    found: list[Parity] = []
    for (scenario, defended), group in enough.items():
        gym = _simulated(group, figures, player if defended else Idle(), episodes)
        for measure in _MEASURES if defended else _MEASURES[1:]:
            lab = [float(line[measure]) for line in group if line[measure] is not None]
            if len(lab) >= LEAST_RUNS:
                found.append(Parity(scenario, defended, measure, *_mean(lab), len(lab), *_mean(gym[measure])))
    return found


def _simulated(group: Sequence[Line], figures: Figures, player: Player, episodes: int) -> dict[str, list[float]]:
    """The acts last as long as those of the lab did, and the first suspect is the right one, as it was there."""
    scenario, acted = group[0]["scenario"], group[0]["defended"] and not isinstance(player, Idle)
    simulator = Simulator(GymSettings(figures=figures, suspects=SuspectSettings(first=1.0)))
    times: dict[str, list[float]] = {measure: [] for measure in _MEASURES}
    for seed in range(episodes):
        simulator.reset(scenario, seed, float(group[seed % len(group)]["lasted_s"]))
        played = play_on(player, simulator, seed)
        if acted and not played.folds:
            continue
        times["detected_s"].append(played.detected_s)
        times["over_s"].append(played.over_s)
    return times


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
