"""Failures that a cluster's state shows: a release that crashes, a service at its CPU limit, a node under pressure; and
those of `outages`.

Called by `services.parts.diagnosing` once a second. In: `ClusterState`, objects as the API server gives them and the
share of CPU periods in which each pod was throttled. Out: `Finding`s, one for each workload or node, the same id while
it lasts. Only what has held for a while is told, so that a single bad look is none. Pure but for since when each has
held.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id
from loomidi.origami.online.cluster import (
    ClusterState,
    Object,
    Shown,
    by_uid,
    conditions,
    containers,
    controller,
    fresh_release,
    is_ready,
    owned,
    place,
    revision,
)
from loomidi.origami.online.outages import OUTAGES, Outages, OutageSettings

FAILURES = ("crash_loop", "cpu_saturation", "node_pressure", *OUTAGES)
SOURCE = "origami.online.failures"

_BROKEN = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


@dataclasses.dataclass(frozen=True, slots=True)
class FailureSettings:
    """When something has failed."""

    broken_s: float = 3.0
    # That pods of a new release must have been broken; a pull that is tried once more is no failure.
    release_s: float = 900.0
    # Age up to which a release, or its rollout, is new: what ran for longer and crashes now is not the release's fault.
    throttled: float = 0.5
    # Share of the CPU periods in which a workload's pods were held back, on average over its pods.
    throttled_s: float = 6.0
    # That this must have lasted: starting up is busy work too.
    pressed_s: float = 1.0
    # That a node must have said so; it waits itself before it does.
    outages: OutageSettings = dataclasses.field(default_factory=OutageSettings)
    spared: tuple[str, ...] = ("kube-system", "kube-public", "kube-node-lease", "loomidi-system")
    # Namespaces whose pods are not proposed to be moved: the guards would refuse each of them, and another would do.


class Failures:
    """Remembers since when each failure has held."""

    def __init__(self, settings: FailureSettings | None = None) -> None:
        self.settings = settings or FailureSettings()
        self._since: dict[tuple[str, str], int] = {}
        self._outages = Outages(self.settings.outages, self.settings.release_s)

    def look(self, state: ClusterState) -> list[Finding]:
        """All that has failed for long enough, now."""
        seen = [*self._releases(state), *self._saturated(state), *self._pressed(state), *self._outages.look(state)]
        self._since = {(one.pattern, one.key): self._since.get((one.pattern, one.key), state.at_ns) for one in seen}
        told = []
        for one in seen:
            since_ns = self._since[one.pattern, one.key]
            if state.at_ns - since_ns >= one.lasting_s * 1e9:
                told.append(_finding(one, since_ns, state.at_ns))
        return told

    def _releases(self, state: ClusterState) -> Iterator[Shown]:
        """Deployments whose newest release does not come up while the one before is still known."""
        for deployment in state.deployments:
            newest = fresh_release(deployment, state.replica_sets, state.at_ns, self.settings.release_s)
            if newest is None:
                continue
            pods = owned(newest, state.pods)
            broken = {place(pod)[1]: why for pod in pods if (why := _broken(pod))}
            if broken and len(broken) == len(pods):
                yield self._release(deployment, newest, broken)

    def _release(self, deployment: Object, newest: Object, broken: Mapping[str, str]) -> Shown:
        space, name = place(deployment)
        pod, why = next(iter(sorted(broken.items())))
        evidence = (
            Evidence("broken_pods", len(broken), 1, "pods", "of the newest release, none of which runs"),
            Evidence("reason", why, None, "", "why the kubelet waits"),
            Evidence("revision", revision(newest), None, "", "the release that does not come up"),
        )
        entities = f"workload/{space}/{name}", f"pod/{space}/{pod}"
        key = f"{space}/{name}/{revision(newest)}"
        return Shown("crash_loop", key, Severity.HIGH, 0.95, entities, evidence, self.settings.broken_s)

    def _saturated(self, state: ClusterState) -> Iterator[Shown]:
        """Deployments whose pods are held back at their CPU limit most of the time."""
        sets = by_uid(state.replica_sets)
        shares: dict[tuple[str, str], list[float]] = {}
        for pod in state.pods:
            share = state.throttled.get(place(pod))
            owner = controller(sets.get(controller(pod).get("uid", ""), {}))
            if share is not None and owner.get("kind") == "Deployment":
                shares.setdefault((place(pod)[0], owner["name"]), []).append(share)
        for (space, name), each in sorted(shares.items()):
            mean = sum(each) / len(each)
            if mean >= self.settings.throttled:
                yield self._saturation(space, name, mean, len(each))

    def _saturation(self, space: str, name: str, mean: float, pods: int) -> Shown:
        limit = self.settings.throttled
        evidence = (
            Evidence("throttled_share", round(mean, 3), limit, "1", "of the CPU periods in which its pods had to wait"),
            Evidence("pods", pods, None, "pods", "over which that is the mean"),
        )
        entities = (f"workload/{space}/{name}",)
        wait_s = self.settings.throttled_s
        return Shown("cpu_saturation", f"{space}/{name}", Severity.HIGH, 0.85, entities, evidence, wait_s)

    def _pressed(self, state: ClusterState) -> Iterator[Shown]:
        """Nodes that say that they lack something, with the pod whose move costs least."""
        for node in state.nodes:
            lacking = [one for one in conditions(node) if one["type"] in _PRESSURES and one["status"] == "True"]
            pod = _movable(node["metadata"]["name"], state, self.settings.spared) if lacking else None
            if pod is not None:
                yield self._pressure(node["metadata"]["name"], str(lacking[0]["type"]), pod)

    def _pressure(self, node: str, lacking: str, pod: Object) -> Shown:
        space, name = place(pod)
        evidence = (
            Evidence("condition", lacking, None, "", f"what {node} says of itself"),
            Evidence("memory_request", _memory(pod) or "none", None, "", f"of {name}, which has siblings elsewhere"),
        )
        entities = f"pod/{space}/{name}", f"node/{node}"
        return Shown("node_pressure", node, Severity.HIGH, 0.9, entities, evidence, self.settings.pressed_s)


def _finding(seen: Shown, since_ns: int, at_ns: int) -> Finding:
    return Finding(
        id=content_id("finding", [seen.pattern, seen.key, since_ns]),
        pattern=seen.pattern,
        techniques=(),
        severity=seen.severity,
        confidence=seen.confidence,
        entities=seen.entities,
        first_ns=since_ns,
        last_ns=at_ns,
        evidence=seen.evidence,
        source=SOURCE,
    )


def _movable(node: str, state: ClusterState, spared: Sequence[str]) -> Object | None:
    """A pod that a ReplicaSet makes anew, with a ready sibling on another node; who asks least goes first."""
    ready = [pod for pod in state.pods if is_ready(pod) and controller(pod).get("kind") == "ReplicaSet"]
    elsewhere = {controller(pod)["uid"] for pod in ready if pod["spec"].get("nodeName") != node}
    here = [pod for pod in ready if pod["spec"].get("nodeName") == node and place(pod)[0] not in spared]
    free = [pod for pod in here if controller(pod)["uid"] in elsewhere and "deletionTimestamp" not in pod["metadata"]]
    return min(free, key=lambda pod: (bool(_memory(pod)), place(pod)), default=None)


def _memory(pod: Object) -> str:
    """The memory that its first container asks for; '' for none."""
    requests = pod["spec"]["containers"][0].get("resources", {}).get("requests", {})
    return str(requests.get("memory", ""))


def _broken(pod: Object) -> str:
    """Why no container of it comes up, in the kubelet's word; '' when it does, or may yet."""
    for status in containers(pod):
        reason = (status.get("state", {}).get("waiting") or {}).get("reason", "")
        if reason in _BROKEN:
            return str(reason)
        if not status.get("ready") and status.get("restartCount", 0) >= 1:
            return "Restarting"
    return ""
