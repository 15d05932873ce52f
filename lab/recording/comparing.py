"""Whether two recordings of one plan and seed differ in measured values only.

Called by `loomidi-lab compare A B`. In: two folders. Out: a `Check` per thing that must be the same: plan and seed,
schedule, planned truth, kinds of files, columns. How many parts a stream has depends on time and is measured.
"""

import re
from pathlib import Path
from typing import Any

from pyarrow import parquet

from loomidi_lab.recording import hashing
from loomidi_lab.recording.loading import Recording, load
from loomidi_lab.recording.streams import STREAMS
from loomidi_lab.recording.verifying import Check

_NUMBER = re.compile(r"-?\d+(?=\.parquet$)|\d*$")


def compare(one: Path, other: Path) -> list[Check]:
    """Raises InputError when one is no recording."""
    first, second = load(one), load(other)
    return [
        _same("plan and seed", _plan(first), _plan(second)),
        _same("schedule", first.schedule, second.schedule),
        _same("planned truth", [e["planned"] for e in first.truth], [e["planned"] for e in second.truth]),
        _same("names of symptoms", _symptoms(first), _symptoms(second)),
        _same("files", _kinds(one), _kinds(other)),
        _same("columns", _columns(one), _columns(other)),
        _measured(first, second),
    ]


def _same(name: str, one: Any, other: Any) -> Check:
    if one == other:
        return Check(name, True, "the same")
    return Check(name, False, f"differ: {_difference(one, other)}")


def _difference(one: Any, other: Any) -> str:
    """The first place where they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next((key for key in sorted({*one, *other}, key=str) if one.get(key) != other.get(key)), "")
        return f"{key}: {_difference(one.get(key), other.get(key))}"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        place = next(place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
        return f"[{place}] {_difference(one[place], other[place])}"
    return f"{_short(one)} here, {_short(other)} there"


def _short(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plan(recording: Recording) -> dict[str, Any]:
    return {key: recording.schedule[key] for key in ("plan", "seed")}


def _symptoms(recording: Recording) -> list[list[str]]:
    return [[symptom["name"] for symptom in entry["measured"]["symptoms"]] for entry in recording.truth]


def _kinds(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in hashing.files(folder))
    return sorted({_NUMBER.sub("", name) for name in names})


def _columns(folder: Path) -> dict[str, str]:
    found = {name: sorted((folder / name).glob("part-*.parquet")) for name in STREAMS}
    return {name: str(parquet.read_schema(parts[0])) if parts else "" for name, parts in found.items()}


def _measured(first: Recording, second: Recording) -> Check:
    """For information: that they are two recordings at all."""
    begins = first.times.begin_ns, second.times.begin_ns
    same = hashing.content_hash(first.folder) == hashing.content_hash(second.folder)
    text = "one recording, twice" if same else f"recorded {abs(begins[0] - begins[1]) / 1e9:.0f} s apart"
    return Check("measured values", True, text)
