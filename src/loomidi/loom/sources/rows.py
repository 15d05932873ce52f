"""Rows of events and metrics that were parsed, and what had to be refused, by its cause.

Called by the parsers of this folder. In: plain values of one event or sample. Out: batches of `EVENTS` and `METRICS`.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts.errors import InputError
from loomidi.contracts.schemas import EVENTS, METRICS
from loomidi.loom.sources.times import nanoseconds

Refusals = Counter[str]
"""Cause -> how many lines, items or samples were refused for it."""

Object = dict[str, Any]
_LAST_NS = (1 << 63) - 1


class BadBody(InputError):
    """A whole body or file that is not what it should be; nothing of it was used."""


def events(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """A batch of `EVENTS`; columns that a row leaves out are null."""
    try:
        return pa.RecordBatch.from_pylist(list(rows), schema=EVENTS)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON may hold and UTF-8 may not
        return pa.RecordBatch.from_pylist([_encodable(row) for row in rows], schema=EVENTS)


def read(documents: Iterable[Object], make: Callable[[Object], Object | str], refusals: Refusals) -> pa.RecordBatch:
    """A batch of `EVENTS`. `make` gives a row, or the cause for which there is none; what it stumbles over is one."""
    found = []
    for document in documents:
        try:
            made = make(document)
        except (TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
            made = f"not in the form of such an event ({type(error).__name__})"
        if isinstance(made, str):
            refusals[made] += 1
        else:
            found.append(made)
    return events(found)


def _encodable(row: Mapping[str, Any]) -> Object:
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


def metrics(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """A batch of `METRICS`; columns that a row leaves out are null."""
    columns = []
    for field in METRICS:
        values: list[Any] = [row.get(field.name) for row in rows]
        if pa.types.is_map(field.type):
            values = [None if value is None else list(value.items()) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=METRICS)


def documents(body: bytes, refusals: Refusals) -> Iterator[Object]:
    """The JSON objects of a body: one object, an array of them, or one a line. Raises BadBody for none of these."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text:
        raise BadBody("an empty body; send a JSON object, an array of objects, or one object a line")
    try:
        whole = json.loads(text)
    except RecursionError as error:
        raise BadBody("nested too deeply; send flatter JSON") from error
    except ValueError as error:
        if "\n" not in text:
            raise BadBody(f"not JSON: {error}") from error
        yield from lines(text.encode().split(b"\n"), refusals)
        return
    for item in whole if isinstance(whole, list) else [whole]:
        if isinstance(item, dict):
            yield item
        else:
            refusals["not a JSON object"] += 1


def lines(given: Iterable[bytes], refusals: Refusals) -> Iterator[Object]:
    """The JSON objects of lines; a line that is none is counted."""
    for line in given:
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            refusals["not JSON"] += 1
            continue
        if isinstance(item, dict):
            yield item
        else:
            refusals["not a JSON object"] += 1


def moment(text: object) -> int | None:
    """ns since the epoch of an RFC 3339 text; None for what is none, or lies outside the years 1970 to 2262."""
    try:
        found = nanoseconds(str(text))
    except InputError:
        return None
    return found if 0 <= found <= _LAST_NS else None


def compact(value: Any) -> str:
    """JSON without spaces; the order of keys is kept. What UTF-8 cannot hold is escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if text.isascii() or _is_utf8(text) else json.dumps(value, separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def digest(body: str) -> str:
    """An id of an event that brings none: the same body, the same id."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def told(value: object) -> str | None:
    """As text; None for what is not there or empty."""
    return str(value) if value not in (None, "") else None


def inner(value: Any, *names: str) -> Any:
    """A value within nested objects; None when there is none on the way."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def named(kind: str, namespace: object, name: object) -> str | None:
    """`pod/shop/cart-0`, `node/n1`; None without a name."""
    if not name:
        return None
    return f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}"


def now_ns(received_ns: int | None) -> int:
    """When it was received: as told, else now."""
    return time.time_ns() if received_ns is None else received_ns
