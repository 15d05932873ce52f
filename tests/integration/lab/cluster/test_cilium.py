"""A lab with Cilium: its policies deny, Services and names work, Hubble sees, and nothing of it stays on the host."""

import contextlib
import functools
import ipaddress
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts.errors import LoomidiError, Retryable
from loomidi.loom.capture.xdp import bpf
from loomidi_lab.cluster import Lab, UpSettings, cilium, down, nodes, raising, up
from tests.integration.lab.cluster.surveying import survey

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAME, SPACE = "testcil", "policed"
USER, ATTACKER = "203.0.113.10", "198.51.100.10"  # two addresses of the outside
GLOBAL = ("kernel/timer_migration", "kernel/unprivileged_bpf_disabled", "net/core/bpf_jit_enable")
CURL = ("curl", "-s", "-m2", "-o", "/dev/null", "-w", "%{http_code}")
BY_ID = {"prog_id": 13, "map_id": 14, "link_id": 30}  # commands of bpf(2) that open an object by its number

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: lab.loomidi.io/base:1
      command: [python3, -m, http.server, "8080"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: lab.loomidi.io/base:1, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {type: NodePort, selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
"""


class Site:
    """The lab under test, and the host before it."""

    def __init__(self) -> None:
        self.before, self.settings = survey(NAME), settings()
        up(UpSettings(name=NAME, network="cilium"))
        self.lab = Lab.open(NAME)
        self.lab.kubectl("create", "namespace", SPACE)
        eventually(lambda: self.lab.api.exists(f"/api/v1/namespaces/{SPACE}/serviceaccounts/default"))
        self.lab.kubectl("apply", "-n", SPACE, "-f", "-", stdin=PODS)
        wait = ("wait", "-n", SPACE, "--for=condition=Ready", "pod/client", "pod/server", "--timeout=60s")
        self.lab.kubectl(*wait, timeout_s=70)
        self.server = self.lab.api.get(f"/api/v1/namespaces/{SPACE}/pods/server")["status"]["podIP"]
        self.first = self.fetch(f"http://{self.server}:8080/")

    def fetch(self, url: str) -> str:
        """The status that the client pod is answered with; 000: nothing answered in time."""
        return self.lab.exec(SPACE, "client", *CURL, url, check=False).stdout


def settings() -> dict[str, str]:
    paths = [Path("/proc/sys") / name for name in GLOBAL]
    return {str(path): path.read_text() for path in paths if path.exists()}


@pytest.fixture(scope="module")
def site(buildable: None) -> Iterator[Site]:
    """A lab of this module's own."""
    try:
        raising.check(UpSettings(name=NAME, network="cilium"))
    except LoomidiError as error:
        pytest.skip(f"no Cilium here: {error}")
    down(NAME)
    try:
        made = Site()
        yield made
        made.lab.close()
    finally:
        down(NAME)


@pytest.fixture
def outside(site: Site) -> Iterator[None]:
    """A web server that answers on every address of the outside."""
    listening = site.lab.start("web", ["python3", "-m", "http.server", "8088"], netns=site.lab.outside_netns)
    eventually(lambda: site.fetch(f"http://{USER}:8088/") == "200")
    yield
    listening.kill()
    listening.wait()


@contextlib.contextmanager
def policy(site: Site, spec: dict[str, Any]) -> Iterator[None]:
    """A CiliumNetworkPolicy on the client."""
    path = f"/apis/cilium.io/v2/namespaces/{SPACE}/ciliumnetworkpolicies"
    whole: dict[str, Any] = {"endpointSelector": {"matchLabels": {"app": "client"}}, **spec}
    version: dict[str, Any] = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy"}
    site.lab.api.post(path, version | {"metadata": {"name": "test"}, "spec": whole})
    try:
        yield
    finally:
        site.lab.api.delete(f"{path}/test")


def test_the_first_connection_after_up_works(site: Site) -> None:
    assert site.first == "200"
    assert cilium.lacking(site.lab.site) == []


def test_a_service_is_reached_by_its_name_through_the_proxy(site: Site) -> None:
    eventually(lambda: site.fetch("http://server/") == "200")


def test_the_outside_reaches_a_node_port_on_every_node(site: Site) -> None:
    port = site.lab.api.get(f"/api/v1/namespaces/{SPACE}/services/server")["spec"]["ports"][0]["nodePort"]
    for node in site.lab.nodes:
        words = (*CURL, f"http://{node.address}:{port}/")
        eventually(functools.partial(answers, site.lab, words))


def answers(lab: Lab, words: Sequence[str]) -> bool:
    return lab.run(lab.outside_netns, *words, check=False).stdout == "200"


def test_a_policy_that_denies_a_range_denies_that_range_and_no_other(site: Site, outside: None) -> None:
    everything_but = {"egress": [{"toEntities": ["all"]}], "egressDeny": [{"toCIDR": [f"{ATTACKER}/32"]}]}
    assert site.fetch(f"http://{ATTACKER}:8088/") == "200"
    with policy(site, everything_but):
        eventually(lambda: site.fetch(f"http://{ATTACKER}:8088/") == "000")
        assert site.fetch(f"http://{USER}:8088/") == "200"
        assert site.fetch(f"http://{site.server}:8080/") == "200"
    eventually(lambda: site.fetch(f"http://{ATTACKER}:8088/") == "200")


def test_a_policy_that_denies_a_pod_on_another_node_denies_it_until_it_goes(site: Site) -> None:
    with policy(site, {"egressDeny": [{"toEndpoints": [{"matchLabels": {"app": "server"}}]}]}):
        eventually(lambda: site.fetch(f"http://{site.server}:8080/") == "000")
    eventually(lambda: site.fetch(f"http://{site.server}:8080/") == "200")


def test_pods_have_addresses_of_their_nodes_range(site: Site) -> None:
    ranges = {node.name: ipaddress.ip_network(node.pods) for node in site.lab.nodes}
    links = [link for link in site.lab.links() if link.kind == "pod"]
    assert len(links) >= 2
    assert not [link for link in links if ipaddress.ip_address(link.address) not in ranges[link.node]]


def test_every_pod_has_its_link(site: Site) -> None:
    links = {link.pod: link for link in site.lab.links() if link.namespace == SPACE}
    assert {name: link.node for name, link in links.items()} == {"client": "n1", "server": "n2"}
    assert all(link.name.startswith("lxc") for link in links.values())
    assert links["server"].address == site.server


def test_hubble_sees_flows_on_every_node(site: Site) -> None:
    site.fetch(f"http://{site.server}:8080/")
    for node in site.lab.nodes:
        assert (node.folder / "hubble.sock").is_socket()
        said = cilium.ask(site.lab.site, node.number, "/v1/healthz", brief=False)["hubble"]
        assert said["state"] == "Ok"
        assert said["observer"]["seen-flows"] > 0


def test_an_agent_that_ended_is_missed_and_comes_back_without_cutting_anybody_off(site: Site) -> None:
    site.lab.launcher.stop("n1-cilium")
    assert [text.partition(":")[0] for text in cilium.lacking(site.lab.site)] == ["Cilium on n1"]
    assert site.fetch(f"http://{site.server}:8080/") == "200"
    with pytest.raises(Retryable):
        cilium.ask(site.lab.site, 1, "/v1/healthz")
    cilium.start(site.lab.site, 1)
    eventually(lambda: not cilium.lacking(site.lab.site))
    assert site.fetch(f"http://{site.server}:8080/") == "200"


def test_after_down_nothing_of_it_is_on_the_host(site: Site) -> None:
    objects = {each for node in site.lab.nodes for each in pinned(nodes.init(site.lab.site, node.number))}
    assert {kind for kind, _ in objects} == set(BY_ID)
    assert settings() == site.settings, "the agent has changed the host's kernel"
    site.lab.close()
    assert down(NAME)
    eventually(lambda: not any(there(*each) for each in objects))
    assert survey(NAME) == site.before
    assert settings() == site.settings
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if NAME in line]
    shown = subprocess.run(("ip", "-br", "link"), capture_output=True, text=True, check=True).stdout
    assert not [line for line in shown.splitlines() if line.startswith(("cilium_", "lxc"))]


def pinned(init: int) -> Iterator[tuple[str, int]]:
    """Kind and number of every BPF object in a node's own /sys/fs/bpf, and of the programs that pinned links hold."""
    for path in (Path("/proc") / str(init) / "root/sys/fs/bpf").rglob("*"):
        if path.is_file() and path.suffix != ".debug":  # the kernel's own two lists
            descriptor = bpf.pinned(str(path))
            lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
            os.close(descriptor)
            facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            yield from ((kind, int(facts[kind])) for kind in BY_ID if kind in facts)


def there(kind: str, number: int) -> bool:
    """Whether the kernel still has the object."""
    try:
        opened = bpf.call(BY_ID[kind], struct.pack("=II", number, 0), kind)
    except FileNotFoundError:
        return False
    os.close(int(struct.unpack_from("=q", opened)[0]))
    return True


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not after {seconds} s"
        time.sleep(0.1)
