"""Falco's alerts as it writes them with `json_output: true`, and as Falcosidekick passes them on.

Called by the ingestion API (Falco's `http_output`) and by `tailing` (its `file_output`). In: one alert, an array, or
one a line. Out: a batch of `EVENTS`, the whole alert in `body`. Leaves judging of rules to whoever reads.
"""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from loomidi.loom.sources import rows
from loomidi.loom.sources.rows import Object, Refusals

SOURCE = "falco"
# Falco's priorities are syslog's; to OCSF's severities.
SEVERITIES = {
    "emergency": "fatal",
    "alert": "critical",
    "critical": "critical",
    "error": "high",
    "warning": "medium",
    "notice": "low",
    "informational": "informational",
    "info": "informational",
    "debug": "informational",
}


def parse_falco(body: bytes, refusals: Refusals | None = None, received_ns: int | None = None) -> pa.RecordBatch:
    """A posted body. Raises BadBody for what is no JSON at all."""
    refusals = Counter() if refusals is None else refusals
    return _batch(rows.documents(body, refusals), refusals, received_ns)


def parse_falco_lines(
    lines: Iterable[bytes], refusals: Refusals | None = None, received_ns: int | None = None
) -> pa.RecordBatch:
    """Lines of Falco's file; what is no alert is counted."""
    refusals = Counter() if refusals is None else refusals
    return _batch(rows.lines(lines, refusals), refusals, received_ns)


def _batch(documents: Iterable[Object], refusals: Refusals, received_ns: int | None) -> pa.RecordBatch:
    received = rows.now_ns(received_ns)
    return rows.read(documents, lambda alert: _row(alert, received), refusals)


def _row(alert: Object, received: int) -> Object | str:
    if not alert.get("rule"):
        return "no Falco alert: it has no rule"
    body, fields = rows.compact(alert), alert.get("output_fields")
    fields = fields if isinstance(fields, dict) else {}
    at = rows.moment(alert.get("time")) or _stamp(fields.get("evt.time"))
    return {
        "timestamp": received if at is None else at,
        "source": SOURCE,
        "event_id": str(alert.get("uuid") or rows.digest(body)),
        "kind": str(alert["rule"]),
        "severity": SEVERITIES.get(str(alert.get("priority", "")).lower()),
        "entity": _entity(fields),
        "actor": _actor(fields),
        "message": rows.told(alert.get("output")),
        "node": rows.told(alert.get("hostname")),
        "body": body,
        "received": received,
    }


def _stamp(value: object) -> int | None:
    """`evt.time` is ns since the epoch as a number."""
    return value if isinstance(value, int) and 0 < value < 1 << 63 else None


def _entity(fields: Object) -> str | None:
    """The pod; outside Kubernetes the container. Falco writes `<NA>` for what it does not know."""
    pod, namespace = _known(fields.get("k8s.pod.name")), _known(fields.get("k8s.ns.name"))
    if pod and namespace:
        return rows.named("pod", namespace, pod)
    container = _known(fields.get("container.name")) or _known(fields.get("container.id"))
    return rows.named("container", None, container if container != "host" else None)


def _actor(fields: Object) -> str | None:
    """User and process."""
    user, process = (
        _known(fields.get("user.name")),
        _known(fields.get("proc.cmdline")) or _known(fields.get("proc.name")),
    )
    return ": ".join(part for part in (user, process) if part) or None


def _known(value: object) -> str | None:
    return None if value in (None, "", "<NA>", "N/A") else str(value)
