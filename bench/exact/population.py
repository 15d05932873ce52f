"""Pods of several namespaces that talk to each other without pause, in a random graph by a seed.

Called by `bench.fold_exact`. In: a lab, how many pods, a seed. Out: `Population`: every pod serves TCP and UDP and is
asked directly and by Services with two pods behind each; every pod asks others both ways, the cluster's DNS, and an
address outside. Who asks whom is given to each pod as names, which it looks up once.
"""

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.exact.comparing import Flow
from loomidi.contracts import EnvironmentLacks
from loomidi_lab.cluster import Lab, cgroups

SPACES = ("exact-front", "exact-middle", "exact-back")
TCP, UDP, OUTSIDE_FROM = 8080, 7777, 9000
OUTSIDE, ASKER = "203.0.113.5", "198.51.100.10"
EVERY_S = 0.4  # between two questions of one kind
_TALKING = Path(__file__).with_name("talking.py")
_READY_S = 180.0
Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Member:
    """One pod."""

    number: int
    namespace: str
    node: str

    @property
    def name(self) -> str:
        return f"p{self.number:02}"

    @property
    def host(self) -> str:
        """Its name in DNS."""
        return f"{self.name}.all.{self.namespace}.svc.cluster.local."


class Population:
    """Pods that run and talk until the lab is taken down."""

    def __init__(self, lab: Lab, size: int, seed: int) -> None:
        self.lab, self._chance = lab, random.Random(seed)
        nodes = [node.name for node in lab.nodes]
        spaces, places = SPACES * size, nodes * size
        self._chance.shuffle(places := places[:size])
        self.members = [Member(number, spaces[number], places[number]) for number in range(size)]
        self.pairs = list(self._paired())
        self._asks = {one.name: self._questions(one) for one in self.members}
        self.addresses: dict[str, str] = {}  # of a member by name
        self._ours: set[str] = set()  # those addresses
        self.networks: list[str] = []  # files of the networks in which pods and the outside are

    def start(self, label: Object) -> None:
        """Make everything and wait until each pod runs and knows whom to ask."""
        for space in SPACES:
            about = {"name": space, "labels": label}
            self.lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": about}, *self._services(space)])
            account = f"/api/v1/namespaces/{space}/serviceaccounts/default"
            eventually(lambda path=account: self.lab.api.exists(path), f"{account} is there")
        for member in self.members:
            self.lab.api.post(f"/api/v1/namespaces/{member.namespace}/pods", self._pod(member))
        eventually(self._ready, "every pod is ready", _READY_S)
        self._look()

    def _ready(self) -> bool:
        pods = [pod for space in SPACES for pod in self.lab.api.list(f"/api/v1/namespaces/{space}/pods")]
        return len(pods) == len(self.members) and all(is_ready(pod) for pod in pods)

    def _look(self) -> None:
        groups = {one.name.removeprefix("pod"): one for one in cgroups.pods(self.lab.place)}
        for pod in self.lab.api.list("/api/v1/pods"):
            group = groups.get(pod["metadata"]["uid"])
            if group is None or pod["spec"].get("hostNetwork"):
                continue
            address, about = pod["status"]["podIP"], pod["metadata"]
            self.networks.append(f"/proc/{min(cgroups.pids_below(group))}/ns/net")
            if about["namespace"] in SPACES:
                self.addresses[about["name"]] = address
                self._ours.add(address)
        self.networks.append(f"/run/netns/{self.lab.outside_netns}")

    @property
    def served(self) -> frozenset[int]:
        """Every port that is asked, by pods and by Services."""
        return frozenset({53, 80, TCP, UDP, *range(OUTSIDE_FROM, OUTSIDE_FROM + len(self.members))})

    def attribute(self, flow: Flow) -> Flow | None:
        """What leaves the cluster may carry its node's address; the port at the outside tells whose it is.

        None for what is between others, such as the probes of DNS: too seldom to be told from silence.
        """
        if flow.server == OUTSIDE and 0 <= flow.port - OUTSIDE_FROM < len(self.members):
            return flow._replace(client=self.addresses[self.members[flow.port - OUTSIDE_FROM].name])
        return flow if self._ours & {flow.client, flow.server} else None

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Who answers outside, and who asks pods from there."""
        serving = [["serve", OUTSIDE, str(OUTSIDE_FROM), str(len(self.members))]]
        chosen = self._chance.sample(self.members, min(len(self.members), 8))
        asking = [["ask", ASKER, self.addresses[one.name], str(UDP), str(EVERY_S)] for one in chosen]
        words = [*self.lab.enter(self.lab.outside_netns), sys.executable, str(_TALKING)]
        running = [subprocess.Popen([*words, *more]) for more in (*serving, *asking)]
        try:
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()

    def _paired(self) -> Iterator[tuple[Member, Member]]:
        """Two pods behind each Service."""
        for space in SPACES:
            own = [one for one in self.members if one.namespace == space]
            self._chance.shuffle(own)
            yield from zip(own[::2], own[1::2], strict=False)

    def _questions(self, member: Member) -> list[list[Any]]:
        """Whom one pod asks, and how."""
        others = [one for one in self.members if one != member]
        direct = self._chance.sample(others, 3)
        services = self._chance.sample([pair for pair in self.pairs if member not in pair], 2)
        named = [f"{_service(pair)}.{pair[0].namespace}.svc.cluster.local." for pair in services]
        return [
            ["tcp", direct[0].host, TCP],
            ["udp", direct[1].host, UDP],
            ["line", direct[2].host, TCP],
            ["tcp", named[0], 80],
            ["udp", named[1], UDP],
            ["udp", OUTSIDE, OUTSIDE_FROM + member.number],
            ["dns", self.lab.dns_address, 53],
        ]

    def _services(self, space: str) -> list[Object]:
        every = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": "exact"}}
        ports = [
            {"name": "web", "port": 80, "targetPort": TCP},
            {"name": "word", "port": UDP, "protocol": "UDP"},
        ]
        found = {"all": every | {"ports": ports}}
        for pair in [pair for pair in self.pairs if pair[0].namespace == space]:
            found[_service(pair)] = {"selector": {f"exact/{_service(pair)}": "on"}, "ports": ports}
        head = {"apiVersion": "v1", "kind": "Service"}
        return [head | {"metadata": {"name": name, "namespace": space}, "spec": spec} for name, spec in found.items()]

    def _pod(self, member: Member) -> Object:
        """It serves a port, and the kubelet looks every second whether it does."""
        labels = {"app": "exact", "pod": member.name}
        labels |= {f"exact/{_service(pair)}": "on" for pair in self.pairs if member in pair}
        asks = json.dumps(self._asks[member.name])
        container = {
            "name": "main",
            "image": "lab.loomidi.io/base:1",
            "command": ["python3", "-c", _TALKING.read_text(), "pod", str(TCP), str(UDP), str(EVERY_S), asks],
            "readinessProbe": {"tcpSocket": {"port": TCP}, "periodSeconds": 1, "failureThreshold": 2},
        }
        spec = {
            "nodeName": member.node,
            "hostname": member.name,
            "subdomain": "all",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [container],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": member.name, "labels": labels}, "spec": spec}


def is_ready(pod: Object) -> bool:
    """By its kubelet's probes."""
    told = pod["status"].get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told)


def _service(pair: tuple[Member, Member]) -> str:
    return f"s-{pair[0].name}-{pair[1].name}"


def eventually(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Raises EnvironmentLacks when it does not come to that."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise EnvironmentLacks(f"not so after {seconds:.0f} s: {what}")
        time.sleep(0.1)
