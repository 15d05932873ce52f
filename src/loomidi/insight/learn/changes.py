"""Changes of a stream of scores, by ADWIN (its mean) and KSWIN (its distribution): the only home of river.

Called by `services.anomalies.modelling`. In: one number a tick. Out: `Drift`s. A tick's number is the median
strangeness of its edges: one flood in a tick moves it less than a change of everything does.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.insight.learn.drifting import Drift, DriftSettings

F64 = npt.NDArray[np.float64]


class ScoreChanges:
    """Both tests over one stream. Raises EnvironmentLacks without river."""

    def __init__(self, settings: DriftSettings | None = None) -> None:
        self.settings = settings or DriftSettings()
        drift = _river()
        s = self.settings
        self._tests: dict[str, Any] = {
            "ADWIN": drift.ADWIN(delta=s.delta),
            "KSWIN": drift.KSWIN(alpha=s.alpha, window_size=s.window, stat_size=s.recent, seed=s.seed),
        }
        self._limits = {"ADWIN": s.delta, "KSWIN": s.alpha}
        self._tick = 0

    def see(self, value: float) -> list[Drift]:
        """Take in the number of one tick."""
        at, self._tick = self._tick, self._tick + 1
        told = list[Drift]()
        for name, test in self._tests.items():
            test.update(value)
            if test.drift_detected:
                told.append(Drift("scores", name, value, self._limits[name], at))
        return told


def medians(strange: F64, ticks: list[tuple[int, int]]) -> list[float]:
    """The number of each tick; ticks without one are left out."""
    return [float(np.nanmedian(strange[a:b])) for a, b in ticks if b > a and not np.isnan(strange[a:b]).all()]


def _river() -> Any:
    try:
        from river import drift
    except ModuleNotFoundError as error:
        raise EnvironmentLacks("drift of scores needs river: pip install 'loomidi[learn]'") from error
    return drift
