"""The challenger beside the champion: the same features, scores that are kept and never told.

Called by `part` with every tick that the champion has judged. In: features, how the champion judged them, the
folder of models. Out: rows of METRICS for both, tick by tick, as a pair; what it costs, in CPU time of its own. A
challenger that fails, is too slow or cannot be opened is left out, which is counted with the reason: the champion has
told before it is asked. Whether it may become the champion is left to the gate of `origami.train`.
"""

import collections
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import LoomidiError
from loomidi.contracts.schemas import METRICS
from loomidi.kit import logging
from loomidi.origami.features import hashes, matrix
from loomidi.origami.online import Seen
from loomidi.origami.scoring import Bounds, BoundSettings, BrokenPromise, Guarded, Model, Tick, lesser, ticked
from loomidi.origami.scoring.champions import CHALLENGER
from loomidi.services.anomalies.champions import usable
from loomidi.services.settings.anomalies import AnomalySettings
from loomidi.services.shared.probes import Sample

SOURCE = "origami.scoring"  # of the rows
FIGURES = ("edges", "strange", "median_p", "cpu_ms")  # each a metric, loomidi_model_...
_FAR = 10.0  # times the budget: one tick of that ends it
_RECENT = 1024
_log = logging.logger("services.shadowing")


class Shadowing:
    """One installation's."""

    def __init__(self, models: Path, settings: AnomalySettings, offer: Callable[[pa.RecordBatch], None]) -> None:
        """`models`: the folder with the link `challenger`. `offer` takes rows of METRICS."""
        self.counts = collections.Counter[str]()
        self.left_out = ""  # why the challenger that is there is not scored
        self._link, self._settings, self._offer = models / CHALLENGER, settings, offer
        self._target = ""  # of the link, as it was opened
        self._model: Model | None = None
        self._guarded: Guarded | None = None
        self._bounds = Bounds()
        self._took = collections.deque[float](maxlen=_RECENT)

    def see(self, features: pa.RecordBatch, champion: Tick, name: str) -> None:
        """One tick, after the champion. Never raises for what the challenger does."""
        self._follow()
        if not self._target:
            return
        if self._guarded is None or self._model is None:
            self.counts["left_out_ticks"] += 1
            return
        began, seen = time.thread_time(), _seen(features)
        try:
            p_values = lesser(*self._guarded.both(seen))
        except BrokenPromise as error:
            self._leave("broken", str(error))
            return
        tick = ticked(seen, p_values, self._model.manifest.risk, (time.thread_time() - began) * 1e3)
        self.counts["ticks"] += 1
        self.counts["edges"] += tick.edges
        self.counts["strange"] += tick.strange
        self._took.append(tick.cpu_ms)
        self._offer(rows((("champion", name, champion), (CHALLENGER, self._model.manifest.id, tick))))
        slow = self._bounds.see(tick.edges, 0, tick.cpu_ms)
        if tick.cpu_ms > _FAR * self._settings.model_ms:
            slow = f"a tick took {tick.cpu_ms:.0f} ms of CPU, over {_FAR:g} times the budget"
        if slow:
            self._leave("slow", slow)

    def _follow(self) -> None:
        """Where another challenger is there by now, that one; one that was left out is not tried again."""
        try:
            target = str(self._link.readlink())
        except OSError:
            target = ""
        if target == self._target:
            return
        self._target, self.left_out, self._guarded, self._model = target, "", None, None
        budget = BoundSettings(times=math.inf, latency_ms=self._settings.model_ms)
        self._bounds = Bounds(budget)
        self._took.clear()
        if not target:
            return
        try:
            self._model = usable(self._link)
            self._guarded = self._model.guarded()
        except (LoomidiError, OSError) as error:
            self._leave("unusable", str(error))
            return
        self.counts["challengers"] += 1
        _log.info("a challenger is scored in shadow", model=self._model.manifest.id, kind=self._model.manifest.kind)

    def _leave(self, what: str, why: str) -> None:
        self.counts[f"left_out_{what}"] += 1
        self.left_out, self._guarded = why, None
        _log.warning("the challenger is left out, the champion goes on", challenger=self._target, cause=why)

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        for what, value in sorted(self.counts.items()):
            about = "Ticks, edges and strange edges of the challenger in shadow; why and how often it was left out"
            yield Sample("loomidi_challenger_total", "counter", about, value, {"what": what})
        if self._took:
            about = "CPU time that the challenger took for a tick at most, of the last thousand, in s"
            yield Sample("loomidi_challenger_seconds", "gauge", about, max(self._took) / 1e3, {})


def rows(sides: tuple[tuple[str, str, Tick], ...]) -> pa.RecordBatch:
    """METRICS of one tick: of each side (role, model, tick) its edges, strange ones, median p-value, CPU time."""
    now, out = time.time_ns(), list[dict[str, Any]]()
    for role, model, tick in sides:
        values = (tick.edges, tick.strange, tick.middle, tick.cpu_ms)
        out += [
            {
                "timestamp": tick.time_ns,
                "source_id": SOURCE,
                "metric_name": f"loomidi_model_{figure}",
                "value": float(value),
                "kind": "gauge",
                "unit": "ms" if figure == "cpu_ms" else "1",
                "attributes": [("role", role), ("model", model)],
                "received": now,
            }
            for figure, value in zip(FIGURES, values, strict=True)
        ]
    return pa.RecordBatch.from_pylist(out, schema=METRICS)


def _seen(features: pa.RecordBatch) -> Seen:
    source, destination = (hashes(features.column(end), 0) for end in ("source", "destination"))
    times = pc.cast(features.column("time"), pa.int64()).to_numpy()
    return Seen(times, source, destination, matrix(features))
