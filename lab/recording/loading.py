"""A recording in the hands of its reader: streams as lazy datasets, truth, who owned an address when.

Called as `loomidi_lab.load(DIR)`, by training, benchmarks and notebooks. In: a folder. Out: `Recording`. Nothing is
read before it is asked for. Leaves checking to `verifying`.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import parquet

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.lookup import Answer, Lookup
from loomidi_lab.recording.streams import STREAMS

LABELS = pa.schema(
    [
        pa.field("occurrence", pa.int64()),  # place in the schedule
        *(pa.field(name, pa.utf8()) for name in ("scenario", "category", "family", "technique", "kind", "role")),
        *(pa.field(name, pa.utf8()) for name in ("entity_kind", "namespace", "name", "pod", "address")),
        pa.field("start_ns", pa.int64()),
        pa.field("end_ns", pa.int64()),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Times of a recording, in ns."""

    begin_ns: int  # sources on
    origin_ns: int  # the schedule's 0
    end_ns: int


class Recording:
    """One recording, or a window of one. Streams are attributes: `flows`, `metrics`, `traces`, `logs`, ..."""

    def __init__(self, folder: Path, span: tuple[int, int] | None = None) -> None:
        """Use `load`."""
        self.folder = folder
        self._span = span

    flows = property(lambda self: self.stream("flows"))
    objects = property(lambda self: self.stream("objects"))
    events = property(lambda self: self.stream("events"))
    audit = property(lambda self: self.stream("audit"))
    metrics = property(lambda self: self.stream("metrics"))
    traces = property(lambda self: self.stream("traces"))
    logs = property(lambda self: self.stream("logs"))
    requests = property(lambda self: self.stream("requests"))

    def stream(self, name: str) -> ds.Dataset:
        """A pyarrow dataset, opened lazily; in a window, of that window only."""
        if name not in STREAMS:
            raise InputError(f"there is no stream {name!r}; there is {', '.join(STREAMS)}")
        paths = sorted(str(path) for path in (self.folder / name).glob("part-*.parquet"))
        dataset = ds.dataset(paths, schema=STREAMS[name], format="parquet")
        if self._span is None:
            return dataset
        begin, end = self._span
        return dataset.filter((pc.field("time_ns") >= begin) & (pc.field("time_ns") < end))

    def window(self, start_ns: int, end_ns: int) -> "Recording":
        """The same recording, streams cut to start <= time_ns < end."""
        return Recording(self.folder, (start_ns, end_ns))

    @functools.cached_property
    def truth(self) -> list[dict[str, Any]]:
        """One entry per occurrence: {"planned": ..., "measured": ...}, in the schedule's order."""
        document = self._document("truth.json")
        pairs = zip(document["planned"], document["measured"], strict=True)
        return [{"planned": planned, "measured": measured} for planned, measured in pairs]

    @functools.cached_property
    def schedule(self) -> dict[str, Any]:
        """schedule.json."""
        return self._document("schedule.json")

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json."""
        return self._document("provenance.json")

    @functools.cached_property
    def balance(self) -> dict[str, Any]:
        """balance.json."""
        return self._document("balance.json")

    @property
    def times(self) -> Window:
        """When it was recorded. Raises InputError when it was cut off."""
        found = self.provenance.get("window")
        if not isinstance(found, dict):
            raise InputError(f"{self.folder} was cut off: it has no window; record it again")
        return Window(int(found["begin_ns"]), int(found["origin_ns"]), int(found["end_ns"]))

    @functools.cached_property
    def entities(self) -> pa.Table:
        """Address, entity, from when to when."""
        return parquet.read_table(self.folder / "entities.parquet")

    @functools.cached_property
    def lookup(self) -> Lookup:
        """Who owned what when, ready to be asked."""
        return Lookup(self.entities)

    def entity_at(self, address: str, at_ns: int) -> Answer | None:
        """Who owned an address at that time; None when nobody is known to have."""
        return self.lookup.at(address, at_ns)

    def quiet(self) -> list[tuple[int, int]]:
        """Spans in ns in which nothing was staged, as planned."""
        origin = self.times.origin_ns
        return [
            (origin + int(span["from_s"] * 1e9), origin + int(span["to_s"] * 1e9)) for span in self.schedule["quiet"]
        ]

    def labels(self) -> pa.Table:
        """Intervals per entity: a row per occurrence, role (source, victim), entity and pod. Void runs are out."""
        return pa.Table.from_pylist(list(self._label_rows()), schema=LABELS)

    def summary(self) -> dict[str, Any]:
        """Rows and bytes per stream, occurrences by category, length."""
        rows = {name: self.stream(name).count_rows() for name in STREAMS}
        sizes = {name: sum(path.stat().st_size for path in (self.folder / name).glob("*")) for name in STREAMS}
        valid = [entry["planned"]["category"] for entry in self.truth if entry["measured"]["valid"]]
        return {
            "plan": self.schedule["plan"],
            "seed": self.schedule["seed"],
            "seconds": (self.times.end_ns - self.times.begin_ns) / 1e9,
            "rows": rows,
            "bytes": sizes,
            "occurrences": {category: valid.count(category) for category in ("attack", "failure", "benign")},
            "void": len(self.truth) - len(valid),
        }

    def _label_rows(self) -> Iterator[dict[str, Any]]:
        for number, entry in enumerate(self.truth):
            planned, measured = entry["planned"], entry["measured"]
            if not measured["valid"]:
                continue
            about = {key: planned[key] for key in ("scenario", "category", "family", "technique", "kind")}
            about |= {"occurrence": number, "start_ns": measured["start_ns"], "end_ns": measured["end_ns"]}
            for role in ("source", "victim"):
                for found in measured[f"{role}s"]:
                    yield from _entity_rows(about | {"role": role}, found)

    def _document(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.folder / name} cannot be read: {error}; record it again") from error
        return found


def _entity_rows(about: dict[str, Any], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    entity = found["entity"]
    named = about | {"entity_kind": entity["kind"], "namespace": entity.get("namespace", ""), "name": entity["name"]}
    for pod in found.get("pods") or [{}]:
        yield named | {"pod": pod.get("name", ""), "address": pod.get("address", "")}


def load(folder: str | os.PathLike[str]) -> Recording:
    """A recording by its folder. Raises InputError when it is none."""
    path = Path(folder)
    if not (path / "schedule.json").is_file():
        raise InputError(f"{path} is no recording: it has no schedule.json; `loomidi-lab record` makes one")
    return Recording(path)
