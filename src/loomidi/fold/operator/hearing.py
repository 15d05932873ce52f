"""The probe `flows`: whether packets pass between the target and a peer, as the nodes' agents hear it on pods' links.

Called by `probing`. In: the probe as the resource has it, what stands around, the agents. Out: whether it holds, and
what was heard. One of the two ends is a pod, and there is listened; the peer `*` is everybody but the pod's own node.
`cut` holds once nothing has passed for three seconds of listening in which nothing was lost; `pass` once something has
passed within ten. Whatever cannot be heard does not hold: no agent, no pod, an end without an address.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from loomidi.contracts import LoomidiError
from loomidi.fold.operator.views import Object
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.selectors import query
from loomidi.ionic.decide.places import Place, place
from loomidi.ionic.errors import NotActing

QUIET_S, PASSED_S = 3.0, 10.0  # of silence that count as cut; since the last packet of what counts as passing
EVERYBODY = "*"
NOT_HEARD = "not heard"  # how an answer begins that is none
MOST_PODS = 16  # listened to for one probe
_SHOWN = 3  # peers that are named


class Listeners(Protocol):
    """What is asked of `ionic.act.kube.Agents`."""

    def heard(self, node: str, address: str, pod: str, peers: Sequence[str]) -> dict[str, Any]:
        """Whom a pod there speaks with."""


class Ends(NamedTuple):
    """Where is listened, and for whom."""

    pods: list[Object]
    peers: list[str]  # addresses and CIDRs; none: everybody


def heard(agents: Listeners | None) -> Callable[[Mapping[str, Any], Any], tuple[bool, str]]:
    """The asker, for `ASKERS`. `agents`: None where the operator has none."""

    def ask(asked: Mapping[str, Any], scene: Any) -> tuple[bool, str]:
        try:
            return listened(asked, scene)
        except LoomidiError as error:
            return False, f"{NOT_HEARD}: {error}"

    def listened(asked: Mapping[str, Any], scene: Any) -> tuple[bool, str]:
        if agents is None:
            raise NotActing("flows are heard by the nodes' agents, and none are known here; give --agents-key")
        ends = ends_of(scene.plan.fold, asked["peer"], scene.api)
        answers = [_asked(agents, pod, ends.peers) for pod in ends.pods]
        told = [_judged(answer, cut=asked["expect"] == "cut") for answer in answers]
        holds = all if asked["expect"] == "cut" else any  # silent at all of them; heard at one
        return holds(one for one, _ in told), "; ".join(dict.fromkeys(why for _, why in told))

    return ask


def ends_of(fold: Any, peer: str, api: KubeApi) -> Ends:
    """Which pods are listened to for whom. Raises NotActing when neither end is one, or the other has no address."""
    target = place(fold.target)
    if _is_pod(target):
        return Ends([_pod(api, target)], [] if peer == EVERYBODY else _addresses(api, peer))
    theirs = _addresses(api, fold.target)
    if peer != EVERYBODY and _is_pod(place(peer)):
        return Ends([_pod(api, place(peer))], theirs)
    if peer != EVERYBODY:
        raise NotActing(f"neither {fold.target} nor {peer} is a pod, and only at pods is listened; name a pod")
    pods = _guarded(fold, api)
    if not 0 < len(pods) <= MOST_PODS:
        raise NotActing(
            f"{fold.target} is kept from {len(pods)} pods; listened is to 1 to {MOST_PODS}: name one as peer"
        )
    return Ends(pods, theirs)


def _is_pod(there: Place) -> bool:
    return there.kind == "pod" and bool(there.name) and not there.address


def _pod(api: KubeApi, there: Place) -> Object:
    found = api.get(f"/api/v1/namespaces/{there.namespace}/pods/{there.name}")
    if found is None:
        raise NotActing(f"pod {there.namespace}/{there.name} is not there, so nothing can be heard of it")
    return found


def _guarded(fold: Any, api: KubeApi) -> list[Object]:
    """Pods that the fold's own NetworkPolicy chooses."""
    manifest = fold.manifest
    if manifest.get("kind") != "NetworkPolicy":
        return []
    space, chosen = manifest["metadata"].get("namespace", "default"), manifest["spec"].get("podSelector") or {}
    return [one for one in api.items(f"/api/v1/namespaces/{space}/pods", query(chosen)) if _runs(one)]


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _addresses(api: KubeApi, entity: str) -> list[str]:
    """Raises NotActing for an end that has none."""
    there = place(entity)
    found = [there.address] if there.address else []
    if _is_pod(there):
        found = [one["ip"] for one in (_pod(api, there).get("status") or {}).get("podIPs") or ()]
    elif there.kind == "service" and there.name and not there.address:
        service = api.get(f"/api/v1/namespaces/{there.namespace}/services/{there.name}") or {}
        found = [one for one in service.get("spec", {}).get("clusterIPs") or () if one not in ("", "None")]
    elif there.kind == "node" and not there.address:
        node = api.get(f"/api/v1/nodes/{there.name}") or {}
        addresses = node.get("status", {}).get("addresses") or ()
        found = [one["address"] for one in addresses if one["type"] in ("InternalIP", "ExternalIP")]
    if not found:
        raise NotActing(f"{entity} has no address to listen for; name a host, network, pod, service or node")
    return found


def _asked(agents: Listeners, pod: Object, peers: Sequence[str]) -> dict[str, Any]:
    """Raises NotActing for a pod on no node, AgentAway."""
    metadata, node = pod["metadata"], pod["spec"].get("nodeName", "")
    address = (pod.get("status") or {}).get("hostIP", "")
    if not (node and address):
        raise NotActing(f"pod {metadata['namespace']}/{metadata['name']} runs on no node yet")
    return agents.heard(node, address, metadata["uid"], peers) | {"name": f"{metadata['namespace']}/{metadata['name']}"}


def _judged(answer: Mapping[str, Any], *, cut: bool) -> tuple[bool, str]:
    """Of one pod. Raises NotActing for an answer that is not one."""
    try:
        name, now_ns, listened_s = answer["name"], answer["now_ns"], (answer["now_ns"] - answer["since_ns"]) / 1e9
        late_ns = now_ns - round((QUIET_S if cut else PASSED_S) * 1e9)
        lost, passing = answer["lost_ns"] > late_ns, _passing(answer, late_ns)
    except (LookupError, TypeError, AttributeError) as error:
        raise NotActing(f"the agent's answer cannot be read ({type(error).__name__}: {error})") from error
    if passing:
        more = f" and {len(passing) - _SHOWN} more" if len(passing) > _SHOWN else ""
        return not cut, f"{name}: packets pass, {', '.join(passing[:_SHOWN])}{more}"
    if cut and lost:
        return False, f"{name}: packets were lost while listening, so silence is not known"
    if cut and listened_s < QUIET_S:
        return False, f"{name}: silent for {listened_s:.1f} s of {QUIET_S:g}"
    return cut, f"{name}: nothing passes"


def _passing(answer: Mapping[str, Any], late_ns: int) -> list[str]:
    """Peers with packets since then. What a pod sends from behind a cut goes nowhere; the node itself is no peer."""
    found = []
    for peer, counts in sorted(answer["peers"].items()):
        ways = [("from", counts["to_ns"], counts["to"])]
        ways += [] if answer["cut"] else [("to", counts["from_ns"], counts["from"])]
        if not counts["own"]:
            found += [f"{packets} {way} {peer}" for way, at_ns, packets in ways if packets and at_ns > late_ns]
    return found


def undone(probe: Object) -> Object | None:
    """What shall hold once the Fold is taken back: what was cut passes again. None where nothing was to be cut."""
    flows = probe.get("flows") or {}
    return {**probe, "flows": {**flows, "expect": "pass"}} if flows.get("expect") == "cut" else None
