"""A look at windows that are not whole yet: what is strange beyond doubt already, and not a trace of it in the judge.

Called by `services.anomalies.noticing` between two ticks. In: the features and the judge as the last tick left them,
rows of open windows. Out: `Incident`s that would be new, at a p-value that is as many times stricter as a window is
looked at. All is done on copies, which are made anew after each tick: the judge, its detectors and the features see a
window once, when it is closed. Which of them a closed window confirms is left to the caller.
"""

import dataclasses

import numpy as np
import pyarrow as pa

from loomidi.origami.features import FeatureSettings, WindowFeatures
from loomidi.origami.scoring.guarding import promised
from loomidi.origami.scoring.incidents import Incident, Incidents
from loomidi.origami.scoring.judging import Judge


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceSettings:
    """How early something may be told."""

    looks: int = 24
    # At most so many at one window: its p-value has to be so many times less (Bonferroni). Ten seconds of window and
    # twelve of lateness, looked at each second, are 22.


class Glancing:
    """One judge's."""

    def __init__(self, features: FeatureSettings, settings: GlanceSettings | None = None) -> None:
        self.settings = settings or GlanceSettings()
        self._features = WindowFeatures(features)  # memory for a second one: the first must not be touched
        self._before: tuple[bytes, bytes, bytes] | None = None  # features, frozen detector, incidents

    def forget(self) -> None:
        """A tick was judged: what is looked at next goes on from there."""
        self._before = None

    def look(
        self, features: WindowFeatures, judge: Judge, windows: dict[int, pa.RecordBatch], fresh: set[int]
    ) -> list[Incident]:
        """1 copies, 2 features in order of time, 3 scores of the fresh ones, 4 what is strange enough, 5 incidents.

        `windows`: by their end, all that are open, as far as they have come. Raises BrokenPromise.
        """
        if self._before is None:  # 1
            self._before = features.snapshot(), judge.guarded.frozen.snapshot(), judge.incidents.snapshot()
        known, frozen, opened = self._before
        self._features.restore(known)
        told = {end: self._features.feed(windows[end]) for end in sorted(windows)}  # 2
        rows = [told[end] for end in sorted(fresh & {*told}) if told[end].num_rows]
        if not rows:
            return []
        batch = pa.Table.from_batches(rows).combine_chunks().to_batches()[0]
        seen, detector = judge.seen([batch]), judge.guarded.make()
        detector.restore(frozen)
        p_values = judge.guarded.calibration.p_values(promised(detector, seen, np.zeros(len(seen), bool)))  # 3
        scored = judge.scored(seen, p_values, np.ones(len(seen)))
        strange = judge.strange(scored, judge.risk / self.settings.looks)  # 4
        alerts = list(judge.alerts(batch, seen, scored, strange))
        fork = Incidents(judge.incidents.settings)
        fork.restore(opened)
        return [one for one in fork.take(alerts) if one.state == "new"]  # 5
