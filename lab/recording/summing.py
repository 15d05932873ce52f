"""A recording on one page: Markdown for docs/lab.md, with content hashes, as recordings themselves are not committed.

Called by `loomidi-lab` and by the coordinator's docs. In: folders. Out: text.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loomidi_lab.recording import hashing
from loomidi_lab.recording.loading import Recording, load


def summary_table(folder: Path) -> str:
    """What was recorded, what it cost, what was seen; raises InputError when it is no recording."""
    recording = load(folder)
    return "\n".join([*_heading(recording), "", *_streams(recording), "", *_occurrences(recording), ""])


def _heading(recording: Recording) -> Iterable[str]:
    summary, facts = recording.summary(), recording.provenance
    found, cost = summary["occurrences"], recording.balance["recorder"]
    staged = ", ".join(f"{count} {category}" for category, count in found.items())
    length = f"{summary['seconds']:.0f} s"
    yield f"Plan `{summary['plan']}`, seed {summary['seed']}: {length}, {staged}, {summary['void']} void."
    yield f"Content (SHA-256 of its manifest): `{hashing.content_hash(recording.folder)}`"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    host = f"{facts['host']['cores']} cores ({versions})"
    yield f"Made by loomidi {facts['loomidi']} at commit {facts['commit'][:12]} on {host}."
    share, most_mb = f"{cost['share_of_a_core']:.0%} of one core", f"{cost['memory_most_bytes'] / 1e6:.0f} MB"
    yield f"The recorder took {share} and {most_mb} at most, the threads of the scenarios included."


def _streams(recording: Recording) -> Iterable[str]:
    summary = recording.summary()
    yield "| stream | rows | bytes | left out, with the reason | content of its first part |"
    yield "|---|---:|---:|---|---|"
    for name, rows in summary["rows"].items():
        dropped = recording.balance["streams"][name]["dropped"]
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none"
        first = hashing.digest(recording.folder / name / "part-00000.parquet")[:16]
        yield f"| {name} | {rows} | {summary['bytes'][name]} | {reasons} | `{first}` |"


def _occurrences(recording: Recording) -> Iterable[str]:
    yield "| at | scenario | family | truth | length | symptoms | flows |"
    yield "|---:|---|---|---|---:|---|---:|"
    origin = recording.times.origin_ns
    for entry in recording.truth:
        planned, measured = entry["planned"], entry["measured"]
        if not measured.get("start_ns"):
            yield f"| {planned['offset_s']:.0f} s | {planned['scenario']} | | void: {measured['void_because']} | | | |"
            continue
        at_s, length_s = (measured["start_ns"] - origin) / 1e9, (measured["end_ns"] - measured["start_ns"]) / 1e9
        truth = planned["technique"] or planned["kind"]
        seen = "; ".join(map(_seen, measured["symptoms"])) if measured["valid"] else f"void: {measured['void_because']}"
        name, family = planned["scenario"], planned["family"]
        yield f"| {at_s:.1f} s | {name} | {family} | {truth} | {length_s:.1f} s | {seen} | {measured['flows']} |"


def _seen(symptom: dict[str, Any]) -> str:
    value = symptom["value"]
    figure = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{symptom['name']}: {figure[:40]} ({symptom['wanted']})".replace("|", "/")
