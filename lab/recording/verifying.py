"""Whether a recording is complete, untouched and consistent with itself.

Called by `loomidi-lab verify` and by tests. In: a folder. Out: one `Check` per promise, in the order of `CHECKS`; a
check that cannot be made because its file is damaged has failed. Reads only.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from loomidi.contracts.errors import InputError, LoomidiError
from loomidi_lab.recording import hashing
from loomidi_lab.recording.balances import missing
from loomidi_lab.recording.loading import Recording
from loomidi_lab.recording.lookup import NOBODY
from loomidi_lab.recording.planning import Catalog, parse_plan, schedule
from loomidi_lab.recording.streams import DOCUMENTS, ENTITIES, MANIFEST, PCAP, STREAMS

RESOLVED_LEAST = 0.99  # of flow records, both ends
PARENTS_LEAST = 0.98  # of spans; a pod that is killed takes its last spans with it
DRAIN_NS = 60_000_000_000  # rows of the window may be received this long after its end
_SHOWN = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One line of `verify`."""

    name: str
    passed: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.text}"


class _Broken(Exception):
    """A promise that is not kept; the text says which and how."""


def verify(folder: Path, catalog: Catalog | None = None) -> list[Check]:
    """All checks. Raises InputError for what is no recording at all."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name a recording")
    if not any((folder / name).is_file() for name in (MANIFEST, "schedule.json")):
        raise InputError(f"{folder} is no recording; `loomidi-lab record` makes one")
    recording = Recording(folder)
    checks = dict(CHECKS)
    if catalog is not None:
        checks["schedule"] = lambda found: _schedule(found, catalog)
    return [_made(name, check, recording) for name, check in checks.items()]


def _made(name: str, check: Callable[[Recording], str], recording: Recording) -> Check:
    try:
        return Check(name, True, check(recording))
    except (_Broken, LoomidiError, OSError, pa.ArrowException) as error:
        return Check(name, False, " ".join(str(error).split()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Check(name, False, f"cannot be checked, a file is damaged: {type(error).__name__} {error}")


# ---- files


def _complete(recording: Recording) -> str:
    if not (recording.folder / MANIFEST).is_file():
        raise _Broken("incomplete: the recording was cut off before its manifest was written; record it again")
    if recording.provenance.get("complete") is not True:
        raise _Broken("incomplete: provenance.json does not say that it ended well; record it again")
    return "it was recorded to its end"


def _files(recording: Recording) -> str:
    """Exactly what belongs to a recording, nothing else."""
    listed = hashing.read_manifest(recording.folder)
    there = {path.relative_to(recording.folder).as_posix() for path in hashing.files(recording.folder)}
    gone, new = sorted(set(listed) - there), sorted(there - set(listed))
    odd = sorted(name for name in there if not _belongs(name))
    lacking = [name for name in DOCUMENTS if name not in there]
    lacking += [name for name in STREAMS if not any(each.startswith(f"{name}/part-") for each in there)]
    for what, names in (("missing", gone + lacking), ("not in the manifest", new), ("not part of a recording", odd)):
        if names:
            raise _Broken(f"{what}: {_few(names)}")
    return f"{len(there)} files, nothing else in the folder"


def _belongs(name: str) -> bool:
    top, _, rest = name.partition("/")
    if not rest:
        return top in DOCUMENTS
    if top == PCAP:
        return ".pcap" in rest
    return top in STREAMS and rest.startswith("part-") and rest.endswith(".parquet") and "/" not in rest


def _hashes(recording: Recording) -> str:
    listed = hashing.read_manifest(recording.folder)
    wrong = [name for name, wanted in listed.items() if _digest(recording.folder / name) != wanted]
    if wrong:
        raise _Broken(f"changed since it was recorded: {_few(wrong)}")
    size = sum((recording.folder / name).stat().st_size for name in listed)
    return f"{len(listed)} files, {size / 1e6:.1f} MB, content {hashing.content_hash(recording.folder)[:16]}"


def _digest(path: Path) -> str:
    return hashing.digest(path) if path.is_file() else ""


def _schemas(recording: Recording) -> str:
    parts = 0
    for name, wanted in STREAMS.items():
        for path in sorted((recording.folder / name).glob("part-*.parquet")):
            parts += 1
            if not parquet.read_schema(path).equals(wanted):
                raise _Broken(f"{name}/{path.name} has other columns than the stream {name}")
    if not parquet.read_schema(recording.folder / "entities.parquet").equals(ENTITIES):
        raise _Broken("entities.parquet has other columns than it should")
    return f"{parts} parts of {len(STREAMS)} streams"


# ---- rows


def _times(recording: Recording) -> str:
    window = recording.times
    rows = 0
    for name in STREAMS:
        last = window.begin_ns
        for batch in recording.stream(name).to_batches(columns=["recorded_ns", "time_ns"], use_threads=False):
            if not batch.num_rows:
                continue
            rows += batch.num_rows
            recorded = batch.column("recorded_ns").to_numpy()
            if recorded[0] < last or (recorded[1:] < recorded[:-1]).any():
                raise _Broken(f"{name}: rows are not in the order in which they were recorded")
            last = int(recorded[-1])
            extremes = pc.min_max(batch.column("time_ns")).as_py()
            if extremes["min"] < window.begin_ns or extremes["max"] > window.end_ns + _grace(name):
                raise _Broken(f"{name}: a row's time is outside of the window of the recording")
        if last > window.end_ns + DRAIN_NS:
            raise _Broken(f"{name}: a row was recorded long after the window")
    return f"{rows} rows in order and inside the window of {(window.end_ns - window.begin_ns) / 1e9:.1f} s"


def _grace(name: str) -> int:
    """Flows of links are cut when the meters are ended, just after the window."""
    return DRAIN_NS if name == "flows" else 0


def _balances(recording: Recording) -> str:
    balance = recording.balance
    for name in STREAMS:
        found = balance["streams"][name]
        rows = recording.stream(name).count_rows()
        if missing(found):
            raise _Broken(f"{name}: {missing(found)} of {found['received']} rows are in no column of the balance")
        if rows != found["written"]:
            raise _Broken(f"{name}: the balance says {found['written']} rows were written, {rows} are there")
    audit = balance["streams"]["audit"]
    if audit["written"] != audit["notes"].get("in the file", 0):
        raise _Broken(
            f"audit: {audit['written']} rows, the API server's file has {audit['notes'].get('in the file', 0)}"
        )
    packets = _packets(balance["links"]["links"])
    written = sum(found["written"] for found in balance["streams"].values())
    dropped = sum(sum(found["dropped"].values()) for found in balance["streams"].values())
    lost = packets["socket_dropped"] + packets["unread"] + packets["undelivered"]
    return (
        f"{written} rows written, {dropped} left out with reasons;"
        f" {packets['received']} packets on {packets['links']} links, {lost} lost; audit log and its file agree"
    )


def _packets(links: Mapping[str, Any]) -> Counter[str]:
    total: Counter[str] = Counter(links=len(links), received=0, socket_dropped=0, unread=0, undelivered=0)
    for link, found in links.items():
        counts, figures = found["packets"], found["figures"]
        parts = sum(count for reason, count in counts.items() if reason != "received")
        if parts != counts["received"]:
            raise _Broken(f"link {link}: {counts['received']} packets received, {parts} accounted for")
        if counts.get("accounted", 0) != figures.get("in_flows", 0) + figures.get("undelivered", 0):
            raise _Broken(
                f"link {link}: {counts.get('accounted', 0)} packets metered, {figures.get('in_flows', 0)} in flows"
            )
        total += Counter({key: count for key, count in counts.items() if key in total})
        total["undelivered"] += figures.get("undelivered", 0)
    return total


def _truth(recording: Recording) -> str:
    window = recording.times
    for entry in recording.truth:
        planned, measured = entry["planned"], entry["measured"]
        name = planned["scenario"]
        if measured["scenario"] != name:
            raise _Broken(f"{name} is measured as {measured['scenario']}")
        if not measured["valid"]:
            raise _Broken(f"{name} is void: {measured['void_because']}")
        unseen = [symptom["name"] for symptom in measured["symptoms"] if not symptom["confirmed"]]
        if unseen or not measured["symptoms"]:
            raise _Broken(f"{name}: symptoms not confirmed: {_few(unseen) or 'none was looked for'}")
        if not window.begin_ns <= measured["start_ns"] < measured["end_ns"] <= window.end_ns:
            raise _Broken(f"{name} is not inside the window of the recording")
    jitter = max((abs(entry["measured"]["jitter_ns"]) for entry in recording.truth), default=0)
    return f"{len(recording.truth)} occurrences valid, all symptoms confirmed, jitter at most {jitter / 1e6:.0f} ms"


def _parents(recording: Recording) -> str:
    table = recording.traces.to_table(columns=["trace_id", "span_id", "parent_id"])
    keys = pc.binary_join_element_wise(table["trace_id"], table["span_id"], "/")
    parents = pc.binary_join_element_wise(table["trace_id"], table["parent_id"], "/")
    children = pc.not_equal(table["parent_id"], "")
    found = pc.is_in(parents.filter(children), value_set=keys.combine_chunks() if table.num_rows else keys)
    total, resolved = len(found), pc.sum(found).as_py() or 0
    text = f"{resolved} of {total} parent ids resolve, in {len(pc.unique(table['trace_id']))} traces"
    if total and resolved < PARENTS_LEAST * total:
        raise _Broken(text)
    return text


def _addresses(recording: Recording) -> str:
    """Both ends of every flow, at the flow's start. What nobody has counts only outside of staged acts."""
    valid = [entry["measured"] for entry in recording.truth if entry["measured"]["valid"]]
    acts = [(measured["start_ns"], measured["end_ns"] + DRAIN_NS) for measured in valid]
    tally: Counter[str] = Counter(dict.fromkeys(_HOW, 0))
    unknown: Counter[str] = Counter()
    columns = ["flow_start_nanoseconds", "source_ip_address", "destination_ip_address"]
    for batch in recording.flows.to_batches(columns=columns):
        starts = batch.column(0).cast(pa.int64()).to_numpy()
        for column in (1, 2):
            _tally(recording, acts, (batch.column(column), starts), (tally, unknown))
    total = sum(tally.values())
    share = 1 - tally["unknown"] / total if total else 1.0
    text = f"{share:.2%} of {total} ends resolve ({', '.join(f'{n} {how}' for how, n in tally.items() if n)})"
    text += f"; not: {_few([f'{address} ({n})' for address, n in unknown.most_common(_SHOWN)])}" if unknown else ""
    if share < RESOLVED_LEAST:
        raise _Broken(text)
    return text


_HOW = (
    "owner",
    "late",
    "range",
    "nobody's, during an act",
    "unknown",
)  # the first three as `Lookup.how_at` counts them


def _tally(
    recording: Recording,
    acts: list[tuple[int, int]],
    ends: tuple[pa.Array, Any],
    into: tuple[Counter[str], Counter[str]],
) -> None:
    """One column of addresses: the times of each address are judged at once."""
    (addresses, starts), (tally, unknown) = ends, into
    encoded = addresses.dictionary_encode()
    order = np.argsort(encoded.indices.to_numpy(), kind="stable")
    bounds = np.searchsorted(encoded.indices.to_numpy()[order], np.arange(len(encoded.dictionary) + 1))
    for number, address in enumerate(encoded.dictionary.to_pylist()):
        times = starts[order[bounds[number] : bounds[number + 1]]]
        how = recording.lookup.how_at(address, times)
        for kind in range(NOBODY):
            tally[_HOW[kind]] += int((how == kind).sum())
        lost = times[how == NOBODY]
        staged = np.zeros(len(lost), dtype=bool)
        for begin, end in acts:
            staged |= (lost >= begin) & (lost <= end)
        tally[_HOW[3]] += int(staged.sum())
        if not staged.all():
            unknown[address] += int((~staged).sum())
            tally[_HOW[4]] += int((~staged).sum())


def _schedule(recording: Recording, catalog: Catalog | None = None) -> str:
    found = recording.schedule
    plan = parse_plan(found["definition"], f"plan {found['plan']}")
    again = schedule(plan, found["seed"]) if catalog is None else schedule(plan, found["seed"], catalog)
    if _plain(again.as_dict()) != found:
        raise _Broken(f"plan {plan.name} with seed {found['seed']} gives another schedule than schedule.json")
    planned = [entry["planned"] for entry in recording.truth]
    if planned != _plain(again.planned()):
        raise _Broken("the planned truth is not that of the schedule")
    return f"plan {plan.name}, seed {found['seed']}: {len(again.items)} occurrences, as planned anew"


def _plain(value: Any) -> Any:
    """As it comes back from a file: tuples are lists there."""
    return json.loads(json.dumps(value))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


CHECKS: dict[str, Callable[[Recording], str]] = {
    "complete": _complete,
    "files": _files,
    "hashes": _hashes,
    "schemas": _schemas,
    "times": _times,
    "balances": _balances,
    "truth": _truth,
    "parents": _parents,
    "addresses": _addresses,
    "schedule": _schedule,
}
