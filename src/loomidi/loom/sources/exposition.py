"""The text of a Prometheus target as rows: the classic format and OpenMetrics, read by the project's own parser.

Called by `prometheus`. In: a body and its content type. Out: samples with kind, unit, labels, exemplars. The parser
gives up at a line it cannot read; then the lines are tried one by one, so that one bad line costs itself alone.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from loomidi.loom.sources.rows import Refusals

STALE = struct.unpack(">d", bytes.fromhex("7ff0000000000002"))[0]
"""Prometheus' own marker, a NaN: from this moment on the series has no value."""

_KINDS = {"counter": "counter", "gauge": "gauge", "summary": "summary", "unknown": None, "untyped": None}
_PARTS = {"_bucket": "histogram_bucket", "_sum": "histogram_sum", "_count": "histogram_count"}


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One line."""

    name: str
    value: float
    kind: str | None
    unit: str | None
    labels: dict[str, str]
    at_s: float | None  # epoch, where the line says it
    exemplar: dict[str, Any] | None

    @property
    def series(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What identifies it within its target."""
        return self.name, tuple(sorted(self.labels.items()))


def samples(text: str, content_type: str, refusals: Refusals) -> list[Sample]:
    """All samples; lines that cannot be read are counted."""
    if content_type.startswith("application/openmetrics-text"):
        try:
            return list(_of(open_families(text)))  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - the parser raises whatever it stumbles over
            refusals[f"not OpenMetrics ({type(error).__name__}); read as the classic format"] += 1
    try:
        return list(_of(plain_families(text)))
    except Exception:  # noqa: BLE001 - as above
        return list(_one_by_one(text, refusals))


def _one_by_one(text: str, refusals: Refusals) -> Iterator[Sample]:
    types = [line for line in text.splitlines() if line.startswith("# TYPE ")]
    by_name = {words[2]: line for line in types if len(words := line.split()) >= 4}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name = line.partition("{")[0].split()[0]
        kind = next((by_name[base] for base in _bases(name) if base in by_name), "")
        try:
            yield from _of(plain_families(f"{kind}\n{line}\n"))
        except Exception:  # noqa: BLE001 - as above
            refusals["not a sample"] += 1


def _bases(name: str) -> Iterator[str]:
    yield name
    for suffix in (*_PARTS, "_total", "_created"):
        if name.endswith(suffix):
            yield name.removesuffix(suffix)


def _of(families: Any) -> Iterator[Sample]:
    for family in families:
        for one in family.samples:
            yield Sample(
                name=one.name,
                value=float(one.value),
                kind=_kind(family.type, one.name, family.name),
                unit=family.unit or None,
                labels=dict(one.labels),
                at_s=None if one.timestamp is None else float(one.timestamp),
                exemplar=_exemplar(getattr(one, "exemplar", None)),
            )


def _kind(kind: str, name: str, family: str) -> str | None:
    part = name.removeprefix(family)
    if kind == "histogram" and part in _PARTS:
        return _PARTS[part]
    if part == "_created":
        return "gauge"
    return _KINDS.get(kind, kind)


def _exemplar(found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    at = {} if found.timestamp is None else {"timestamp": float(found.timestamp)}
    return {"labels": dict(found.labels), "value": float(found.value), **at}


def is_stale(value: float) -> bool:
    """Whether a value is the marker, not any other NaN."""
    return math.isnan(value) and struct.pack(">d", value) == struct.pack(">d", STALE)
