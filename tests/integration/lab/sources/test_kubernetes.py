"""The watch against a real cluster: at every moment of a rollout, a reuse and a drain it names whom the API names."""

import asyncio
import ipaddress
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi.contracts.streams import Stream
from loomidi.garden.graph.labelling import FlowNamer
from loomidi.garden.graph.naming import AddressBook
from loomidi.loom.sources.audit import parse_audit_lines
from loomidi.loom.sources.clusters import access
from loomidi.loom.sources.kubernetes import KubernetesWatch, WatchSettings
from loomidi.loom.sources.tailing import Tail
from loomidi.services.settings.naming import NamingSettings
from loomidi_lab.cluster import Lab
from tests.unit.garden.test_labelling import flows

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: lab.loomidi.io/base:1, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


class Seen(NamedTuple):
    """What the API said of one pod at one moment."""

    at_ns: int
    address: str
    namespace: str
    name: str
    owner: str  # kind of its controller; empty: none


class Truth(threading.Thread):
    """Asks the API who has which address, again and again."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.seen: list[Seen] = []
        self._lab, self._ending = lab, threading.Event()

    def run(self) -> None:
        while not self._ending.wait(0.05):
            at_ns = time.time_ns()
            try:
                pods = self._lab.api.list("/api/v1/pods")
            except LoomidiError:
                continue
            # The answer is of a moment after we asked, and who it shows running had its address by then for long.
            self.seen += [one for pod in pods if (one := _seen(pod, at_ns)) is not None]

    def end(self) -> None:
        self._ending.set()
        self.join()


def _seen(pod: dict[str, Any], at_ns: int) -> Seen | None:
    """Of a pod that runs and has an address of its own."""
    status, about = pod.get("status", {}), pod["metadata"]
    if status.get("phase") != "Running" or not status.get("podIP") or pod["spec"].get("hostNetwork"):
        return None
    owners = about.get("ownerReferences") or [{}]
    return Seen(at_ns, status["podIP"], about["namespace"], about["name"], owners[0].get("kind", ""))


class Watched:
    """The watch in a thread of its own, its book, and the truth beside it."""

    def __init__(self, lab: Lab) -> None:
        self.book, self.truth = AddressBook(), Truth(lab)
        self.events: list[str] = []
        self._loop, self._lab = asyncio.new_event_loop(), lab
        self._ending = asyncio.Event()
        self.watch: KubernetesWatch | None = None
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()), daemon=True)

    def __enter__(self) -> "Watched":
        self._thread.start()
        until(lambda: self.watch is not None and not self.watch.ready, "the watch is not ready")
        self.truth.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.truth.end()
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        async with access(self._lab.kubeconfig, {}).client() as client:
            self.watch = KubernetesWatch(client, self._take, WatchSettings(cluster="test"))
            await self.watch.run(self._ending)

    async def _take(self, stream: Stream, batch: pa.RecordBatch) -> None:
        if stream == Stream.ENTITIES:
            self.book.learn(batch)
        else:
            self.events += batch.column("kind").to_pylist()


def until(holds: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def watched(cluster: Lab) -> Iterator[Watched]:
    with Watched(cluster) as made:
        yield made


def wrong(watched: Watched, namespace: str) -> tuple[int, list[Any]]:
    """How many moments were compared, and those that were named otherwise."""
    seen = [one for one in watched.truth.seen if one.namespace == namespace]
    # The API shows a pod as running until its kubelet says otherwise, seconds after its containers ended on a busy
    # machine; whoever gets the address next has it at once all the same.
    named = FlowNamer(watched.book, late_s=NamingSettings().late_s)(
        flows(*((one.address, "192.0.2.1", one.at_ns) for one in seen))
    )
    columns = [named.column(f"source_{part}").to_pylist() for part in ("entity", "workload")]
    bad = []
    for one, entity, workload in zip(seen, *columns, strict=True):
        wanted = f"deployment/{namespace}/web" if one.owner == "ReplicaSet" else None
        if (entity, workload) != (f"pod/{one.namespace}/{one.name}", wanted):
            bad.append((one, entity, workload))
    return len(seen), bad


def deployed(lab: Lab, namespace: str) -> None:
    lab.kubectl("apply", "-n", namespace, "-f", "-", stdin=WEB)
    rolled(lab, namespace)


def rolled(lab: Lab, namespace: str) -> None:
    lab.kubectl("rollout", "status", "-n", namespace, "deploy/web", "--timeout=90s", timeout_s=100)


def names(lab: Lab, namespace: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in lab.api.list(f"/api/v1/namespaces/{namespace}/pods")}


def test_through_a_rollout_every_moment_has_its_own_pod(cluster: Lab, namespace: str, watched: Watched) -> None:
    deployed(cluster, namespace)
    before = names(cluster, namespace)
    cluster.kubectl("rollout", "restart", "-n", namespace, "deploy/web")
    rolled(cluster, namespace)
    until(lambda: not names(cluster, namespace) & before, "old pods stay")
    open_now = lambda: {row.name for row in watched.book if row.namespace == namespace and not row.to_ns}  # noqa: E731
    until(lambda: open_now() == names(cluster, namespace) | {"web"}, "the watch does not catch up")
    compared, bad = wrong(watched, namespace)
    assert compared > 30
    assert not bad
    services = {row.service for row in watched.book if row.namespace == namespace}
    assert services == {f"service/{namespace}/web"}
    assert "Scheduled" in watched.events


def on_node(lab: Lab, namespace: str, name: str) -> str:
    """A pod on the first node; its address."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": lab.nodes[0].name,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "lab.loomidi.io/base:1", "command": ["sleep", "infinity"]}],
        },
    }
    lab.api.post(f"/api/v1/namespaces/{namespace}/pods", pod)
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    until(lambda: lab.api.get(path)["status"].get("phase") == "Running", f"{name} does not run")
    return str(lab.api.get(path)["status"]["podIP"])


def released(lab: Lab, address: str) -> None:
    """Once the address is free again, let the node give it out next: it goes on behind the one that it gave last."""
    held, node = Path("/run/cni-addresses/lab"), lab.on(lab.nodes[0])
    before = str(ipaddress.ip_address(address) - 1)
    until(lambda: subprocess.run([*node, "test", "!", "-e", str(held / address)], check=False).returncode == 0, "held")
    subprocess.run([*node, "tee", str(held / "last_reserved_ip.0")], input=before.encode(), check=True)


def test_an_address_that_is_reused_names_each_pod_in_its_time(cluster: Lab, namespace: str, watched: Watched) -> None:
    address = on_node(cluster, namespace, "pod-0")
    for number in range(1, 4):
        cluster.kubectl("delete", "pod", "-n", namespace, f"pod-{number - 1}", "--wait=true")
        released(cluster, address)
        assert on_node(cluster, namespace, f"pod-{number}") == address, "the address was not reused"
        until(lambda: len([one for one in watched.truth.seen if one.name == f"pod-{number}"]) > 3, "not seen")  # noqa: B023
    until(lambda: (row := watched.book.at(address)) is not None and row.name == "pod-3", "the watch does not catch up")
    compared, bad = wrong(watched, namespace)
    assert compared > 12
    assert not bad
    assert [row.name for row in watched.book if row.address == address][-4:] == [f"pod-{number}" for number in range(4)]


def test_a_drain_moves_the_names_with_the_pods(cluster: Lab, namespace: str, watched: Watched) -> None:
    deployed(cluster, namespace)
    node = cluster.nodes[0].name
    try:
        cluster.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", timeout_s=120)
        rolled(cluster, namespace)
    finally:
        cluster.kubectl("uncordon", node)
    pods = cluster.api.list(f"/api/v1/namespaces/{namespace}/pods")
    assert {pod["spec"]["nodeName"] for pod in pods} == {cluster.nodes[1].name}
    until(
        lambda: (
            {row.node for row in watched.book if row.namespace == namespace and row.kind == "Pod" and not row.to_ns}
            == {cluster.nodes[1].name}
        ),
        "the watch does not catch up",
    )
    compared, bad = wrong(watched, namespace)
    assert compared > 20
    assert not bad
    addresses = {row.address for row in watched.book if row.kind == "Node" and row.name == node and not row.to_ns}
    assert cluster.nodes[0].address in addresses


def test_the_audit_log_of_a_real_api_server_is_read_whole(cluster: Lab, namespace: str, tmp_path: Path) -> None:
    """Every line of it is an event; the namespace of this test was created by somebody."""
    tail, refusals, events = Tail(cluster.api_log, tmp_path / "position"), Counter[str](), list[dict[str, Any]]()
    while (piece := tail.take()) is not None:
        batch = parse_audit_lines(piece.lines, refusals)
        assert batch.num_rows == len(piece.lines)
        events += batch.select(["kind", "entity", "actor", "severity"]).to_pylist()
        tail.done(piece)
    tail.close()
    assert not refusals
    made = [one for one in events if (one["kind"], one["entity"]) == ("create", f"namespace/{namespace}")]
    assert made
    assert all(one["actor"] for one in made)
