"""Against slow poisoning: what scores high is not learned, and a reference that never learns stands beside.

Called by `judging` and by who watches a challenger. In: `Seen`. Out: scores. Who moves slowly enough under a learning
detector's gate becomes usual to it, but not to the frozen one: the score is the stranger of the two, each by its own
calibration, and how far they have come apart is told. A detector that does not keep what it promises, one finite score
for each edge, is told by `BrokenPromise`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loomidi.contracts.errors import InputError
from loomidi.origami.online.seen import F32, Detector, Mask, Seen, packed, unpacked
from loomidi.origami.scoring.calibrating import Calibration, CalibrationSettings

F64 = npt.NDArray[np.float64]


class BrokenPromise(InputError):
    """A detector failed, or gave something else than one finite score for each edge."""


@dataclasses.dataclass(frozen=True, slots=True)
class GuardSettings:
    """When an edge may be learned."""

    gate: float = 1e-2
    # p-value by the frozen detector below which an edge is not learned: the learning one has no say in what it learns.
    calibration: CalibrationSettings = dataclasses.field(default_factory=CalibrationSettings)
    # Of both.


class Guarded:
    """Two detectors of one make: `frozen` stays as it was fitted, `learning` goes on with what passes the gate."""

    def __init__(self, make: Callable[[], Detector], settings: GuardSettings | None = None) -> None:
        self.settings = settings or GuardSettings()
        self.make = make
        self.frozen, self.learning = make(), make()
        self.calibration = Calibration(self.settings.calibration)
        self.counts = {"scored": 0, "gated": 0, "only_frozen": 0, "only_learning": 0}

    def fit(self, train: Seen, calibrate: Seen) -> None:
        """Learn from the first, set the scale of p-values by the second."""
        for detector in (self.frozen, self.learning):
            detector.fit(train)
        nothing = np.zeros(len(calibrate), bool)
        self.calibration.fit(self.frozen.score(calibrate, nothing))
        self.learning.restore(self.frozen.snapshot())

    def p_values(self, seen: Seen) -> F64:
        """Twice the lesser of both, which is again a p-value; then what passes the gate is learned."""
        return lesser(*self.both(seen))

    def both(self, seen: Seen) -> tuple[F64, F64]:
        """Those of the frozen detector and of the learning one; then what passes the gate is learned.

        Raises BrokenPromise.
        """
        frozen = self.calibration.p_values(promised(self.frozen, seen, np.zeros(len(seen), bool)))
        strange = frozen < self.settings.gate
        learning = self.calibration.p_values(promised(self.learning, seen, ~strange))
        odd = learning < self.settings.gate
        self.counts["scored"] += len(seen)
        self.counts["gated"] += int(np.sum(strange))
        self.counts["only_frozen"] += int(np.sum(strange & ~odd))
        self.counts["only_learning"] += int(np.sum(odd & ~strange))
        return frozen, learning

    @property
    def apart(self) -> float:
        """Share of the strange edges that only one of both finds: near 0 they agree, near 1 one has moved away."""
        alone = self.counts["only_frozen"] + self.counts["only_learning"]
        return alone / max(self.counts["gated"] + self.counts["only_learning"], 1)

    def snapshot(self) -> bytes:
        """Both detectors and their calibration."""
        states = {name: np.frombuffer(part.snapshot(), np.uint8) for name, part in self._parts().items()}
        return packed({**states, "counts": np.array(list(self.counts.values()), np.int64)})

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`."""
        parts = self._parts()
        kept = unpacked(state, {**dict.fromkeys(parts, np.zeros(0, np.uint8)), "counts": np.zeros(4, np.int64)})
        for name, part in parts.items():
            part.restore(kept[name].tobytes())
        self.counts = dict(zip(self.counts, map(int, kept["counts"]), strict=True))

    def _parts(self) -> dict[str, Detector | Calibration]:
        return {"frozen": self.frozen, "learning": self.learning, "calibration": self.calibration}


def promised(detector: Detector, seen: Seen, learn: Mask) -> F32:
    """Its scores, one finite number for each edge. Raises BrokenPromise with what they are instead."""
    try:
        scores = np.asarray(detector.score(seen, learn))
    except Exception as error:  # whatever a trained model or its runtime fails with
        raise BrokenPromise(f"the model failed on {len(seen)} edges: {type(error).__name__}: {error}") from error
    if scores.shape != (len(seen),):
        raise BrokenPromise(f"the model gave scores of shape {scores.shape} for {len(seen)} edges")
    if not np.isfinite(scores).all():
        raise BrokenPromise(f"the model gave {int((~np.isfinite(scores)).sum())} scores that are no numbers")
    return scores


def lesser(one: F64, other: F64, share: float = 0.5) -> F64:
    """Of two p-values of one edge, one that holds for both together; `share` of the errors are the other's.

    Weighted Bonferroni: Genovese, Roeder, Wasserman 2006.
    """
    told: F64 = np.minimum(1.0, np.minimum(one / (1 - share), other / share))
    return told
