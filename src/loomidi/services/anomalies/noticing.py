"""What is strange in the windows of edges, as a state machine: batches in, incidents out, all state in one value.

Called by `part` and by the bench. In: EDGE_WINDOWS as they come from the bus. Out: `Incident`s. First it learns,
then it calibrates on what follows, then it tells; a trained model learns nothing here, its features warm up, and only
the threshold is set by what follows. A window is judged as a whole, when a later one begins or nothing more comes. The
same windows give the same features as in training and the same incidents, however they are cut, and after `restore`
too. No I/O, no clock but CPU time. Leaves words, causes and the bus to its caller.
"""

import collections
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.origami.features import SHAPED_FEATURES, FeatureSettings, WindowFeatures
from loomidi.origami.scoring import (
    BrokenPromise,
    CalibrationSettings,
    Glancing,
    GuardSettings,
    Incident,
    IncidentSettings,
    Judge,
    JudgeSettings,
    Tick,
)
from loomidi.services.anomalies.champions import Makers
from loomidi.services.settings.anomalies import AnomalySettings

LEARNING, CALIBRATING, TELLING = "learning", "calibrating", "telling"
PHASES = (LEARNING, CALIBRATING, TELLING)
LEAST = 1000  # edges to calibrate by
WARM_S = 3600.0  # of windows that a trained model's features warm up by: the longest that they count over
_VERSION, _LIMITS = 3, 8
Watch = Callable[[pa.RecordBatch], None]
Scored = Callable[[pa.RecordBatch, Tick, str], None]


class Noticing:
    """One stream of windows of one size."""

    def __init__(self, settings: AnomalySettings, size_s: int, makers: Makers, watch: Watch | None = None) -> None:
        """`watch` is given the features of every tick, as they are learned from or judged.

        `scored` (to be set) is given them when they were judged, with how, and the promise that was broken ("": none).
        """
        self.settings, self.size_s, self.makers = settings, size_s, makers
        self.scored: Scored | None = None
        self.counts = collections.Counter[str]()
        self.phase, self.problem = LEARNING, ""
        sized = FeatureSettings(pairs=settings.pairs, ends=max(settings.pairs // 4, 1024))
        self.features, self._glancing = WindowFeatures(sized), Glancing(sized) if settings.early_s else None
        self._open = dict[int, pa.RecordBatch]()  # end of a window -> its rows, as they were looked at last
        self.judge = Judge(makers.make, _judge_settings(settings))
        self.limits = dict[str, bytes]()  # by name of a model: what its slice had set here
        self._watch = watch
        self._kept = {phase: Kept(settings.kept_rows) for phase in (LEARNING, CALIBRATING)}
        self._pending = dict[int, list[pa.RecordBatch]]()  # end of a window -> what has come of it
        self._done_ns = 0  # end of the last window that was judged

    @property
    def waiting(self) -> bool:
        """Whether a window has come that is not judged yet."""
        return bool(self._pending)

    def take(self, windows: pa.RecordBatch) -> list[Incident]:
        """Rows as they come; those of other sizes, and of windows that overlap, are left out."""
        mine = pc.and_(windows.column("window_aligned"), pc.equal(windows.column("window_size_s"), self.size_s))
        rows = windows.filter(mine)
        self.counts["other_windows"] += windows.num_rows - rows.num_rows
        self.counts["read"] += rows.num_rows
        ends = rows.column("window_end").cast(pa.int64())
        for end in sorted(pc.unique(ends).to_pylist()):
            some = rows.filter(pc.equal(ends, end))
            self.counts["late"] += some.num_rows if end <= self._done_ns else 0
            self._pending.setdefault(end, []).append(some)
        newest = max((self._done_ns, *self._pending))
        return self._judged(end for end in sorted(self._pending) if end < newest)

    def glance(self, windows: dict[int, pa.RecordBatch]) -> list[Incident]:
        """What would be new, by windows that are open (end in ns, rows so far). What is judged later stays the same."""
        fresh = {end for end in windows if end > self._done_ns}
        self._open |= {end: windows[end] for end in fresh}
        if self._glancing is None or self.phase != TELLING or not fresh:
            return []
        pending = {end: pa.Table.from_batches(some) for end, some in self._pending.items()}
        whole = {end: table.combine_chunks().to_batches()[0] for end, table in pending.items()}
        self.counts["glances"] += 1
        try:
            return self._glancing.look(self.features, self.judge, self._open | whole, fresh)
        except BrokenPromise:  # the tick of the closed window will say so
            self.counts["broken_glances"] += 1
            return []

    @property
    def done_ns(self) -> int:
        """End of the last window that was judged."""
        return self._done_ns

    def settle(self) -> list[Incident]:
        """Nothing more comes of what has come so far."""
        return self._judged(iter(sorted(self._pending)))

    def _judged(self, ends: Iterator[int]) -> list[Incident]:
        told = list[Incident]()
        for end in list(ends):
            table = pa.Table.from_batches(self._pending.pop(end)).combine_chunks()
            told += self._tick(table.to_batches()[0])
            self._done_ns = max(self._done_ns, end)
            if self._glancing is not None:
                self._glancing.forget()
        self._open = {end: one for end, one in self._open.items() if end > self._done_ns}
        return told

    def _tick(self, windows: pa.RecordBatch) -> list[Incident]:
        features = self.features.feed(windows)
        if self._watch is not None:
            self._watch(features)
        if self.phase == TELLING:
            self.counts["scored"] += features.num_rows
            return self._told(features)
        self.counts["learned"] += features.num_rows
        self._kept[self.phase].add(features)
        self._advance()
        return []

    def _told(self, features: pa.RecordBatch) -> list[Incident]:
        """One tick that is judged; what a model breaks is counted, told to who watches, and costs this tick alone."""
        broken, told = "", list[Incident]()
        try:
            told = self.judge.tick(features)
        except BrokenPromise as error:
            broken, self.counts["broken_ticks"] = str(error), self.counts["broken_ticks"] + 1
        if self.scored is not None and features.num_rows:
            self.scored(features, self.judge.last, broken)
        return told

    def replace(self, makers: Makers) -> list[Incident]:
        """Another scorer from the next window on; what was open is over. The features go on as they are.

        A model that was judged by here before tells at once, under the threshold that it had; one that was not is
        calibrated first. The floor learns anew.
        """
        over = self.judge.end() if self.phase == TELLING else []
        self.makers, self.judge, self.problem = makers, Judge(makers.make, _judge_settings(self.settings)), ""
        self._kept = {phase: Kept(self.settings.kept_rows) for phase in self._kept}
        self.phase = LEARNING
        if makers.model is not None:
            self.phase = CALIBRATING
            if makers.name in self.limits:
                self.judge.adopt(makers.model, limits=self.limits[makers.name])
                self.phase = TELLING
        return over

    def _wanted(self) -> tuple[float, int]:
        """Of the phase: windows in s, rows."""
        if self.phase == CALIBRATING:
            return self.settings.calibrate_s, LEAST
        if self.makers.model is not None:
            return min(self.settings.learn_s, WARM_S), 0
        return self.settings.learn_s, self.settings.learn_rows

    def _advance(self) -> None:
        """From learning to calibrating to telling, when there is enough of each."""
        kept, settings = self._kept[self.phase], self.settings
        wanted_s, least = self._wanted()
        if kept.ticks * self.size_s < wanted_s or kept.rows < least:
            return
        if self.phase == LEARNING:
            self.phase = CALIBRATING
            return
        try:
            if self.makers.model is not None:
                self.judge.adopt(self.makers.model, kept.batches)
            else:
                self.judge.fit(self._kept[LEARNING].batches, kept.batches)
        except UsageError as error:  # too few for this detector: learn these too, calibrate by what follows
            self.problem = str(error)
            for batch in kept.batches:
                self._kept[LEARNING].add(batch)
            self._kept[CALIBRATING] = Kept(settings.kept_rows)
            return
        self.phase, self.problem = TELLING, ""
        self._kept = {phase: Kept(settings.kept_rows) for phase in self._kept}
        self.limits[self.makers.name] = self.judge.limits
        self.limits = dict([*self.limits.items()][-_LIMITS:])

    def standing(self) -> str:
        """In words, how far it is."""
        if self.phase == TELLING:
            return f"telling, by {self.makers.name}"
        kept, (wanted_s, least) = self._kept[self.phase], self._wanted()
        told = f"{self.phase}: {kept.ticks * self.size_s:g} of {wanted_s:g} s, {kept.rows} of {least} edges"
        return f"{told} ({self.problem})" if self.problem else told

    def figures(self) -> dict[str, int]:
        """What was counted, here and in its pieces."""
        found = self.features.edges.counts
        forgotten = {name: count for name, count in found.items() if name.startswith("forgotten")}
        held = {"pending": sum(one.num_rows for some in self._pending.values() for one in some)}
        incidents = {name: count for name, count in self.judge.incidents.counts.items() if name != "alerts"}
        alerts = {"alerts": self.judge.incidents.counts["alerts"], "gated": self.judge.guarded.counts["gated"]}
        return dict(self.counts) | forgotten | held | incidents | alerts

    # -- snapshots -------------------------------------------------------------------------------------------------

    @property
    def fits(self) -> str:
        """What a snapshot must have been made with: columns, sizes."""
        about = [_VERSION, EDGE_WINDOWS.names, SHAPED_FEATURES.names, self.size_s, self.settings.pairs]
        return hashlib.sha256(json.dumps([*about, self.settings.learn_rows]).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Everything."""
        pieces = [
            self.features.snapshot(),
            self.judge.snapshot() if self.phase == TELLING else b"",
            *(ipc(self._kept[phase].batches, SHAPED_FEATURES) for phase in self._kept),
            ipc([one for end in sorted(self._pending) for one in self._pending[end]], EDGE_WINDOWS),
            *self.limits.values(),
        ]
        head = {
            "fits": self.fits,
            "scorer": self.makers.name,
            "limits": [*self.limits],
            "phase": self.phase,
            "problem": self.problem,
            "counts": dict(self.counts),
            "done_ns": self._done_ns,
            "kept": {phase: kept.as_dict() for phase, kept in self._kept.items()},
            "lengths": [len(piece) for piece in pieces],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(pieces)

    def restore(self, state: bytes) -> None:
        """Go on from `to_bytes`; where another scored then, with the features alone, as `replace` does.

        Raises InputError with the reason where it was made with something else.
        """
        line, _, rest = state.partition(b"\n")
        head = json.loads(line)
        if head["fits"] != self.fits:
            raise InputError("what was learned belongs to other features, windows or detectors than those of now")
        pieces = list(_cut(rest, head["lengths"]))
        self.features.restore(pieces[0])
        self.limits = dict(zip(head["limits"], pieces[5:], strict=True))
        self._pending = {}
        for batch in _batches(pieces[4]):
            self._pending.setdefault(batch.column("window_end").cast(pa.int64())[0].as_py(), []).append(batch)
        self._done_ns, self.counts = head["done_ns"], collections.Counter(head["counts"])
        warm = head["phase"] != LEARNING
        if head["scorer"] == self.makers.name:
            self.phase, self.problem = head["phase"], head["problem"]
            if pieces[1]:
                self.judge.restore(pieces[1])
            for phase, piece in zip((LEARNING, CALIBRATING), pieces[2:4], strict=True):
                self._kept[phase].restore(head["kept"][phase], _batches(piece))
        elif warm:
            self.replace(self.makers)


class Kept:
    """Ticks to learn from, evenly over their time: when there are too many rows, every second one goes."""

    def __init__(self, most_rows: int) -> None:
        self.batches = list[pa.RecordBatch]()
        self.ticks = self.rows = 0  # that came, kept or not
        self._most, self._stride = most_rows, 1

    def add(self, batch: pa.RecordBatch) -> None:
        """One tick."""
        if self.ticks % self._stride == 0:
            self.batches.append(batch)
        self.ticks, self.rows = self.ticks + 1, self.rows + batch.num_rows
        while sum(one.num_rows for one in self.batches) > self._most and len(self.batches) > 1:
            self.batches, self._stride = self.batches[::2], self._stride * 2

    def as_dict(self) -> dict[str, int]:
        """All but the rows."""
        return {"ticks": self.ticks, "rows": self.rows, "stride": self._stride}

    def restore(self, plain: dict[str, Any], batches: list[pa.RecordBatch]) -> None:
        """Go on from there."""
        self.ticks, self.rows, self._stride, self.batches = plain["ticks"], plain["rows"], plain["stride"], batches


def ipc(batches: list[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """An Arrow stream, batch by batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _batches(data: bytes) -> list[pa.RecordBatch]:
    with pa.ipc.open_stream(data) as reader:
        return list(reader)


def _cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield data[at : at + length]
        at += length


def _judge_settings(settings: AnomalySettings) -> JudgeSettings:
    return JudgeSettings(
        incidents_per_day=settings.incidents_per_day,
        guard=GuardSettings(calibration=CalibrationSettings(least=LEAST)),
        incidents=IncidentSettings(quiet_s=settings.quiet_s),
    )
