"""Rows of JSON as a batch of `METRICS`, and for each row that cannot be one, why.

Called by `handling` for whole groups of requests. In: parsed values, when they were received. Out: a batch, the index
of each of its rows, the refused ones. Columns are built at once; only when that fails each row is looked at, and both
ways give the same answer (a test). Unknown fields are kept in `extra`.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import METRICS
from loomidi.services.ingest_api.scanning import NotJson

_KNOWN = frozenset({"timestamp", "source_id", "metric_name", "value", "kind", "unit", "attributes", "entity"})
_NAMES = ("source_id", "metric_name")
_OPTIONAL = ("kind", "unit", "entity")
_NAME_OCTETS, _TEXT_OCTETS = 1024, 64 * 1024
_TIME = METRICS.field("timestamp").type

CAUSES = {
    "json": "the line is not JSON",
    "object": "not a JSON object",
    "timestamp": "timestamp is no RFC 3339 time of the years 1678 to 2261, such as 2026-11-26T12:03:07.123456789Z",
    "source_id": "source_id is missing, empty, no text, or longer than 1024 octets",
    "metric_name": "metric_name is missing, empty, no text, or longer than 1024 octets",
    "value": "value is missing or no finite number",
    "kind": "kind is no text of at most 1024 octets",
    "unit": "unit is no text of at most 1024 octets",
    "entity": "entity is no text of at most 1024 octets",
    "attributes": "attributes is no object, or longer than 65536 octets",
    "extra": "fields that are not known are together longer than 65536 octets of JSON",
}
"""Reason -> what is told of a refused row. The reason is also what it is counted under."""


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """What became of some rows."""

    batch: pa.RecordBatch
    kept: Sequence[int]  # index of each of the batch's rows, growing
    refused: Sequence[tuple[int, str]]  # index and reason, growing


class _Odd(Exception):
    """Some row is not as most are: look at each."""


def built(rows: Sequence[Any], received_ns: int) -> Built:
    """All rows that can be stored, in their order."""
    try:
        return Built(_batch(rows, received_ns), range(len(rows)), ())
    except _Odd:
        pass
    reasons = [_reason(row) for row in rows]
    kept = [index for index, reason in enumerate(reasons) if not reason]
    refused = [(index, reason) for index, reason in enumerate(reasons) if reason]
    return Built(_batch([_plain(rows[index]) for index in kept], received_ns), kept, refused)


def _batch(rows: Sequence[Any], received_ns: int) -> pa.RecordBatch:
    """Raises _Odd as soon as something needs a closer look."""
    try:
        columns = _columns(rows, received_ns)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise _Odd from error
    return pa.RecordBatch.from_arrays([columns[name] for name in METRICS.names], schema=METRICS)


def _columns(rows: Sequence[Any], received_ns: int) -> dict[str, pa.Array]:
    count = len(rows)
    received = pa.repeat(pa.scalar(received_ns, pa.int64()).cast(_TIME), count)
    columns = {name: _names([row[name] for row in rows]) for name in _NAMES}
    columns |= {name: _texts([row.get(name) for row in rows], _NAME_OCTETS) for name in _OPTIONAL}
    columns["value"] = _numbers([row["value"] for row in rows])
    columns["timestamp"] = _times([row.get("timestamp") for row in rows], received)
    columns["attributes"] = _attributes([row.get("attributes") for row in rows])
    if all(row.keys() <= _KNOWN for row in rows):
        columns["extra"] = pa.nulls(count, pa.utf8())
    else:
        columns["extra"] = _texts([_extra(row) for row in rows], _TEXT_OCTETS)
    columns["received"] = received
    return columns


def _names(values: list[Any]) -> pa.Array:
    column = _texts(values, _NAME_OCTETS)
    if column.null_count or "" in values:
        raise _Odd
    return column


def _texts(values: list[Any], most: int) -> pa.Array:
    column = pa.array(values, pa.utf8())
    # What is short together has no long one; asking Arrow for the longest takes longer than building a short column.
    if column.nbytes > most and column.null_count < len(column) and pc.max(pc.binary_length(column)).as_py() > most:
        raise _Odd
    return column


def _numbers(values: list[Any]) -> pa.Array:
    if not set(map(type, values)) <= {int, float}:  # Arrow would take true for 1
        raise _Odd
    if not all(map(math.isfinite, values)):
        raise _Odd
    return pa.array(values, pa.float64())


def _times(values: list[Any], received: pa.Array) -> pa.Array:
    """Without a time of its own, a row has that of its receipt."""
    column = pa.array(values, pa.utf8()).cast(_TIME)
    return pc.coalesce(column, received) if column.null_count else column


def _attributes(values: list[Any]) -> pa.Array:
    kind = METRICS.field("attributes").type
    if all(value is None for value in values):
        return pa.nulls(len(values), kind)
    return pa.array([None if value is None else _items(value) for value in values], kind)


def _items(attributes: dict[str, Any]) -> list[tuple[str, str | None]]:
    found = [(key, _label(value)) for key, value in attributes.items()]
    if sum(len(key) + len(value or "") for key, value in found) * 4 > _TEXT_OCTETS:
        octets = sum(len(key.encode()) + len((value or "").encode()) for key, value in found)
        if octets > _TEXT_OCTETS:
            raise _Odd
    return found


def _label(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _extra(row: dict[str, Any]) -> str | None:
    unknown = {key: value for key, value in row.items() if key not in _KNOWN}
    return _json(unknown) if unknown else None


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _reason(row: Any) -> str:
    """Why a row cannot be stored; empty when it can."""
    if isinstance(row, NotJson):
        return "json"
    if not isinstance(row, dict):
        return "object"
    for name in _NAMES:
        if not row.get(name) or not _fits(row[name], _NAME_OCTETS):
            return name
    if not _is_number(row.get("value")):
        return "value"
    for name in _OPTIONAL:
        if row.get(name) is not None and not _fits(row[name], _NAME_OCTETS):
            return name
    if row.get("timestamp") is not None and _time(row["timestamp"]) is None:
        return "timestamp"
    if not _is_attributes(row.get("attributes")):
        return "attributes"
    return "" if len(_extra(row) or "") <= _TEXT_OCTETS else "extra"


def _fits(value: Any, most: int) -> bool:
    try:
        return isinstance(value, str) and len(value.encode()) <= most
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _is_attributes(value: Any) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, dict) and bool(_items(value) or True) and _encodable(value)
    except _Odd:
        return False


def _encodable(attributes: dict[str, Any]) -> bool:
    return all(
        _fits(key, _TEXT_OCTETS) and _fits(_label(value) or "", _TEXT_OCTETS) for key, value in attributes.items()
    )


def _time(value: Any) -> str | None:
    """As Arrow reads it: T and Z may be small letters in RFC 3339. None when it is no time."""
    if not isinstance(value, str) or not _fits(value, 64):
        return None
    text = value.upper()
    try:
        pa.array([text], pa.utf8()).cast(_TIME)
    except pa.ArrowException:
        return None
    return text


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row that can be stored, in the form that the columns take."""
    time = row.get("timestamp")
    return {**row, "value": float(row["value"]), "timestamp": None if time is None else _time(time)}
