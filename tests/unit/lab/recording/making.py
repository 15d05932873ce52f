"""Fakes and made things for tests of recordings: a catalog of scenarios, changes of the watch, a whole recording."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from loomidi.contracts.errors import UsageError
from loomidi.contracts.schemas import FLOWS as METERED
from loomidi_lab.recording.entities import Entities, Owned
from loomidi_lab.recording.hashing import write_manifest
from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.planning import Plan, Schedule, parse_plan, schedule
from loomidi_lab.recording.sources.watching import Change
from loomidi_lab.recording.streams import STREAMS
from loomidi_lab.staging.records import Drawn, EntityRef, Scenario

S = 1_000_000_000
BEGIN = 1_800_000_000 * S
PLAN = {
    "name": "tiny",
    "length_s": 120,
    "quiet": [{"from_s": 0, "to_s": 20}],
    "load": {"rate": 1},
    "clear": {"before_s": 5, "after_s": 5},
    "scenarios": [{"category": "attack", "per": "family", "times": 2}],
}


class FakeCatalog:
    """Scenarios by name: (category, family, kind of victim, victim, seconds)."""

    def __init__(self, scenarios: dict[str, tuple[str, str, str, str, float]] | None = None) -> None:
        self._made = scenarios or {"scan": ("attack", "scan", "Deployment", "cart", 10.0)}

    def names(self) -> list[str]:
        return sorted(self._made)

    def load(self, name: str) -> Scenario:
        if name not in self._made:
            raise UsageError(f"there is no scenario {name!r}")
        category, family, *_ = self._made[name]
        technique = "T1046" if category == "attack" else ""
        about = (name, category, family, technique, "", f"about {name}", "words", Path(name))
        return Scenario(*about, needs={"shop": True}, document={})

    def draw(self, scenario: Scenario, seed: int) -> Drawn:
        _, _, kind, victim, seconds = self._made[scenario.name]
        victims = (EntityRef(kind, "shop" if kind != "Node" else "", victim),)
        drawn_s = seconds + seed % 7
        fold: dict[str, Any] = {"right": [], "harmful": []}
        return Drawn(scenario, seed, {"n": seed % 100}, drawn_s, (), victims, fold, {}, [{"name": "seen"}])


def tiny(**changes: Any) -> Plan:
    """The plan above, with changes."""
    return parse_plan(PLAN | changes, "tiny.yaml")


def change(kind: str, name: str, uid: str, how: str = "ADDED", **more: Any) -> Change:
    """A change of the watch; `more`: spec, status, and what belongs into the metadata."""
    parts = {key: more.pop(key) for key in ("spec", "status") if key in more}
    metadata = {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": "1"} | more
    obj = {"metadata": metadata} | parts
    return Change(how, "watch", kind, "v1", obj, json.dumps(obj))


def pod(name: str, uid: str, address: str, how: str = "ADDED", **more: Any) -> Change:
    """A running pod with an address."""
    status = {"phase": more.pop("phase", "Running"), "podIPs": [{"ip": address}] if address else []}
    return change("Pod", name, uid, how, status=status | more.pop("more_status", {}), **more)


def flow_batch(rows: list[tuple[int, int, str, str]]) -> pa.RecordBatch:
    """Flows (start, end, source, destination); all else is zero."""
    made = []
    for start, end, source, destination in rows:
        row: dict[str, Any] = {field.name: _zero(field) for field in METERED}
        row |= {"flow_start_nanoseconds": start, "flow_end_nanoseconds": end, "flow_end_reason": "idle"}
        made.append(row | {"source_ip_address": source, "destination_ip_address": destination})
    columns = [pa.array([row[field.name] for row in made], field.type) for field in METERED]
    return pa.RecordBatch.from_arrays(columns, schema=METERED)


def _zero(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    return "" if pa.types.is_string(field.type) else 0


def made_schedule(seed: int = 7) -> Schedule:
    """Of the plan above and the fake catalog."""
    return schedule(tiny(), seed, FakeCatalog())


class Ticking:
    """A clock that goes on by a millisecond each time it is asked."""

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns

    def __call__(self) -> int:
        self.at_ns += 1_000_000
        return self.at_ns


def recording(folder: Path, seed: int = 7, begin: int = BEGIN) -> Path:
    """A complete recording of two minutes, as the recorder leaves one."""
    planned = made_schedule(seed)
    balance = dict(_streams(folder, begin))
    entities = Entities(folder / "addresses.jsonl")
    entities.add_fixed([Owned("203.0.113.0/24", "External", "", "users", "u", "", "", "{}", "", "[]", 0)])
    entities.changed(pod("cart-1", "a", "10.0.0.5"), begin)
    entities.close()
    parquet.write_table(entities.table(), folder / "entities.parquet")
    measured = [_measured(item.scenario, begin + int(item.offset_s * S)) for item in planned.items]
    window = {"begin_ns": begin, "origin_ns": begin, "end_ns": begin + 130 * S}
    link = {"packets": {"received": 5, "accounted": 4, "unparsed": 1}, "figures": {"in_flows": 4, "undelivered": 0}}
    documents: dict[str, Any] = {
        "schedule.json": planned.as_dict(),
        "truth.json": {"planned": planned.planned(), "measured": measured},
        "provenance.json": {"complete": True, "window": window},
        "balance.json": {"streams": balance, "links": {"links": {"n1/veth1#2": link}}},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    write_manifest(folder)
    return folder


def _measured(scenario: str, start: int) -> dict[str, Any]:
    symptom = {"name": "seen", "confirmed": True, "value": 3.0, "wanted": ">= 1", "at_ns": start}
    found = {
        "entity": {"kind": "Pod", "namespace": "shop", "name": "cart"},
        "pods": [{"name": "c", "address": "1.2.3.4"}],
    }
    times = {"start_ns": start, "end_ns": start + 5 * S, "jitter_ns": 1000}
    about = {"scenario": scenario, "sources": [], "victims": [found], "symptoms": [symptom], "flows": 3}
    return times | about | {"valid": True, "void_because": ""}


def _streams(folder: Path, begin: int) -> Iterator[tuple[str, Any]]:
    rows: dict[str, list[tuple[Any, ...]]] = {
        "traces": [
            (begin + S, begin + 2 * S, "t1", "s1", "", "web", "GET", "server", "ok", "{}", "{}", "{}"),
            (begin + S, begin + 2 * S, "t1", "s2", "s1", "cart", "GET", "server", "ok", "{}", "{}", "{}"),
        ],
        "logs": [(begin + S, "n1", "shop", "cart-1", "a", "cart", 0, "stdout", "hello")],
    }
    for name, columns in STREAMS.items():
        stream = Stream(folder / name, columns, now_ns=Ticking(begin + 3 * S))
        stream.begin(begin)
        stream.add(rows.get(name, []))
        if name == "flows":
            where = ("n1", "n1", "veth1", 2, "pod", "shop", "cart-1")
            stream.add_flows(flow_batch([(begin + S, begin + 2 * S, "203.0.113.9", "10.0.0.5")]), where)
        if name == "audit":
            stream.balance.note("in the file", 0)
        stream.close()
        yield name, stream.balance.as_dict()


def rewrite(folder: Path, stream: str, change_table: Any) -> None:
    """Change a stream's part and hash it anew, so that only what is inside is wrong."""
    path = folder / stream / "part-00000.parquet"
    parquet.write_table(change_table(parquet.read_table(path)), path)
    write_manifest(folder)


def edit(folder: Path, name: str, change_document: Any) -> None:
    """Change a document and hash it anew."""
    document = json.loads((folder / name).read_text())
    change_document(document)
    (folder / name).write_text(json.dumps(document))
    write_manifest(folder)
