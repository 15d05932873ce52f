"""Whether what comes now is still like what a model learned from: features by PSI, alarms by their realised rate.

Called by `services.anomalies.modelling`. In: matrices of features of then and now, counts of alarms. Out: `Drift`s,
each with its figure and limit. A drift says that a model may be out of date, never that another one is better.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
_GROWING = ("_total", "_degree")  # grow as long as a detector remembers: their drift is no news
_FLOOR = 1e-4  # share of an empty bin


@dataclasses.dataclass(frozen=True, slots=True)
class DriftSettings:
    """How far is too far."""

    bins: int = 10
    # Of equal share in the reference.
    psi: float = 0.25
    # Of one feature: below 0.1 nothing, above 0.25 another population, by the custom of those who use it.
    features: int = 3
    # That must be beyond it: of 38, one or two are by chance of the day.
    alarms: float = 5.0
    # Realised over nominal rate, or nominal over realised.
    sigmas: float = 4.0
    # Of a Poisson count, by which it must be off as well.
    delta: float = 2e-4
    # Of ADWIN, the chance of a false alarm at one look.
    alpha: float = 1e-6
    # Of KSWIN; it looks at every tick, so that its own 5e-3 would tell something every few hours.
    window: int = 200
    # Ticks that KSWIN remembers.
    recent: int = 60
    # Of these, the last ones, which it compares.
    seed: int = 0
    # Of KSWIN's draws.


@dataclasses.dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as it was."""

    kind: str  # features, alarms, scores
    what: str  # the feature, or the test
    figure: float
    limit: float
    at: int = -1  # tick; -1: the whole stretch


def psi(reference: F32, now: F32, bins: int = 10) -> float:
    """Population stability index of one feature: sum of (q - p) ln(q / p) over bins of equal share in the reference.

    Bins that ties make equal are one. 0 where either is empty.
    """
    if not len(reference) or not len(now):
        return 0.0
    cuts = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    p, q = (
        np.maximum(
            np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1) / len(values), _FLOOR
        )
        for values in (reference, now)
    )
    return float(np.sum((q - p) * np.log(q / p)))


def feature_drift(
    reference: F32, now: F32, names: Sequence[str], settings: DriftSettings | None = None
) -> tuple[list[Drift], dict[str, float]]:
    """The features that are another population now, if there are enough of them; and the PSI of every feature.

    Features that grow as long as a detector remembers are measured, and never a drift.
    """
    s = settings or DriftSettings()
    figures = {name: psi(reference[:, at], now[:, at], s.bins) for at, name in enumerate(names)}
    off = [Drift("features", name, figure, s.psi) for name, figure in figures.items() if figure > s.psi]
    off = [drift for drift in off if not drift.what.endswith(_GROWING)]
    return (sorted(off, key=lambda drift: -drift.figure) if len(off) >= s.features else []), figures


def alarm_drift(told: int, edges: int, nominal: float, settings: DriftSettings | None = None) -> list[Drift]:
    """Whether alarms are far more or far fewer than the calibration lets expect. Attacks raise them as well."""
    s = settings or DriftSettings()
    expected = nominal * edges
    if expected <= 0 or abs(told - expected) <= s.sigmas * math.sqrt(expected):
        return []
    ratio = told / expected
    if ratio > s.alarms:
        return [Drift("alarms", "more than calibrated", ratio, s.alarms)]
    return [Drift("alarms", "fewer than calibrated", ratio, 1 / s.alarms)] if ratio < 1 / s.alarms else []
