"""From edges to incidents, tick by tick, with the number of false incidents a day as the setting.

Called by `services`. In: batches of EDGE_FEATURES or SHAPED_FEATURES, one a tick, in order of time. Out: `Incident`s.
The steps are those of `Judge.tick`. How strange is too strange follows from the calibration slice: the p-value at which
the slice itself, grouped as alerts are, has as many incidents a day as the budget allows.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.origami.features import CAUSAL, SHAPE, hashes, matrix
from loomidi.origami.online.norms import RobustNorm
from loomidi.origami.online.seen import Detector, Seen, packed, unpacked
from loomidi.origami.scoring.bursts import Bursts, BurstSettings
from loomidi.origami.scoring.calibrating import discoveries
from loomidi.origami.scoring.graphs import GraphModel
from loomidi.origami.scoring.guarding import Guarded, GuardSettings, lesser
from loomidi.origami.scoring.incidents import Alert, Incident, Incidents, IncidentSettings
from loomidi.origami.scoring.manifests import Model

_DAY_NS = 86_400 * 10**9
F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """How a tick was judged, for who watches the model."""

    time_ns: int = 0  # of its last edge
    edges: int = 0
    strange: int = 0  # of them with a p-value of at most `nominal`
    middle: float = 1.0  # median p-value
    cpu_ms: float = 0.0  # of this thread: what else runs on the node is no fault of the model
    least: float = 1.0  # the p-value that what is told goes by, of the strangest edge


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """p-values of each edge."""

    p_values: F64  # of all three together: what is told goes by it
    frozen: F64
    learning: F64
    edges: F64  # of both detectors, whatever the others of its ends are like
    bursts: F64  # of its ends, by all their strange edges at once


@dataclasses.dataclass(frozen=True, slots=True)
class JudgeSettings:
    """What may be told."""

    incidents_per_day: float = 1.0
    # False incidents that are put up with: the budget.
    share: float = 0.1
    # Of what is told in one tick, as much may be usual (Benjamini-Hochberg).
    told: int = 5
    # Features that are named as the reason.
    hub: float = 0.5
    # Share of all sources that talk to a hub as usual: alerts do not become one incident by it.
    steps: int = 24
    # Halvings of the p-value that are tried to meet the budget.
    seed: int = 0
    # Of the hash of names.
    nominal: float = 1e-3
    # p-value up to which an edge counts as strange in `Tick`: the rate of alarms that a calibration is held to.
    guard: GuardSettings = dataclasses.field(default_factory=GuardSettings)
    # When an edge is learned.
    incidents: IncidentSettings = dataclasses.field(default_factory=IncidentSettings)
    # What belongs together.


class Judge:
    """A guarded detector, its threshold, and the incidents that are open."""

    def __init__(self, make: Callable[[], Detector], settings: JudgeSettings | None = None) -> None:
        self.settings = settings or JudgeSettings()
        self.guarded = Guarded(make, self.settings.guard)
        self.incidents = Incidents(self.settings.incidents)
        self.bursts = Bursts(BurstSettings(self.settings.guard.gate))
        self.risk = 0.0  # p-values up to it may be told; 0: nothing, not fitted yet
        self.last = Tick()
        self._explain = RobustNorm()

    def fit(self, train: Iterable[pa.RecordBatch], calibrate: Iterable[pa.RecordBatch]) -> None:
        """Learn from the first; set p-values and the threshold by the second, which must follow it in time."""
        first, slice_ = list(train), list(calibrate)
        values = self.seen(first)
        self._explain = RobustNorm(features=values.values.shape[1])
        self._explain.fit(values)
        self.guarded.fit(values, self.seen(slice_))
        self.incidents = Incidents(self.settings.incidents, hubs(first, self.settings.hub))
        self.risk = self._affordable(slice_)

    def adopt(self, model: Model, calibrate: Iterable[pa.RecordBatch] = (), limits: bytes = b"") -> None:
        """Judge by a trained model as it is: its state, its calibration table, its hubs and reasons, nothing refitted.

        Only what follows from the budget is of here: by this slice, or the `limits` that it had here before.
        """
        self.guarded, self._explain = model.guarded(self.settings.guard), model.reasons()
        self.incidents = Incidents(self.settings.incidents, frozenset(model.manifest.hubs))
        if limits:
            self._limit(limits)
        else:
            self.risk = self._affordable(list(calibrate))

    @property
    def limits(self) -> bytes:
        """What was set by the slice: the threshold, and how strange usual ends are."""
        bursts = np.frombuffer(self.bursts.snapshot(), np.uint8)
        return packed({"risk": np.array([self.risk]), "bursts": bursts})

    def _limit(self, limits: bytes) -> None:
        kept = unpacked(limits, {"risk": np.zeros(1), "bursts": np.zeros(0, np.uint8)})
        self.risk = float(kept["risk"][0])
        self.bursts.restore(kept["bursts"].tobytes())

    def tick(self, batch: pa.RecordBatch) -> list[Incident]:
        """1 score, 2 p-values of edges, 3 and of ends, budget and share of errors, 4 pairs as alerts, 5 incidents.

        Raises BrokenPromise.
        """
        if not batch.num_rows:
            return []
        began, seen = time.thread_time(), self.seen([batch])
        frozen, learning = self.guarded.both(seen)  # 1, 2
        scored = self.scored(seen, frozen, learning)
        last = ticked(seen, scored.edges, self.settings.nominal, (time.thread_time() - began) * 1e3)
        self.last = dataclasses.replace(last, least=float(scored.p_values.min()))
        alerts = list(self.alerts(batch, seen, scored, self.strange(scored, self.risk)))  # 3, 4
        return [*self.incidents.take(alerts), *self.incidents.settle(int(seen.times_ns[-1]))]  # 5

    def scored(self, seen: Seen, frozen: F64, learning: F64) -> Scored:
        """By each detector, by the ends, and by all together (weighted Bonferroni)."""
        edges = lesser(frozen, learning)
        bursts = self.bursts.p_values(seen, edges)
        return Scored(lesser(edges, bursts, self.bursts.settings.share), frozen, learning, edges, bursts)

    def strange(self, scored: Scored, risk: float) -> npt.NDArray[np.bool_]:
        """Which rows are told at this p-value, of one tick at most a share of them usual."""
        return (scored.p_values <= risk) & discoveries(scored.p_values, self.settings.share)

    def end(self) -> list[Incident]:
        """All that is open is over: another one judges from now on."""
        return list(self.incidents.settle(1 << 62))

    def snapshot(self) -> bytes:
        """Both detectors, their calibration, the threshold, and what is open."""
        told = {"guarded": self.guarded.snapshot(), "explain": self._explain.snapshot()}
        told |= {"incidents": self.incidents.snapshot(), "limits": self.limits}
        states = {name: np.frombuffer(state, np.uint8) for name, state in told.items()}
        return packed({**states, "features": np.array([len(self._explain.middle)])})

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot` of the same detectors. Raises InputError where it does not fit."""
        octets = dict.fromkeys(("guarded", "explain", "incidents", "limits"), np.zeros(0, np.uint8))
        kept = unpacked(state, {**octets, "features": np.zeros(1, np.int64)})
        self._limit(kept["limits"].tobytes())
        self._explain = RobustNorm(features=int(kept["features"][0]))
        self._explain.restore(kept["explain"].tobytes())
        self.guarded.restore(kept["guarded"].tobytes())
        self.incidents.restore(kept["incidents"].tobytes())

    def _affordable(self, batches: list[pa.RecordBatch]) -> float:
        """The largest p-value at which the slice has no more incidents than its days may have.

        Judged as live: by both detectors, the learning one as it learns the slice. Where less than one incident may be
        in the slice, the p-value at which it has one is taken, and so much less of it.
        """
        seen = self.seen(batches)
        frozen, learning = self.guarded.both(seen)
        self.bursts.fit(seen, lesser(frozen, learning))
        scored = self.scored(seen, frozen, learning)
        days = max((int(seen.times_ns[-1]) - int(seen.times_ns[0])) / _DAY_NS, 1 / 1440)
        table = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        allowed = self.settings.incidents_per_day * days
        for step in range(1, self.settings.steps):
            risk = self.settings.guard.gate * 0.5**step
            incidents = Incidents(self.settings.incidents, self.incidents.hubs)
            for _ in incidents.take(list(self.alerts(table, seen.part(0, 0), scored, scored.p_values <= risk))):
                pass
            if incidents.counts["incidents"] <= max(allowed, 1.0):
                return risk * min(allowed, 1.0)
        return self.settings.guard.gate * 0.5**self.settings.steps * min(allowed, 1.0)

    def alerts(
        self,
        batch: pa.RecordBatch,
        seen: Seen,
        scored: Scored,
        which: npt.NDArray[np.bool_],
    ) -> Iterator[Alert]:
        """One for each pair of ends and moment among the chosen rows, with the reason of its strangest row."""
        rows = np.flatnonzero(which)
        if not len(rows):
            return
        chosen = batch.select(["time", "source", "destination"]).take(pa.array(rows))
        p_values, times = scored.p_values, chosen.column("time").cast(pa.int64()).to_numpy()
        ends = [hashes(chosen.column(end), self.settings.seed) for end in ("source", "destination")]
        order = np.lexsort((p_values[rows], *ends, times))
        keys = np.stack([times.view(np.uint64), *ends])[:, order]
        starts = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)))
        edges = np.diff(np.append(starts, len(order)))
        for row, many in zip(order[starts].tolist(), edges.tolist(), strict=True):
            at = int(rows[row])
            yield Alert(
                time_ns=int(times[row]),
                source=chosen.column("source")[row].as_py(),
                destination=chosen.column("destination")[row].as_py(),
                edges=many,
                score=float(-np.log10(max(p_values[at], 1e-300))),
                p_value=float(p_values[at]),
                frozen=float(scored.frozen[at]),
                learning=float(scored.learning[at]),
                burst=float(scored.bursts[at]),
                **self._reasons(seen.part(at, at + 1)),
            )

    def _reasons(self, seen: Seen) -> dict[str, Any]:
        """`contributions` and `quoted` of an alert: of a graph model the shares of its own score, else the norm's."""
        if not len(seen):
            return {}
        frozen = self.guarded.frozen
        off = (frozen.shares(seen) if isinstance(frozen, GraphModel) else self._explain.deviations(seen.values))[0]
        share = off / max(float(off.sum()), 1e-12)
        names, most = (*CAUSAL, *SHAPE), np.argsort(-share, kind="stable")[: self.settings.told].tolist()
        now, usual = np.expm1(seen.values[0].astype(float)), np.expm1(self._explain.middle.astype(float))
        return {
            "contributions": tuple((names[at], round(float(share[at]), 4)) for at in most),
            "quoted": tuple((names[at], float(now[at]), float(usual[at])) for at in most),
        }

    def seen(self, batches: list[pa.RecordBatch]) -> Seen:
        """As detectors take them."""
        table = pa.Table.from_batches(batches).combine_chunks()
        batch = table.to_batches()[0] if table.num_rows else table.schema.empty_table().to_batches()[0]
        source, destination = (hashes(batch.column(end), self.settings.seed) for end in ("source", "destination"))
        return Seen(batch.column("time").cast(pa.int64()).to_numpy(), source, destination, matrix(batch))


def ticked(seen: Seen, p_values: F64, nominal: float, cpu_ms: float) -> Tick:
    """What is told of a tick."""
    strange, middle = int(np.sum(p_values <= nominal)), float(np.median(p_values))
    return Tick(int(seen.times_ns[-1]), len(seen), strange, middle, cpu_ms)


def hubs(batches: list[pa.RecordBatch], share: float) -> frozenset[str]:
    """The destinations to which at least this share of all sources talks, and eight of them."""
    pairs = pa.Table.from_batches(batches).select(["source", "destination"])
    distinct = pairs.group_by(["source", "destination"]).aggregate([])
    names, counts = distinct["destination"].combine_chunks().value_counts().flatten()
    least = max(8.0, share * len(distinct["source"].unique()))
    return frozenset(names.filter(pc.greater_equal(counts, least)).to_pylist())
