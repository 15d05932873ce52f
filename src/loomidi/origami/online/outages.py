"""Outages that a cluster's state shows: memory that ran out, a service that nobody serves, a node that is not ready.

Called by `failures` with every look. In: `ClusterState`. Out: `Shown`, one for each container's workload, service or
node. Only what was well before is told, so that what is being set up is none, and what is switched off before the first
look is none either.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping

from loomidi.contracts import Evidence, Severity
from loomidi.origami.online.cluster import (
    ClusterState,
    Object,
    Shown,
    by_uid,
    containers,
    controller,
    fresh_release,
    is_ready,
    place,
    revision,
    since_s,
    workload_of,
)

OUTAGES = ("out_of_memory", "no_endpoints", "node_unready")
_KILLED = "OOMKilled"
Key = tuple[str, str]  # namespace, name


@dataclasses.dataclass(frozen=True, slots=True)
class OutageSettings:
    """When something is out."""

    killed_s: float = 60.0
    # For which a container that was ended for its memory counts; one that grows again is ended again.
    unserved_s: float = 10.0
    # That a service must have been without a ready pod; one that is replaced by hand takes a few seconds.
    unready_s: float = 3.0
    # That a node must have been unready; the cluster has waited for its word for longer by then.


class Outages:
    """Remembers who served what, and which nodes were ready."""

    def __init__(self, settings: OutageSettings, release_s: float) -> None:
        """`release_s`: age up to which a release, or its rollout, is blamed."""
        self.settings, self._release_s = settings, release_s
        self._served: dict[Key, tuple[str, ...]] = {}  # services that had a ready pod once -> by whom
        self._ready = set[str]()  # nodes

    def look(self, state: ClusterState) -> Iterator[Shown]:
        """All that is out now."""
        sets = by_uid(state.replica_sets)
        yield from self._killed(state, sets)
        yield from self._unserved(state, sets)
        yield from self._unready(state)

    def _killed(self, state: ClusterState, sets: Mapping[str, Object]) -> Iterator[Shown]:
        """Workloads of which a container was ended for its memory a short while ago."""
        told = set[str]()
        for pod in state.pods:
            ends = [one for one in map(_ended, containers(pod)) if one.get("reason") == _KILLED]
            late = [one for one in ends if _since_end_s(one, state.at_ns) <= self.settings.killed_s]
            if late and (workload := workload_of(pod, sets)) not in told:
                told.add(workload)
                yield self._killing(workload, pod, self._release_of(pod, state, sets))

    def _killing(self, workload: str, pod: Object, release: int) -> Shown:
        space, name = place(pod)
        restarts = sum(int(one.get("restartCount", 0)) for one in containers(pod))
        evidence = [
            Evidence("reason", _KILLED, None, "", "why the kernel ended the container"),
            Evidence("restarts", restarts, None, "", f"of the containers of {name} so far"),
        ]
        if release:
            evidence.append(Evidence("revision", release, None, "", "the release that began a short while ago"))
        entities = tuple(dict.fromkeys((workload, f"pod/{space}/{name}")))
        severity = Severity.HIGH if release else Severity.MEDIUM
        return Shown("out_of_memory", workload, severity, 0.9, entities, tuple(evidence), 0.0)

    def _release_of(self, pod: Object, state: ClusterState, sets: Mapping[str, Object]) -> int:
        """The number of its release where that is new and another was before it, else 0."""
        mine = controller(pod).get("uid", "")
        owner = controller(sets.get(mine, {})).get("uid")
        deployment = next((one for one in state.deployments if one["metadata"]["uid"] == owner), None)
        if deployment is None:
            return 0
        newest = fresh_release(deployment, state.replica_sets, state.at_ns, self._release_s)
        return revision(newest) if newest is not None and newest["metadata"]["uid"] == mine else 0

    def _unserved(self, state: ClusterState, sets: Mapping[str, Object]) -> Iterator[Shown]:
        """Services that had a ready pod and have none now."""
        by_space: dict[str, list[tuple[Mapping[str, str], Object]]] = {}
        for pod in state.pods:
            if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
                by_space.setdefault(place(pod)[0], []).append((pod["metadata"].get("labels") or {}, pod))
        chosen = {place(one): one["spec"].get("selector") or {} for one in state.services}
        self._served = {key: by for key, by in self._served.items() if chosen.get(key)}
        for key, selector in chosen.items():
            pods = [pod for labels, pod in by_space.get(key[0], ()) if selector and selector.items() <= labels.items()]
            if pods:
                self._served[key] = tuple(dict.fromkeys(workload_of(pod, sets) for pod in pods))
            elif key in self._served:
                yield self._outage(key)

    def _outage(self, key: Key) -> Shown:
        space, name = key
        evidence = (Evidence("ready_pods", 0, 1, "pods", f"that serve {name}; it had some before"),)
        entities = (*self._served[key], f"service/{space}/{name}")
        wait_s = self.settings.unserved_s
        return Shown("no_endpoints", f"{space}/{name}", Severity.HIGH, 0.9, entities, evidence, wait_s)

    def _unready(self, state: ClusterState) -> Iterator[Shown]:
        """Nodes that were ready and are not, unless somebody has closed them."""
        self._ready &= {place(one)[1] for one in state.nodes}
        for node in state.nodes:
            name = place(node)[1]
            if is_ready(node):
                self._ready.add(name)
            elif name in self._ready and not node.get("spec", {}).get("unschedulable"):
                evidence = (Evidence("condition", "Ready", None, "", f"does not hold for {name} any more"),)
                entities, wait_s = (f"node/{name}",), self.settings.unready_s
                yield Shown("node_unready", name, Severity.HIGH, 0.9, entities, evidence, wait_s)


def _ended(status: Object) -> Object:
    """How a container ended last; {} where it did not."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        if ended := state.get("terminated"):
            return dict(ended)
    return {}


def _since_end_s(ended: Object, at_ns: int) -> float:
    """Infinite where the kubelet does not know."""
    return since_s(ended["finishedAt"], at_ns) if ended.get("finishedAt") else math.inf
