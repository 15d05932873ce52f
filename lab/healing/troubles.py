"""Until when the trouble of a scenario was there, measured on the cluster and not asked of Loomidi.

Called by `comparing`, every half second. In: lab, drawn scenario, what was observed on links and by users. Out: for
each scenario of `TROUBLES` a question with the answer "ns since the epoch at which it was there last; 0: never so far".
"""

import ipaddress
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging.observing import Observer
    from loomidi_lab.staging.records import Drawn
    from loomidi_lab.staging.users import RequestLines

_LATE_NS = 1_000_000_000  # that the load's lines may come late
_SPAN_NS = 3_000_000_000  # over which users' waiting is looked at
_SLOW = 1.5  # times the usual: where users begin to wait
_WAITING = frozenset({"CrashLoopBackOff", "Error", "ImagePullBackOff", "ErrImagePull"})
_USUAL_NS = 15_000_000_000
Trouble = Callable[[], int]


def broken_release(lab: "Lab", drawn: "Drawn", _observer: "Observer", _users: "RequestLines") -> Trouble:
    """A pod of the workload waits after a crash, or is not ready after one."""
    victim = drawn.victims[0]

    def last() -> int:
        pods = lab.api.list(f"/api/v1/namespaces/{victim.namespace}/pods", labelSelector=f"app={victim.name}")
        broken = any(_crashed(status) for pod in pods for status in pod["status"].get("containerStatuses") or ())
        return time.time_ns() if broken else 0

    return last


def slow_service(_lab: "Lab", _drawn: "Drawn", _observer: "Observer", users: "RequestLines") -> Trouble:
    """Users wait longer than usual: the 99th percentile of the last seconds beside that of the time before."""
    began_ns = time.time_ns()
    usual_ms = users.load_between(began_ns - _USUAL_NS, began_ns - 2 * _LATE_NS).p99_ms

    def last() -> int:
        until_ns = time.time_ns() - _LATE_NS
        return until_ns if users.load_between(until_ns - _SPAN_NS, until_ns).p99_ms > _SLOW * usual_ms else 0

    return last


def packets_arrive(lab: "Lab", drawn: "Drawn", observer: "Observer", _users: "RequestLines") -> Trouble:
    """When a packet of the attacker arrived last at a pod's link that is not its own."""
    source, began_ns = drawn.sources[0], time.time_ns()
    outside = ipaddress.ip_network("198.51.100.0/24")

    def last() -> int:
        own = observer.links_of(source.namespace, [source.name])
        addresses = {link.address for link in lab.links() if source.kind == "Pod" and link.pod == source.name}
        flows = observer.window.since(began_ns, set(observer.pod_links()) - set(own))
        senders = flows["source_ip_address"].to_pylist()
        ends = flows["flow_end_nanoseconds"].cast(pa.int64()).to_pylist()
        ours = addresses.__contains__ if source.kind == "Pod" else (lambda one: ipaddress.ip_address(one) in outside)
        return max((end for sender, end in zip(senders, ends, strict=True) if ours(sender)), default=0)

    return last


def pressed_node(lab: "Lab", drawn: "Drawn", _observer: "Observer", _users: "RequestLines") -> Trouble:
    """The node says that it lacks memory."""
    node = drawn.victims[0].name

    def last() -> int:
        conditions = lab.api.get(f"/api/v1/nodes/{node}")["status"]["conditions"]
        lacks = any(one["type"] == "MemoryPressure" and one["status"] == "True" for one in conditions)
        return time.time_ns() if lacks else 0

    return last


TROUBLES: dict[str, Callable[..., Trouble]] = {
    "scan-services": packets_arrive,
    "cpu-saturation": slow_service,
    "bad-rollout-crash": broken_release,
    "syn-flood": packets_arrive,
    "node-pressure": pressed_node,
}


def _crashed(status: dict[str, Any]) -> bool:
    waits = (status.get("state", {}).get("waiting") or {}).get("reason", "")
    return waits in _WAITING or (not status["ready"] and status["restartCount"] > 0)
