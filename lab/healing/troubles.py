"""Until when the trouble of a scenario was there, measured on the cluster and not asked of Loomidi.

Called by `comparing` and `drills`, every half second. In: lab, drawn scenario, what was observed on links and by users.
Out: for each scenario of `TROUBLES`, and by kind for others (`trouble_of`), a question with the answer "ns since the
epoch at which it was there last; 0: never so far".
"""

import ipaddress
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging.observing import Observer
    from loomidi_lab.staging.records import Drawn
    from loomidi_lab.staging.users import RequestLines

_SECOND_NS = 1_000_000_000
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
    """When a packet of the attacking pod arrived last at another pod's link."""
    source, began_ns = drawn.sources[0], time.time_ns()
    addresses: set[str] = set()

    def last() -> int:
        addresses.update(link.address for link in lab.links() if link.pod == source.name)  # it may be gone by now
        own = observer.links_of(source.namespace, [source.name])
        flows = observer.window.since(began_ns, set(observer.pod_links()) - set(own))
        return _latest(flows.filter(pc.is_in(flows["source_ip_address"], pa.array(sorted(addresses), pa.utf8()))))

    return last


def half_open_arrive(lab: "Lab", drawn: "Drawn", observer: "Observer", _users: "RequestLines") -> Trouble:
    """The last second with a tenth of the worst second's half-open attempts at the victim's pods."""
    victim, began_ns = drawn.victims[0], time.time_ns()

    def last() -> int:
        pods = lab.api.list(f"/api/v1/namespaces/{victim.namespace}/pods", labelSelector=f"app={victim.name}")
        links = observer.links_of(victim.namespace, [pod["metadata"]["name"] for pod in pods])
        flows = observer.window.since(began_ns, links)
        tried = pc.and_(pc.greater(flows["tcp_syn_total_count"], 0), pc.equal(flows["payload_octet_count"], 0))
        inward = pc.is_in(
            flows["destination_ip_address"], pa.array([pod["status"].get("podIP", "") for pod in pods], pa.utf8())
        )
        return _last_crowd(flows.filter(pc.and_(tried, inward)))

    return last


def pressed_node(lab: "Lab", drawn: "Drawn", _observer: "Observer", _users: "RequestLines") -> Trouble:
    """The node says that it lacks memory."""
    node = drawn.victims[0].name

    def last() -> int:
        conditions = lab.api.get(f"/api/v1/nodes/{node}")["status"]["conditions"]
        lacks = any(one["type"] == "MemoryPressure" and one["status"] == "True" for one in conditions)
        return time.time_ns() if lacks else 0

    return last


def from_outside_arrives(_lab: "Lab", drawn: "Drawn", observer: "Observer", _users: "RequestLines") -> Trouble:
    """When a packet from the attackers' addresses beyond the cluster arrived last at a pod's link."""
    began_ns = time.time_ns()
    networks = [ipaddress.ip_network(one.name, strict=False) for one in drawn.sources if one.kind == "External"]

    def last() -> int:
        flows = observer.window.since(began_ns, observer.pod_links())
        known = flows["source_ip_address"].unique().to_pylist()
        theirs = [one for one in known if any(ipaddress.ip_address(one) in network for network in networks)]
        return _latest(flows.filter(pc.is_in(flows["source_ip_address"], pa.array(theirs, pa.utf8()))))

    return last


def users_suffer(lab: "Lab", drawn: "Drawn", observer: "Observer", users: "RequestLines") -> Trouble:
    """Users get errors, or wait longer than usual."""
    waiting = slow_service(lab, drawn, observer, users)

    def last() -> int:
        until_ns = time.time_ns() - _LATE_NS
        failing = users.load_between(until_ns - _SPAN_NS, until_ns).errors > 0
        return until_ns if failing else waiting()

    return last


def trouble_of(drawn: "Drawn") -> Callable[..., Trouble]:
    """A scenario's own question, else the one of its kind: packets that arrive, for attacks; users, for the rest."""
    if own := TROUBLES.get(drawn.scenario.name):
        return own
    if drawn.scenario.category != "attack":
        return users_suffer
    return packets_arrive if drawn.sources[0].kind == "Pod" else from_outside_arrives


TROUBLES: dict[str, Callable[..., Trouble]] = {
    "scan-services": packets_arrive,
    "cpu-saturation": slow_service,
    "bad-rollout-crash": broken_release,
    "syn-flood": half_open_arrive,
    "node-pressure": pressed_node,
}


def _crashed(status: dict[str, Any]) -> bool:
    waits = (status.get("state", {}).get("waiting") or {}).get("reason", "")
    return waits in _WAITING or (not status["ready"] and status["restartCount"] > 0)


def _latest(flows: pa.Table) -> int:
    """When the last of them ended, ns; 0 without any."""
    return int(pc.max(flows["flow_end_nanoseconds"].cast(pa.int64())).as_py() or 0)


def _last_crowd(flows: pa.Table) -> int:
    """The end of the last second in which a tenth of the most in any second ended, ns; 0 without any."""
    seconds = pc.divide(flows["flow_start_nanoseconds"].cast(pa.int64()), _SECOND_NS).value_counts()
    counts = {one["values"]: one["counts"] for one in seconds.to_pylist()}
    most = max(counts.values(), default=0)
    return max((second + 1 for second, count in counts.items() if count >= most / 10), default=0) * _SECOND_NS
