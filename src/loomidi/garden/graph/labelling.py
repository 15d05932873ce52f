"""Flow records with the names of their two ends: entity, service and workload that owned the address at that moment.

Called by `services.shared.naming_flows`. In: batches of `FLOW_RECORDS`, an address book. Out: the same rows, name
columns that were null filled. The moment is the flow's end. Work goes by distinct addresses of a batch, never by flow:
an address that had one owner over the batch's whole time is one look, of another only its own flows are compared.
"""

import bisect
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.garden.graph.naming import AddressBook, Row
from loomidi.loom.flows.columns import plain

_PARTS = ("entity", "service", "workload")
_MOST_LABELS = 1 << 18  # remembered; then everything is looked up anew
_NOBODY = 0

Ids = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class _Timeline:
    """Owners of one address: `ids[n]` from `starts[n]` on."""

    starts: list[int]
    ids: list[int]

    def at(self, ns: int) -> int:
        """Place of the moment; -1 before the first."""
        return bisect.bisect_right(self.starts, ns) - 1

    def id_at(self, place: int) -> int:
        """The owner's label at a place."""
        return self.ids[place] if place >= 0 else _NOBODY


class FlowNamer:
    """Names flows by one book, whose only reader of `changes` it is. Not thread-safe."""

    def __init__(self, book: AddressBook, *, late_s: float = 0.0) -> None:
        """`late_s`: an address that nobody has is its last owner's for so long: last acknowledgements, retries."""
        self.book, self._late_ns = book, round(late_s * 1e9)
        self.rows = self.named = 0  # ends of flows seen, and those of them that have an entity now
        self._labels: list[tuple[str, str, str]] = [("", "", "")]
        self._ids: dict[tuple[str, str, str], int] = {self._labels[0]: _NOBODY}
        self._timelines: dict[str, _Timeline] = {}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, named. Raises ValueError for other columns than `FLOW_RECORDS`."""
        if batch.schema.names != FLOW_RECORDS.names:
            raise ValueError("not a batch of flow records: its columns are not those of `FLOW_RECORDS`")
        self._refresh()
        ends: Times = plain(batch.column("flow_end_nanoseconds"))
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for side in ("source", "destination"):
            ids = self._owners(columns[f"{side}_ip_address"], ends)
            for part, names in zip(_PARTS, self._texts(ids), strict=True):
                column = columns[f"{side}_{part}"]
                columns[f"{side}_{part}"] = names if column.null_count == len(column) else pc.coalesce(column, names)
            self.rows += len(ids)
            self.named += batch.num_rows - columns[f"{side}_entity"].null_count
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=FLOW_RECORDS)

    def _refresh(self) -> None:
        changed = self.book.changes()
        if len(self._labels) > _MOST_LABELS or any("/" in address for address in changed):
            self._timelines.clear()
            del self._labels[1:]
            self._ids = {self._labels[0]: _NOBODY}
        for address in changed:
            self._timelines.pop(address, None)

    def _owners(self, addresses: pa.Array, ends: Times) -> Ids:
        """The label of each row."""
        if not len(ends):
            return np.zeros(0, np.int32)
        encoded = addresses.dictionary_encode()
        codes, first, last = plain(encoded.indices), int(ends.min()), int(ends.max())
        found = np.zeros(len(encoded.dictionary), np.int32)
        disputed: list[tuple[int, _Timeline]] = []
        for code, address in enumerate(encoded.dictionary.to_pylist()):
            timeline = self._timeline(address)
            place = timeline.at(first)
            found[code] = timeline.id_at(place)
            if place != timeline.at(last):
                disputed.append((code, timeline))
        ids: Ids = found[codes]
        if disputed:
            _settle(ids, codes, ends, disputed)
        return ids

    def _timeline(self, address: str) -> _Timeline:
        known = self._timelines.get(address)
        if known is not None:
            return known
        starts, ids = list[int](), list[int]()
        for moment in self.book.moments(address):
            found = self._id(self.book.at(address, moment))
            if not ids or ids[-1] != found:
                starts.append(moment)
                ids.append(found)
        made = _Timeline(starts, ids) if not self._late_ns else _lengthened(starts, ids, self._late_ns)
        if ids:  # addresses that nobody has are many, and looked up as fast
            self._timelines[address] = made
        return made

    def _id(self, row: Row | None) -> int:
        label = ("", "", "") if row is None else (row.entity, row.service, row.workload)
        known = self._ids.get(label)
        if known is None:
            known = self._ids[label] = len(self._labels)
            self._labels.append(label)
        return known

    def _texts(self, ids: Ids) -> list[pa.Array]:
        """Entity, service and workload of each row; null where there is none."""
        used, places = np.unique(ids, return_inverse=True)
        labels = [self._labels[one] for one in used.tolist()]
        at = pa.array(places.astype(np.int32).reshape(-1))
        return [pa.array([label[part] or None for label in labels], pa.utf8()).take(at) for part in range(len(_PARTS))]


def _settle(ids: Ids, codes: npt.NDArray[Any], ends: Times, disputed: list[tuple[int, _Timeline]]) -> None:
    """Of addresses with several owners within the batch: one search over all their timelines, laid end to end."""
    first, span = int(ends.min()), int(ends.max()) - int(ends.min()) + 1
    laps = max(1, (1 << 62) // span)  # timelines that fit into 63 bits
    for begin in range(0, len(disputed), laps):
        part = disputed[begin : begin + laps]
        lap_of = np.full(int(codes.max()) + 1, -1, np.int64)
        lap_of[[code for code, _ in part]] = np.arange(len(part))
        starts, owners = list[int](), list[int]()
        for lap, (_, timeline) in enumerate(part):
            at, end = timeline.at(first), timeline.at(first + span - 1) + 1
            base = lap * span
            starts += [base, *(base + one - first for one in timeline.starts[at + 1 : end])]
            owners += [timeline.id_at(at), *timeline.ids[at + 1 : end]]
        laps_here = lap_of[codes]
        rows = np.flatnonzero(laps_here >= 0)
        moments = laps_here[rows] * span + (ends[rows] - first)
        places = np.searchsorted(np.array(starts, np.int64), moments, side="right") - 1
        ids[rows] = np.array(owners, np.int32)[places]


def _lengthened(starts: list[int], ids: list[int], by_ns: int) -> _Timeline:
    """Each owner goes on for so long where nobody follows."""
    made = _Timeline([], [])
    for place, (start, one) in enumerate(zip(starts, ids, strict=True)):
        if one == _NOBODY and place:
            start += by_ns
            if place + 1 < len(starts) and start >= starts[place + 1]:
                continue
        made.starts.append(start)
        made.ids.append(one)
    return made
