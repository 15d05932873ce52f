"""The state of a cluster looked at every second for failures: releases, saturation, memory, services, nodes.

Called by `answering`, on a thread. In: a cluster's API. Out: each finding with the folds that would answer it, planned
and judged like those of the detectors. Reads only: pods, services, ReplicaSets, Deployments and nodes by watch, CPU
throttling from the kubelets. Leaves what a failure is to `origami.online.failures`.
"""

import dataclasses
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from loomidi.contracts import Finding
from loomidi.insight.report import ProposedFold
from loomidi.ionic.decide import DeciderSettings
from loomidi.ionic.decide.places import Place, place
from loomidi.kit.clock import SystemClock
from loomidi.loom.sources.exposition import samples
from loomidi.loom.sources.rows import Refusals
from loomidi.loom.sources.shelves import Shelf
from loomidi.origami.online import ClusterState, Failures
from loomidi.origami.online.cluster import is_ready
from loomidi.services.folds.planning import decider_over, explained, planned
from loomidi.services.settings.answers import FoldingSettings
from loomidi.services.sightings import AGAIN, NEW, OVER

_PATHS = {
    "pods": "/api/v1/pods",
    "nodes": "/api/v1/nodes",
    "services": "/api/v1/services",
    "replica_sets": "/apis/apps/v1/replicasets",
    "deployments": "/apis/apps/v1/deployments",
}
_OPTIONAL = "services"  # roles that were granted before they were looked at lack it: the rest is found all the same
_WATCHED_S = 60
_LOOK_S = 1.0
_AGAIN_S = 5.0  # between two words on a failure that goes on
_ASK_S = 3.0  # until a kubelet's answer is given up
_AT_ONCE = 4  # kubelets asked
_PERIODS = "container_cpu_cfs_periods_total"
_THROTTLED = "container_cpu_cfs_throttled_periods_total"
_CONTAINER = re.compile(r"pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:\.slice)?/[^/]+$")
Told = Callable[[Finding, str, Sequence[ProposedFold]], None]
Pod = tuple[str, str]  # namespace, name


@dataclasses.dataclass(frozen=True, slots=True)
class _Periods:
    """CPU periods of a pod's containers since they began."""

    at_s: float  # epoch, of the kubelet's own look: it looks every ten seconds or so, and repeats itself meanwhile
    all: float
    throttled: float


class Throttling:
    """In what share of their CPU periods pods were held back, between the last two looks of their kubelet."""

    def __init__(self, client: httpx.Client) -> None:
        self.counts: Counter[str] = Counter()
        self._client = client
        self._seen: dict[str, _Periods] = {}
        self._shares: dict[str, float] = {}

    def ask(self, nodes: Sequence[str]) -> dict[str, float]:
        """By pod uid. Every kubelet is asked, some at a time; those that do not answer are counted."""
        with ThreadPoolExecutor(_AT_ONCE, "kubelets") as pool:
            found = {uid: seen for each in pool.map(self._node, nodes) for uid, seen in each.items()}
        newer = {uid: now for uid, now in found.items() if uid not in self._seen or now.at_s > self._seen[uid].at_s}
        fresh = {uid: _share(self._seen[uid], now) for uid, now in newer.items() if uid in self._seen}
        self._shares = {uid: share for uid, share in self._shares.items() if uid in found} | fresh
        self._seen = {uid: newer.get(uid, self._seen.get(uid, now)) for uid, now in found.items()}
        return self._shares

    def _node(self, node: str) -> dict[str, _Periods]:
        try:
            answer = self._client.get(f"/api/v1/nodes/{node}/proxy/metrics/cadvisor", timeout=_ASK_S)
        except httpx.HTTPError:
            self.counts["no_answer"] += 1
            return {}
        self.counts["answered" if answer.is_success else f"status_{answer.status_code}"] += 1
        return _periods(answer.text) if answer.is_success else {}


class Diagnosing:
    """One cluster's."""

    def __init__(self, client: httpx.Client, told: Told, settings: FoldingSettings) -> None:
        self.throttling = Throttling(client)
        self._told, self._metrics_s = told, settings.metrics_s
        self._shelves = {name: Shelf(client, path, lambda _: None, _WATCHED_S) for name, path in _PATHS.items()}
        plans = DeciderSettings(settings.mode, approval_s=settings.valid_s)
        self._decider = decider_over(None, (), SystemClock(), plans)
        self._failures = Failures()
        self._open: dict[str, tuple[Finding, int]] = {}  # id -> as it was told last, when
        self._throttled: Mapping[str, float] = {}
        self._asked_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        threads = [threading.Thread(target=shelf.keep, args=(stop,), daemon=True) for shelf in self._shelves.values()]
        for thread in threads:
            thread.start()
        needed = [shelf for name, shelf in self._shelves.items() if name != _OPTIONAL]
        while not stop.wait(_LOOK_S):
            if all(shelf.filled.is_set() for shelf in needed):
                self.look(time.time_ns())

    def fill(self) -> None:
        """Draw all lists once, as `run` does on threads."""
        for shelf in self._shelves.values():
            shelf.fill()

    def look(self, now_ns: int) -> None:
        """Once. Steps: 1 what is there  2 what has failed  3 tell what is new or goes on  4 tell what is over."""
        # 1 what is there
        objects: dict[str, Any] = {name: shelf.all() for name, shelf in self._shelves.items()}
        if self._metrics_s and time.monotonic() - self._asked_s >= self._metrics_s:
            self._asked_s = time.monotonic()
            self._throttled = self.throttling.ask(
                [one["metadata"]["name"] for one in objects["nodes"] if is_ready(one)]
            )
        # 2 what has failed
        uids = {_key(pod): self._throttled.get(pod["metadata"]["uid"]) for pod in objects["pods"]}
        throttled = {pod: share for pod, share in uids.items() if share is not None}
        found = {one.id: one for one in self._failures.look(ClusterState(now_ns, **objects, throttled=throttled))}
        # 3 new, or going on
        for finding in found.values():
            before, told_ns = self._open.get(finding.id, (None, 0))
            if before is None or now_ns - told_ns >= _AGAIN_S * 1e9:
                self._open[finding.id] = finding, now_ns
                self._tell(finding, NEW if before is None else AGAIN, objects["pods"])
        # 4 over
        for gone in set(self._open) - set(found):
            self._told(self._open.pop(gone)[0], OVER, ())

    def _tell(self, finding: Finding, state: str, pods: Sequence[Mapping[str, Any]]) -> None:
        addresses = {_key(pod): pod.get("status", {}).get("podIP", "") for pod in pods}
        folds = planned(finding, self._decider, lambda entity: _placed(entity, addresses))
        self._told(explained(finding, folds), state, folds)


def _placed(entity: str, addresses: Mapping[Pod, str]) -> Place:
    """A pod with its address; nothing else has one here."""
    found = place(entity)
    known = addresses.get((found.namespace, found.name), "") if found.kind == "pod" else ""
    return dataclasses.replace(found, address=known) if known else found


def _periods(text: str) -> dict[str, _Periods]:
    """By pod uid. Only the lines that matter are parsed.

    A container is known by its cgroup: the labels `pod` and `container` are empty with some runtimes.
    """
    lines = "\n".join(line for line in text.splitlines() if line.startswith((_PERIODS, _THROTTLED)))
    sums: dict[str, _Periods] = {}
    for one in samples(lines + "\n", "text/plain", Refusals()):
        if found := _CONTAINER.search(one.labels.get("id", "")):
            uid = found["uid"].replace("_", "-")
            before, held = sums.get(uid, _Periods(0.0, 0.0, 0.0)), one.value if one.name == _THROTTLED else 0.0
            at_s = max(before.at_s, one.at_s or 0.0)
            sums[uid] = _Periods(at_s, before.all + one.value - held, before.throttled + held)
    return sums


def _share(before: _Periods, now: _Periods) -> float:
    """0 where nothing has run, or counters began anew with the container."""
    periods, throttled = now.all - before.all, now.throttled - before.throttled
    return throttled / periods if periods > 0 and throttled >= 0 else 0.0


def _key(pod: Mapping[str, Any]) -> Pod:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
