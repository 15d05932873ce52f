"""What is read from a Kubernetes object: addresses, times, owners, ports; and an Event as a row.

Called by `owning` and `kubernetes`. In: objects as the API's JSON has them. Out: plain values. Pure; fields that are
missing are empty, whatever the API's version.
"""

from typing import Any

from loomidi.loom.sources import rows

Object = dict[str, Any]
_OVER = frozenset({"Succeeded", "Failed"})
_SECOND = 1_000_000_000  # the API's times are whole seconds, cut off
_SEVERITIES = {"Normal": "informational", "Warning": "medium"}


def controller(item: Object) -> tuple[str, str, str]:
    """uid, kind and name of what controls it; empty when nothing does."""
    for reference in rows.inner(item, "metadata", "ownerReferences") or []:
        if reference.get("controller"):
            uid, kind, name = (str(reference.get(key) or "") for key in ("uid", "kind", "name"))
            return uid, kind, name
    return "", "", ""


def addresses_of(kind: str, item: Object) -> list[str]:
    """Addresses that an object has; of a pod of the host's network, its node's."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if kind == "Node":
        wanted = ("InternalIP", "ExternalIP")
        return _unique(one.get("address") for one in status.get("addresses") or [] if one.get("type") in wanted)
    if kind == "Service":
        ingress = rows.inner(status, "loadBalancer", "ingress") or []
        balanced = [one.get("ip") for one in ingress]
        return _unique(
            [*(spec.get("clusterIPs") or [spec.get("clusterIP")]), *(spec.get("externalIPs") or []), *balanced]
        )
    return _unique([one.get("ip") for one in status.get("podIPs") or []] or [status.get("podIP")])


def _unique(found: Any) -> list[str]:
    return list(dict.fromkeys(str(one) for one in found if one and one != "None"))


def is_over(pod: Object) -> bool:
    """All its containers have ended for good: its address is free."""
    return rows.inner(pod, "status", "phase") in _OVER


def started_ns(kind: str, item: Object) -> int:
    """When it may have had its address first; 0: not told."""
    text = rows.inner(item, "status", "startTime") if kind == "Pod" else None
    return rows.moment(text or rows.inner(item, "metadata", "creationTimestamp")) or 0


def finished_ns(pod: Object) -> int:
    """When the last of its containers had ended; 0 while one runs, or when it is not told."""
    statuses = [
        one
        for name in ("containerStatuses", "ephemeralContainerStatuses")
        for one in rows.inner(pod, "status", name) or []
    ]
    ends = [rows.moment(rows.inner(one, "state", "terminated", "finishedAt")) or 0 for one in statuses]
    return max(ends) + _SECOND if ends and all(ends) else 0


def ports_of(kind: str, item: Object) -> list[Object]:
    """Name, number and protocol of each."""
    spec = item.get("spec") or {}
    if kind == "Service":
        return [_port(port, "port") for port in spec.get("ports") or []]
    if kind == "Pod":
        return [_port(p, "containerPort") for c in spec.get("containers") or [] for p in c.get("ports") or []]
    return []


def _port(port: Object, key: str) -> Object:
    return {"name": port.get("name", ""), "port": port.get(key, 0), "protocol": port.get("protocol", "TCP")}


def event_row(event: Object, received_ns: int) -> Object:
    """A row of `EVENTS` of an Event of the API, v1 or events.k8s.io/v1."""
    about, involved = event.get("metadata") or {}, event.get("involvedObject") or event.get("regarding") or {}
    times = (
        rows.inner(event, "series", "lastObservedTime"),
        event.get("lastTimestamp") or event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        about.get("creationTimestamp"),
    )
    at = next((found for text in times if text and (found := rows.moment(text)) is not None), received_ns)
    source = event.get("source") or event.get("deprecatedSource") or {}
    return {
        "timestamp": at,
        "source": "kubernetes",
        "event_id": f"{about.get('uid', '')}/{about.get('resourceVersion', '')}",
        "kind": rows.told(event.get("reason")),
        "severity": _SEVERITIES.get(str(event.get("type"))),
        "entity": rows.named(str(involved.get("kind", "")).lower(), involved.get("namespace"), involved.get("name")),
        "actor": rows.told(
            source.get("component") or event.get("reportingComponent") or event.get("reportingController")
        ),
        "message": rows.told(event.get("message") or event.get("note")),
        "node": rows.told(source.get("host")),
        "body": rows.compact(event),
        "received": received_ns,
    }
