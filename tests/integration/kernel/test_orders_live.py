"""The agent as a process in a node's network: TLS with client certificates, sealed orders, real packets, a kill."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loomidi.ionic.act.kube import Agents, AgentSettings
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import AgentAway, OrderRefused
from loomidi.ionic.orders import CUT, RELEASE, KeySealer, Order, Sealer
from loomidi.loom.capture import spaces
from loomidi_lab.cluster import certificates
from tests.integration.kernel.test_cuts import GATE, UID_B, says, silent
from tests.integration.watch.rooms import NODE, POD_A, POD_B, A, B, ip, rooms

pytestmark = pytest.mark.kernel
RIGHTS = "-all,+net_admin,+bpf,+perfmon,+net_raw"  # what the DaemonSet has
PORT, PROBES, NAME = 9103, 9104, "loomidi-agent"
SEALER = KeySealer(b"k" * 32)


class Place:
    """A node with a bridge, a pod in a cgroup of its own, files for both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "agent.log"
        (folder / "key").write_bytes(b"k" * 32)
        (folder / "logs" / f"shop_cart-0_{UID_B}").mkdir(parents=True)
        self.authority = certificates.authority(folder / "pki")
        self.server = self.authority.issue("agent", NAME, hosts=(NAME,))
        self.client = self.authority.issue("operator", "loomidi-operator")

    @contextlib.contextmanager
    def agent(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Until the end of the context, if it lives so long."""
        certificate, key = map(str, self.server)
        words = [
            *("nsenter", f"--net=/run/netns/{NODE}", "setpriv", "--bounding-set", RIGHTS),
            *(sys.executable, "-m", "loomidi", "serve", "agent"),
            *("--node", "n1", "--orders", f"{GATE}:{PORT}", "--orders-key", str(self.folder / "key")),
            *("--tls-cert", certificate, "--tls-key", key, "--client-ca", str(self.folder / "pki" / "ca.crt")),
            *("--pod-logs", str(self.folder / "logs"), "--state", str(self.folder / "state"), "--uplink", "vetha"),
            *("--probes", str(PROBES)),
        ]
        self.log.write_text("")
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 30
            while "orders on port" not in self.log.read_text() or "probes on port" not in self.log.read_text():
                assert process.poll() is None, self.log.read_text()
                assert time.monotonic() < until, self.log.read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            process.wait(20)

    @contextlib.contextmanager
    def operator(self, sealer: Sealer = SEALER, *, certified: bool = True, token: int = 5) -> Iterator[Agents]:
        """Who orders, from within the node's network."""
        certificate, key = self.client if certified else (None, None)
        settings = AgentSettings(PORT, self.folder / "pki" / "ca.crt", certificate, key)
        agents = Agents(sealer, lambda: token, settings)
        yield agents
        agents.close()


def order(verb: str = CUT) -> Order:
    now_ns = time.time_ns()
    if verb == RELEASE:
        return Order(RELEASE, "n1", "", "", now_ns, 0, 5, rule=rule_id("plan-1"))
    about = {"pod": UID_B, "namespace": "shop", "name": "cart-0", "address": B}
    return Order(CUT, "n1", "plan-1", "signature", now_ns, now_ns + 60 * 10**9, 5, **about)


@contextlib.contextmanager
def pod_process() -> Iterator[None]:
    """A process in the pod's network and in a cgroup with its UID, as the kubelet makes them."""
    root = Path("/sys/fs/cgroup/pids") if Path("/sys/fs/cgroup/pids").is_dir() else Path("/sys/fs/cgroup")
    group = root / f"loomidi-test-{os.getpid()}" / f"pod{UID_B}"
    group.mkdir(parents=True)
    process = subprocess.Popen(["nsenter", f"--net=/run/netns/{POD_B}", "sleep", "120"])
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield
    finally:
        process.kill()
        process.wait()
        for each in (group, group.parent):
            until = time.monotonic() + 5
            while each.exists() and time.monotonic() < until:
                with contextlib.suppress(OSError):  # the kernel takes a moment to see it empty
                    each.rmdir()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with rooms(), pod_process():
        ip("-n", NODE, "addr", "add", f"{GATE}/24", "dev", "br0")
        with spaces.inside(NODE):
            yield Place(tmp_path)


def test_an_order_takes_a_certificate_and_a_seal_and_is_kept_over_a_kill(place: Place) -> None:
    with place.agent() as agent:
        with place.operator(certified=False) as stranger, pytest.raises(AgentAway):
            stranger.send(GATE, order())
        with place.operator(KeySealer(b"x" * 32)) as forger, pytest.raises(OrderRefused, match="forged"):
            forger.send(GATE, order())
        assert says(POD_A, POD_B, B)
        with place.operator() as operator:
            answer = operator.send(GATE, order())
        assert [one["pod"] for one in answer["after"]] == [UID_B]
        assert answer["receipt"]["step"] == "applied"
        assert silent(POD_A, POD_B, B)
        assert silent(POD_B, POD_A, A)
        metrics = httpx.get(f"http://127.0.0.1:{PROBES}/metrics").text
        assert 'loomidi_agent_orders_total{outcome="forged"} 1' in metrics
        assert 'loomidi_agent_orders_total{outcome="done"} 1' in metrics
        agent.kill()
        agent.wait()
    assert silent(POD_A, POD_B, B)
    with place.agent(), place.operator() as operator:
        (state,) = operator.told("n1", GATE, "plan-1")["plans"]["plan-1"]
        assert state["dropped_to"] >= 2
        with place.operator(token=4) as former, pytest.raises(OrderRefused, match="old-token"):
            former.send(GATE, order(RELEASE))
        heard = operator.heard("n1", GATE, UID_B, [])
        assert (heard["cut"], passing(operator)) == (True, [])
        assert silent(POD_A, POD_B, B)
        assert passing(operator) == [], "behind the cut nothing is delivered"
        gone = operator.send(GATE, order(RELEASE))
        assert (gone["receipt"]["step"], gone["after"]) == ("undone", [])
        with pytest.raises(OrderRefused, match="released"):
            operator.send(GATE, order())
        assert operator.heard("n1", GATE, UID_B, [])["cut"] is False
        assert says(POD_A, POD_B, B)
        assert passing(operator) == [A]
        with pytest.raises(AgentAway, match="no pod nobody"):
            operator.heard("n1", GATE, "nobody", [])
    assert not list(Path("/sys/fs/bpf").glob("loomidi-*")), "an agent that ends with nothing in force leaves nothing"


def passing(operator: Agents) -> list[str]:
    """Who is heard to reach the pod, but for its node."""
    peers = operator.heard("n1", GATE, UID_B, [])["peers"]
    return [peer for peer, counts in peers.items() if counts["to"] and not counts["own"]]
