"""Events that were posted: the Kubernetes audit log, Falco, Tetragon by their own parsers, anything else as it is.

Called by `handling`, in a thread. In: a body of JSON. Out: a batch of `EVENTS` and what could not be used, by cause. A
body is of one kind, told by its first object; each event is kept whole in `body`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import EVENTS
from loomidi.loom.sources import audit, falco, rows, tetragon
from loomidi.services.http.problems import Problem

_EVENT_OCTETS = 256 * 1024  # of one event; an envelope must hold it
_GENERIC = "http"  # `source` of events that do not say theirs


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What became of a body of events."""

    kind: str  # kubernetes-audit, falco, tetragon, json
    batch: pa.RecordBatch
    refused: Counter[str]  # cause -> events


def told(body: bytes, received_ns: int) -> Told:
    """All events that can be stored. Raises Problem for a body that is no JSON."""
    refused: Counter[str] = Counter()
    try:
        body.decode()
        first = next(iter(rows.documents(body, Counter())), {})
        kind = _kind(first)
        if kind == "json":
            batch = _generic(rows.documents(body, refused), refused, received_ns)
        else:
            batch = _PARSERS[kind](body, refused, received_ns)
    except UnicodeDecodeError as error:
        raise Problem("malformed", "the body is not UTF-8: send JSON in UTF-8") from error
    except (rows.BadBody, RecursionError) as error:
        cause = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem("malformed", f"the body cannot be read: {cause[:200]}") from error
    except (UnicodeEncodeError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())[:200]
        raise Problem(
            "unusable", f"an event holds what cannot be stored: {cause}; send the others without it"
        ) from error
    return Told(kind, _without_huge(batch, refused), refused)


_PARSERS = {
    audit.SOURCE: audit.parse_audit,
    falco.SOURCE: falco.parse_falco,
    tetragon.SOURCE: tetragon.parse_tetragon,
}


def _kind(event: rows.Object) -> str:
    if event.get("kind") == "EventList" or "auditID" in event:
        return audit.SOURCE
    if "rule" in event and ("priority" in event or "output_fields" in event):
        return falco.SOURCE
    if any(key.startswith("process_") and isinstance(value, dict) for key, value in event.items()):
        return tetragon.SOURCE
    return "json"


def _generic(documents: Iterable[rows.Object], refused: Counter[str], received_ns: int) -> pa.RecordBatch:
    found = []
    for event in documents:
        row = _row(event, received_ns)
        if row is None:
            refused["timestamp is no RFC 3339 time of the years 1970 to 2262"] += 1
        else:
            found.append(row)
    return rows.events(found)


def _row(event: rows.Object, received_ns: int) -> dict[str, Any] | None:
    """Fields of our names where they are texts; the rest is in `body`."""
    at = received_ns if event.get("timestamp") is None else rows.moment(event["timestamp"])
    if at is None:
        return None
    body = rows.compact(event)
    texts = {name: event[name] for name in ("kind", "severity", "entity", "actor", "message", "node") if name in event}
    return {
        **{name: text for name, text in texts.items() if isinstance(text, str)},
        "timestamp": at,
        "source": rows.told(event.get("source")) or _GENERIC,
        "event_id": rows.told(event.get("event_id")) or rows.digest(body),
        "body": body,
        "received": received_ns,
    }


def _without_huge(batch: pa.RecordBatch, refused: Counter[str]) -> pa.RecordBatch:
    if batch.nbytes <= _EVENT_OCTETS:
        return batch
    texts = [batch.column(field.name) for field in EVENTS if pa.types.is_string(field.type)]
    octets = pc.binary_length(pc.binary_join_element_wise(*texts, "", null_handling="skip"))
    fits = pc.less_equal(octets, 2 * _EVENT_OCTETS)  # the body, and what was taken out of it
    huge = batch.num_rows - (pc.sum(fits).as_py() or 0)
    if huge:
        refused[f"an event longer than {_EVENT_OCTETS} octets"] += huge
    return batch.filter(fits)
