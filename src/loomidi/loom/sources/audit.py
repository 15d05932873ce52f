"""Kubernetes audit events: what was asked of the API server, by whom, and what it answered.

Called by the ingestion API (the API server's webhook) and by `tailing` (its audit file). In: an `EventList`, an array,
or one event a line, as `audit.k8s.io/v1` has them. Out: a batch of `EVENTS`, the whole event in `body`. An event that
both ways bring has the same id, so whoever reads can tell. Leaves meaning (is this an attack?) to the detectors.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa

from loomidi.loom.sources import rows
from loomidi.loom.sources.rows import Object, Refusals

SOURCE = "kubernetes-audit"
_LIST = "EventList"
_DENIED = (401, 403)
# The API's plural -> the kind as entities are called here; others lose their final s.
_KINDS = {"ingresses": "ingress", "networkpolicies": "networkpolicy", "endpoints": "endpoints"}


def parse_audit(body: bytes, refusals: Refusals | None = None, received_ns: int | None = None) -> pa.RecordBatch:
    """A webhook's body, or a file's lines. Raises BadBody for what is no JSON at all."""
    refusals = Counter() if refusals is None else refusals
    return _batch(_unlisted(rows.documents(body, refusals), refusals), refusals, received_ns)


def parse_audit_lines(
    lines: Iterable[bytes], refusals: Refusals | None = None, received_ns: int | None = None
) -> pa.RecordBatch:
    """Lines of the API server's audit file; what is no event is counted."""
    refusals = Counter() if refusals is None else refusals
    return _batch(_unlisted(rows.lines(lines, refusals), refusals), refusals, received_ns)


def _unlisted(documents: Iterable[Object], refusals: Refusals) -> Iterator[Object]:
    for document in documents:
        items = document.get("items")
        listed = document.get("kind") == _LIST or (isinstance(items, list) and "auditID" not in document)
        for item in (items if isinstance(items, list) else []) if listed else [document]:
            if isinstance(item, dict):
                yield item
            else:
                refusals["not a JSON object"] += 1


def _batch(documents: Iterable[Object], refusals: Refusals, received_ns: int | None) -> pa.RecordBatch:
    received = rows.now_ns(received_ns)
    return rows.read(documents, lambda event: _row(event, received), refusals)


def _row(event: Object, received: int) -> Object | str:
    if not event.get("auditID"):
        return "no audit event: it has no auditID"
    at = rows.moment(event.get("stageTimestamp")) or rows.moment(event.get("requestReceivedTimestamp"))
    about, code = event.get("objectRef") or {}, rows.inner(event, "responseStatus", "code")
    user = rows.inner(event, "user", "username") or ""
    return {
        "timestamp": received if at is None else at,
        "source": SOURCE,
        "event_id": "/".join(str(event[key]) for key in ("auditID", "stage") if event.get(key)),
        "kind": rows.told(event.get("verb")),
        "severity": "low" if code in _DENIED else "informational",
        "entity": _entity(event, about),
        "actor": _actor(event, user),
        "message": _message(event, about, code),
        "node": user.removeprefix("system:node:") if user.startswith("system:node:") else None,
        "body": rows.compact(event),
        "received": received,
    }


def _actor(event: Object, user: str) -> str | None:
    """Who asked; whom they asked as, when they impersonated somebody."""
    acting = rows.inner(event, "impersonatedUser", "username")
    return f"{user} as {acting}" if acting else rows.told(user)


def _entity(event: Object, about: Object) -> str | None:
    """What it is about; of something that was made without a name, the name that it was given."""
    plural = str(about.get("resource") or "")
    kind = _KINDS.get(plural, plural.removesuffix("s"))
    name = about.get("name") or rows.inner(event, "responseObject", "metadata", "name")
    return rows.named(kind, about.get("namespace"), name) if kind else None


def _message(event: Object, about: Object, code: object) -> str:
    target = "/".join(
        str(about[key]) for key in ("namespace", "resource", "name", "subresource") if about.get(key)
    ) or str(event.get("requestURI") or "")
    answer = f": {code}" if code else ""
    return f"{event.get('verb', '?')} {target}{answer}"
