"""A stream of edges as training and evaluation take it: features, ticks, incidents that are known, where it came from.

Called by `fitting`, `trying` and `drawing up` a report. In: a table of EDGES, EDGE_WINDOWS or features, in any order of
rows. Out: `Stream`, in order of time. Labels are read here once and used by evaluation; training sees none of them but
those that outcomes of folds gave and that are not held out, whose edges it leaves out.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import EDGE_WINDOWS
from loomidi.origami.features import (
    CAUSAL,
    EDGE_FEATURES,
    EDGES,
    SHAPE,
    SHAPED_FEATURES,
    EdgeFeatures,
    WindowFeatures,
    hashes,
    matrix,
)
from loomidi.origami.features.reading import ordered
from loomidi.origami.online import Seen

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
USUAL, UNJUDGED = -1, -2
_QUIET = ("", "-")
_UNKNOWN = "?"  # a label: neither an attack nor usual, such as a failure; it counts nowhere


@dataclasses.dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream is cut."""

    train: float = 0.5
    # Share of the rows, the first ones, that a model learns from.
    calibrate: float = 0.2
    # Of those that follow, from which p-values are made; the rest is the test.
    tick_s: float = 60.0
    # Edges of one tick are scored together. Windows have a tick of their own: their end.
    window_s: int = 10
    # Which of the lake's windows are taken.
    gap_s: float = 1800.0
    # Edges of one label that are further apart are of two incidents, as on DARPA-98.
    hash_seed: int = 0
    # Of names; that of the live loop.

    def __post_init__(self) -> None:
        """Raises UsageError where nothing is left to test on."""
        if not (0 < self.train < 1 and 0 < self.calibrate < 1 and self.train + self.calibrate < 1):
            raise UsageError("a stream is cut into train, calibrate and test: use shares such as 0.5 and 0.2")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """One incident that somebody vouches for."""

    family: str
    first_ns: int
    last_ns: int
    names: frozenset[str] = frozenset()  # ends, as features name them; empty: it was told edge by edge
    held_out: bool = True  # never trained on, in no way


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """Edges in order of time. All arrays are of one length."""

    rows: pa.RecordBatch  # EDGE_FEATURES or SHAPED_FEATURES
    seen: Seen
    incident: I64  # number in `incidents`, or USUAL, or UNJUDGED
    incidents: tuple[Known, ...]
    labelled: bool  # whether anybody looked: without it USUAL means nothing
    starts: I64  # first row of each tick
    train: int  # the first row that is not to learn from
    calibrate: int  # the first row of the test
    data: Mapping[str, Any]  # source and snapshot, for the manifest

    @property
    def features(self) -> tuple[str, ...]:
        """In the order of the matrix."""
        return (*CAUSAL, *SHAPE) if self.seen.values.shape[1] == len(CAUSAL) + len(SHAPE) else CAUSAL

    def learnable_rows(self) -> Mask:
        """Which of the rows to learn from are of no incident that is known and may be used for it."""
        usable = np.array([*(not one.held_out for one in self.incidents), False, False], bool)
        rows: Mask = ~usable[self.incident[: self.train]]  # USUAL and UNJUDGED are the last two
        return rows

    def learnable(self) -> Seen:
        """These rows."""
        return taken(self.seen.part(0, self.train), self.learnable_rows())

    def ticks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """First and last row (exclusive) of each tick between two rows."""
        inside = self.starts[(self.starts > start) & (self.starts < stop)]
        edges = np.concatenate([[start], inside, [stop]]).tolist() if stop > start else []
        return list(itertools.pairwise(edges))


def taken(seen: Seen, mask: Mask) -> Seen:
    """The rows of a mask."""
    return seen if mask.all() else Seen(*(getattr(seen, name)[mask] for name in Seen.__slots__))


def stream_of(
    table: pa.Table,
    data: Mapping[str, Any],
    settings: StreamSettings | None = None,
    spans: Iterable[Known] | None = None,
) -> Stream:
    """Features, ticks and incidents of a table. `spans`: incidents told by time and names, else columns tell them.

    Raises InputError for a table that is none of edges, windows or features.
    """
    settings = settings or StreamSettings()
    rows, labels = _features(table, settings)
    if rows.num_rows < 3:
        raise InputError(f"{rows.num_rows} edges are no stream; give a longer stretch")
    source, destination = (hashes(rows.column(end), settings.hash_seed) for end in ("source", "destination"))
    seen = Seen(rows.column("time").cast(pa.int64()).to_numpy(), source, destination, matrix(rows))
    if spans is not None:
        incident, incidents = marked(rows, list(spans))
    else:
        incident, incidents = _told(seen.times_ns, labels, settings)
    ticks = seen.times_ns if "window_end" in table.schema.names else seen.times_ns // int(settings.tick_s * 1e9)
    starts = np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 1))
    cuts = [_at_tick(starts, int(len(seen) * share)) for share in (settings.train, settings.train + settings.calibrate)]
    if not 0 < cuts[0] < cuts[1] < len(seen):
        raise InputError("a stream of so few ticks cannot be cut into train, calibrate and test; give a longer one")
    labelled = spans is not None or "label" in table.schema.names
    return Stream(rows, seen, incident, incidents, labelled, starts, cuts[0], cuts[1], data)


def marked(rows: pa.RecordBatch, spans: list[Known]) -> tuple[I64, tuple[Known, ...]]:
    """The incident of each edge: of those at that time that have one of its ends. Later spans go over earlier ones."""
    times = rows.column("time").cast(pa.int64()).to_numpy()
    incident = np.full(rows.num_rows, USUAL, np.int64)
    kept = list[Known]()
    for span in spans:
        names = pa.array(sorted(span.names), pa.utf8())
        ends = [pc.is_in(rows.column(end), names).to_numpy(zero_copy_only=False) for end in ("source", "destination")]
        inside = (times >= span.first_ns) & (times <= span.last_ns) & (ends[0] | ends[1])
        incident[inside] = UNJUDGED if span.family == _UNKNOWN else len(kept)
        if span.family != _UNKNOWN:
            kept.append(span)
    return incident, tuple(kept)


def _features(table: pa.Table, settings: StreamSettings) -> tuple[pa.RecordBatch, pa.Table]:
    """The features of a table in order of time, and its columns `label` and `incident` in the same order."""
    names = set(table.schema.names)
    told = [name for name in ("label", "incident") if name in names]
    if names >= set(EDGE_WINDOWS.names):
        whole = _one(table.filter((pc.field("window_size_s") == settings.window_s) & pc.field("window_aligned")))
        whole = ordered(whole)
        return WindowFeatures().feed(_cast(whole, EDGE_WINDOWS)), pa.Table.from_batches([whole]).select(told)
    if not names >= set(EDGES.names):
        wanted = ", ".join(EDGES.names)
        raise InputError(f"no edges: give the columns {wanted} (and label), or those of the lake's edge_windows")
    whole = _one(table.take(pc.sort_indices(table, sort_keys=[("time", "ascending")])))
    labels = pa.Table.from_batches([whole]).select(told)
    for schema in (SHAPED_FEATURES, EDGE_FEATURES):
        if names >= set(schema.names):
            return _cast(whole, schema), labels
    return EdgeFeatures().feed(_cast(whole, EDGES)), labels


def _one(table: pa.Table) -> pa.RecordBatch:
    table = table.combine_chunks()
    if not table.num_rows:
        raise InputError("there are no edges in it; give a stretch of time in which there was traffic")
    return table.to_batches()[0]


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    try:
        table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
    except (pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"edges in columns of another type ({error}); docs/models.md has them") from error
    return table.combine_chunks().to_batches()[0]


def _told(times: I64, labels: pa.Table, settings: StreamSettings) -> tuple[I64, tuple[Known, ...]]:
    """Incidents of the columns `label` (family; "-", "" or null: usual; "?": not judged) and `incident`."""
    if "label" not in labels.schema.names:
        return np.full(len(times), USUAL, np.int64), ()
    family = labels["label"].combine_chunks().cast(pa.utf8()).fill_null("").dictionary_encode()
    names, codes = family.dictionary.to_pylist(), family.indices.to_numpy().astype(np.int64)
    quiet = np.array([name in _QUIET for name in names], bool)[codes]
    unknown = np.array([name == _UNKNOWN for name in names], bool)[codes]
    number = np.full(len(times), USUAL, np.int64)
    number[unknown] = UNJUDGED
    attack = np.flatnonzero(~quiet & ~unknown)
    if "incident" in labels.schema.names:
        ids = labels["incident"].combine_chunks().cast(pa.utf8()).fill_null("").dictionary_encode()
        keys = ids.indices.to_numpy().astype(np.int64)[attack]
        number[attack] = np.unique(keys, return_inverse=True)[1]
    else:
        number[attack] = _apart(times[attack], codes[attack], int(settings.gap_s * 1e9))
    known = list[Known]()
    for one in range(int(number.max()) + 1):
        at = np.flatnonzero(number == one)
        known.append(Known(names[codes[at[0]]], int(times[at[0]]), int(times[at[-1]])))
    return number, tuple(known)


def _apart(times: I64, codes: I64, gap_ns: int) -> I64:
    """A number for each run of one label without a gap."""
    order = np.lexsort((times, codes))
    fresh = (np.diff(codes[order], prepend=-1) != 0) | (np.diff(times[order], prepend=0) > gap_ns)
    out = np.empty(len(order), np.int64)
    out[order] = np.cumsum(fresh) - 1
    return out


def _at_tick(starts: I64, row: int) -> int:
    """The first row of the tick that this row is in."""
    return int(starts[np.searchsorted(starts, row, side="right") - 1])
