"""Pods, workloads and Services that talk to each other without pause, and outside addresses that talk to the pods.

Called by bench/fold_undo.py. In: a lab. Out: a population that is ready; flows by name, each proved by answers that
were counted after one asked. What talks is `talking`, in every pod and once in the outside.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench.undo.talking import PORT
from loomidi.contracts import LoomidiError
from loomidi_lab.cluster import Lab

SPACE = "fold-undo"
LONE = {f"p{number}": f"n{1 + number % 2}" for number in range(6)}  # pods that nobody owns, and their nodes
WORKLOADS = {"scaled": 2, "restarted": 2, "rolled": 2, "ruled": 2, "front": 2, "db": 1}  # with their replicas
OUTSIDE = tuple(f"198.51.100.{number}" for number in range(11, 19))
MORE = 3  # answers that prove a flow
_TALKING = Path(__file__).with_name("talking.py").read_text()
_DOOR = 8090  # of the talker in the outside
_RESOURCES = {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
Object = dict[str, Any]
Flow = tuple[str, str]  # who asks, whom


@dataclasses.dataclass(frozen=True, slots=True)
class Population:
    """One lab's."""

    lab: Lab

    def settle(self) -> None:
        """Make everything."""
        self.leave()
        until(lambda: not self.lab.api.exists(f"/api/v1/namespaces/{SPACE}"), "an earlier run's namespace goes", 60)
        self.lab.api.post("/api/v1/namespaces", {"metadata": {"name": SPACE}})
        until(lambda: self.lab.api.exists(f"{_core('serviceaccounts')}/default"), "the default service account", 30)
        services = map(_service, ("peers", *WORKLOADS))
        self.lab.apply([*map(_lone, LONE), *map(_workload, WORKLOADS), *services, _scaler()])
        self.ready()
        bad = {"template": {"metadata": {"annotations": {"note": "another release"}}}}
        self.lab.api.patch(f"{_apps('deployments')}/rolled", {"spec": bad})
        self.ready()
        words = [sys.executable, "-c", _TALKING, self.lab.ranges.outside, str(_DOOR)]
        self.lab.start("fold-undo-outside", words, netns=self.lab.outside_netns)

    def ready(self, seconds: float = 120.0) -> None:
        """Every pod runs and is ready, no rollout is under way, no pod is too many. Raises TimeoutError."""
        until(lambda: not self._lacking(), lambda: f"the population is settled ({self._lacking()})", seconds)

    def _lacking(self) -> str:
        try:
            nodes = [one for one in self.lab.api.list("/api/v1/nodes") if not _ready(one)]
            pods = self.pods()
            waiting = [one["metadata"]["name"] for one in (*nodes, *pods) if not _ready(one)]
            waiting += [name for name in LONE if name not in {one["metadata"]["name"] for one in pods}]
            for plural in ("deployments", "statefulsets"):
                waiting += [one["metadata"]["name"] for one in self.lab.api.list(_apps(plural)) if not _rolled(one)]
            wanted = sum(int(one["spec"]["replicas"]) for one in self._workloads())
        except LoomidiError as error:
            return str(error)
        owned = [one for one in pods if one["metadata"].get("ownerReferences")]
        return ", ".join([*waiting, *([f"{len(owned)} pods of {wanted}"] if len(owned) != wanted else [])])

    def _workloads(self) -> list[Object]:
        return [*self.lab.api.list(_apps("deployments")), *self.lab.api.list(_apps("statefulsets"))]

    def pods(self, app: str = "") -> list[Object]:
        """All, or those of a workload; without those that are ending."""
        found = self.lab.api.list(_core("pods"), **({"labelSelector": f"app={app}"} if app else {}))
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def talk(self) -> dict[Flow, int]:
        """Tell everybody whom to ask, as addresses are now; how many answers each flow has had so far."""
        pods = {one["metadata"]["name"]: one for one in self.pods()}
        lone = {name: [pods[name]["status"].get("podIP", ""), PORT, ""] for name in LONE}
        services = {f"service {one['metadata']['name']}": one["spec"]["clusterIP"] for one in self._services()}
        reached = {name: [address, PORT, ""] for name, address in services.items()}
        counts: dict[Flow, int] = {}
        for name, pod in pods.items():
            others = {other: where for other, where in lone.items() if other != name}
            path = f"{_core('pods')}/{name}:8080/proxy/"
            self.lab.api.post(path, others | reached if name in LONE else others)
            told = self.lab.api.get(path)
            who = name if name in LONE else f"{pod['metadata']['labels']['app']}/{name}"
            counts |= {(who, whom): int(told.get(whom, 0)) for whom in (others | reached if name in LONE else others)}
        return counts | self._outside(lone)

    def _outside(self, lone: dict[str, list[Any]]) -> dict[Flow, int]:
        """Each outside address asks one pod on each node."""
        url = f"http://{self.lab.ranges.outside}:{_DOOR}/"
        pairs = [(source, whom) for source in OUTSIDE for whom in ("p0", "p1")]
        told = {f"{source} {whom}": [*lone[whom][:2], source] for source, whom in pairs}
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            client.post(url, json=told)
            counted = client.get(url).json()
        return {(source, whom): int(counted.get(f"{source} {whom}", 0)) for source, whom in pairs}

    def _services(self) -> list[Object]:
        return self.lab.api.list(_core("services"))

    def silent(self, seconds: float = 60.0) -> tuple[int, list[str]]:
        """How many flows there are, and those that had no more answers within that time."""
        end, first = time.monotonic() + seconds, dict[Flow, int]()
        while True:
            try:
                now = self.talk()
            except (LoomidiError, httpx.HTTPError, KeyError) as error:
                now, why = {}, f"nobody could be asked: {type(error).__name__}: {error}"
            else:
                why = ""
            first = {flow: min(first.get(flow, count), count) for flow, count in now.items()}  # one that began anew
            quiet = [f"{who} -> {whom}" for (who, whom), count in now.items() if count < first[who, whom] + MORE]
            if (now and not quiet) or time.monotonic() > end:
                return len(now), quiet or ([why] if why else [])
            time.sleep(1.0)

    def leave(self) -> None:
        """End the talker of the outside; the rest goes with the lab, or with its namespace."""
        self.lab.launcher.stop("fold-undo-outside")
        self.lab.api.delete(f"/api/v1/namespaces/{SPACE}")


def until(holds: Callable[[], object], what: str | Callable[[], str], seconds: float) -> None:
    """Wait. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:.0f} s still not so: {what if isinstance(what, str) else what()}")
        time.sleep(0.2)


def _core(plural: str) -> str:
    return f"/api/v1/namespaces/{SPACE}/{plural}"


def _apps(plural: str) -> str:
    return f"/apis/apps/v1/namespaces/{SPACE}/{plural}"


def _ready(obj: Object) -> bool:
    told = obj.get("status", {}).get("conditions") or ()
    taints = [one for one in obj["spec"].get("taints") or () if one["key"].startswith("node.kubernetes.io/not-ready")]
    return not taints and any(one["type"] == "Ready" and one["status"] == "True" for one in told)


def _rolled(obj: Object) -> bool:
    status, wanted = obj.get("status", {}), obj["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
    counts = {status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas")}
    return bool(seen and counts == {wanted})


def _container() -> Object:
    return {
        "name": "main",
        "image": "lab.loomidi.io/base:1",
        "command": ["python3", "-c", _TALKING],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 2, "failureThreshold": 2},
        "resources": _RESOURCES,
    }


def _lone(name: str) -> Object:
    spec = {"nodeName": LONE[name], "terminationGracePeriodSeconds": 0, "containers": [_container()]}
    labels = {"name": name, "served": "peers", "team": "talk"}
    return _object("v1", "Pod", name, spec, labels)


def _workload(name: str) -> Object:
    labels = {"app": name, "served": name}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [_container()]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec: Object = {"replicas": WORKLOADS[name], "selector": {"matchLabels": {"app": name}}, "template": template}
    if name == "db":
        return _object("apps/v1", "StatefulSet", name, spec | {"serviceName": name}, labels)
    return _object("apps/v1", "Deployment", name, spec, labels)


def _service(name: str) -> Object:
    ports = [{"name": "talk", "protocol": "UDP", "port": PORT}]
    return _object("v1", "Service", name, {"selector": {"served": name}, "ports": ports}, {})


def _scaler() -> Object:
    aim = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "ruled"}
    spec = {"scaleTargetRef": aim, "minReplicas": 2, "maxReplicas": 5}
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", "ruled", spec, {})


def _object(version: str, kind: str, name: str, spec: Object, labels: Object) -> Object:
    metadata = {"name": name, "namespace": SPACE, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
