"""Tetragon's events as its JSON export writes them (`export-filename`) and `tetra getevents -o json` prints them.

Called by the ingestion API and by `tailing`. In: one event, an array, or one a line; the event's type is the key that
is not one of the common ones, so types that come later are read like those of today. Out: a batch of `EVENTS`, the
whole event in `body`.
"""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from loomidi.loom.sources import rows
from loomidi.loom.sources.rows import Object, Refusals

SOURCE = "tetragon"
_ENFORCED = frozenset({"KPROBE_ACTION_SIGKILL", "KPROBE_ACTION_OVERRIDE", "KPROBE_ACTION_NOTIFYENFORCER"})
_WATCHED = frozenset({"process_kprobe", "process_tracepoint", "process_uprobe", "process_lsm", "process_usdt"})


def parse_tetragon(body: bytes, refusals: Refusals | None = None, received_ns: int | None = None) -> pa.RecordBatch:
    """A posted body. Raises BadBody for what is no JSON at all."""
    refusals = Counter() if refusals is None else refusals
    return _batch(rows.documents(body, refusals), refusals, received_ns)


def parse_tetragon_lines(
    lines: Iterable[bytes], refusals: Refusals | None = None, received_ns: int | None = None
) -> pa.RecordBatch:
    """Lines of the export file; what is no event is counted."""
    refusals = Counter() if refusals is None else refusals
    return _batch(rows.lines(lines, refusals), refusals, received_ns)


def _batch(documents: Iterable[Object], refusals: Refusals, received_ns: int | None) -> pa.RecordBatch:
    received = rows.now_ns(received_ns)
    return rows.read(documents, lambda event: _row(event, received), refusals)


def _kind(event: Object) -> str | None:
    """`process_exec`, `process_kprobe`, ...; also those that we have not heard of yet."""
    found = [key for key, value in event.items() if isinstance(value, dict) and _typed(key, value)]
    return found[0] if found else None


def _typed(key: str, value: Object) -> bool:
    return key.startswith("process_") or "process" in value or key in ("test", "rate_limit_info")


def _row(event: Object, received: int) -> Object | str:
    kind = _kind(event)
    if kind is None:
        return "no Tetragon event: it has none of the event types"
    body, about = rows.compact(event), event[kind]
    process = rows.inner(about, "process") or {}
    at = rows.moment(event.get("time"))
    return {
        "timestamp": received if at is None else at,
        "source": SOURCE,
        "event_id": rows.digest(body),
        "kind": kind,
        "severity": _severity(kind, about),
        "entity": rows.named("pod", rows.inner(process, "pod", "namespace"), rows.inner(process, "pod", "name")),
        "actor": rows.told(process.get("binary")),
        "message": _message(kind, about, process),
        "node": rows.told(event.get("node_name")),
        "body": body,
        "received": received,
    }


def _severity(kind: str, about: Object) -> str:
    """What a policy has stopped is high, what a policy looks at is low; processes that come and go say nothing."""
    if about.get("action") in _ENFORCED:
        return "high"
    return "low" if kind in _WATCHED else "informational"


def _message(kind: str, about: Object, process: Object) -> str:
    words = [kind, str(about.get("function_name") or about.get("event") or "")]
    words += [str(process.get("binary") or ""), str(process.get("arguments") or "")]
    if about.get("policy_name"):
        words.append(f"(policy {about['policy_name']})")
    if about.get("signal"):
        words.append(f"(ended by {about['signal']})")
    return " ".join(word for word in words if word)
