"""Agents on the nodes of a lab, an operator beside it, pods that talk to each other without pause.

Everything runs as the real programs with their real flags; traffic is sent from inside the pods' own networks, a
datagram each few milliseconds, and told by the answers that came back.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts import FoldKind, FoldSpec, Match, Mode, Plan
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import nanoseconds
from loomidi.ionic.orders import KeySealer
from loomidi_lab.cluster import Lab, certificates, cgroups, processes
from loomidi_lab.cluster.handle import Node
from tests.unit.ionic.making import a_finding, a_plan

ROOT = Path(__file__).resolve().parents[4]
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/{}/folds"
NAME = "loomidi-agent"
PODS = {"target": "n2", "beside": "n2", "far": "n1", "other": "n1"}
_ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as me:
    me.bind(("", 7777))
    while True:
        word, who = me.recvfrom(64)
        try:
            me.sendto(word, who)
        except OSError:
            pass
"""
_TALK = """
import select, socket, sys, time
me = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
me.setblocking(False)
answers, last = 0, 0
while True:
    try:
        me.sendto(b"word", (sys.argv[1], 7777))
    except OSError:
        pass
    ready, _, _ = select.select([me, sys.stdin], [], [], 0.003)
    while True:
        try:
            me.recv(64)
        except OSError:
            break
        answers, last = answers + 1, time.time_ns()
    if sys.stdin in ready:
        if not sys.stdin.readline():
            break
        print(answers, last, flush=True)
    time.sleep(0.003)
"""


_ASK = """
import socket, sys
me = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
me.bind(("{source}", 0))
me.settimeout(0.3)
for _ in range(5):
    me.sendto(b"word", ("{target}", 7777))
    try:
        me.recv(64)
        sys.exit(0)
    except TimeoutError:
        pass
sys.exit(1)
"""


_CALL = """
import socket, sys, time
me = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
me.bind((sys.argv[1], 0))
while True:
    me.sendto(b"word", (sys.argv[2], 7777))
    time.sleep(0.05)
"""


class Talk:
    """One pod asks another, again and again."""

    def __init__(self, site: "Site", source: str, target: str) -> None:
        words = site.within(source, sys.executable, "-c", _TALK, site.addresses[target])
        self.name = f"{source}->{target}"
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answers(self) -> tuple[int, int]:
        """How many came back so far, and when the last one did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        count, last = self._process.stdout.readline().split()
        return int(count), int(last)

    def goes_on(self, seconds: float = 10.0) -> None:
        """Waits for more answers."""
        before = self.answers()[0]
        eventually(lambda: self.answers()[0] > before + 3, f"{self.name} goes on", seconds)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Site:
    """Four pods on two nodes, their traffic, the agents, the operator."""

    def __init__(self, lab: Lab, namespace: str, folder: Path) -> None:
        self.lab, self.namespace, self.folder = lab, namespace, folder
        self.key = folder / "orders.key"
        self.key.write_text(secrets.token_hex(32))
        self.authority = certificates.authority(folder / "pki")
        self.agent = self.authority.issue("agent", NAME, hosts=(NAME,))
        self.operator_certificate = self.authority.issue("operator", "loomidi-operator")
        for name, node in PODS.items():
            lab.api.post(f"/api/v1/namespaces/{namespace}/pods", _pod(name, node))
        for name in PODS:
            eventually(lambda name=name: self.ready(name), f"{name} runs", 60)  # type: ignore[misc]
        self.addresses = {name: self.pod(name)["status"]["podIP"] for name in PODS}
        self.uids = {name: self.pod(name)["metadata"]["uid"] for name in PODS}

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.lab.api.get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")
        return found

    def ready(self, name: str) -> bool:
        """By its kubelet's probes."""
        told = self.pod(name)["status"].get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in told)

    def within(self, pod: str, *argv: str) -> list[str]:
        """A command of the host in a pod's network."""
        group = next(one for one in cgroups.pods(self.lab.place) if one.name == f"pod{self.uids[pod]}")
        return ["nsenter", f"--target={min(cgroups.pids_below(group))}", "--net", *argv]

    @contextlib.contextmanager
    def talking(self) -> Iterator[dict[str, Talk]]:
        """Every pod answers; the target asks and is asked, the others ask each other."""
        echoes = [subprocess.Popen(self.within(name, sys.executable, "-c", _ECHO)) for name in PODS]
        pairs = (("far", "target"), ("beside", "target"), ("target", "other"), ("beside", "far"), ("far", "other"))
        talks = {f"{source}->{target}": Talk(self, source, target) for source, target in pairs}
        try:
            for talk in talks.values():
                talk.goes_on()
            yield talks
        finally:
            for talk in talks.values():
                talk.close()
            for echo in echoes:
                echo.kill()
                echo.wait()

    def serving(self, node: Node) -> list[str]:
        """The agent of a node, as its DaemonSet would run it."""
        certificate, key = self.agent
        return [
            *self.lab.on(node),
            *(sys.executable, "-m", "loomidi", "serve", "agent", "--node", node.name),
            *("--orders", f"{node.address}:9103", "--orders-key", str(self.key)),
            *("--tls-cert", str(certificate), "--tls-key", str(key), "--client-ca", str(self.folder / "pki/ca.crt")),
            *("--pod-logs", str(node.folder / "logs"), "--state", str(self.folder / f"state-{node.name}")),
        ]

    @contextlib.contextmanager
    def agents(self) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
        """One on each node, taking orders."""
        running = {node.name: started(self.serving(node), self.log(node.name)) for node in self.lab.nodes}
        try:
            for name in running:
                self.up(name)
            yield running
        finally:
            for process in running.values():
                processes.end(process)

    @contextlib.contextmanager
    def again(self, node: Node) -> Iterator[None]:
        """Another agent on a node, after the first has ended."""
        self.log(node.name).unlink()
        process = started(self.serving(node), self.log(node.name))
        try:
            self.up(node.name)
            yield
        finally:
            processes.end(process)

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """SIGKILL, to the agent itself as well as to the programs that brought it into its node."""
        for pid in [process.pid, *processes.children(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def asking(self, source: str, pod: str) -> Callable[[], bool]:
        """Whether a datagram of an outside address is answered by a pod."""
        words = self.lab.enter(self.lab.outside_netns)
        script = _ASK.format(source=source, target=self.addresses[pod])

        def asked() -> bool:
            return subprocess.run([*words, sys.executable, "-c", script], check=False).returncode == 0

        return asked

    @contextlib.contextmanager
    def calling(self, source: str, pod: str) -> Iterator[None]:
        """An outside address that sends to a pod without pause."""
        words = [*self.lab.enter(self.lab.outside_netns), sys.executable, "-c", _CALL, source, self.addresses[pod]]
        process = subprocess.Popen(words)
        try:
            yield
        finally:
            processes.end(process)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def up(self, node: str) -> None:
        """Waits until its agent takes orders."""
        eventually(lambda: "orders on port" in self.log(node).read_text(), f"agent of {node}: {self.log(node)}", 30)

    @contextlib.contextmanager
    def operator(self, *flags: str, agents: bool = True) -> Iterator[None]:
        """The operator, with the lease of this namespace."""
        certificate, key = self.operator_certificate
        words = [
            *(sys.executable, "-m", "loomidi", "serve", "operator", "--kubeconfig", str(self.lab.kubeconfig)),
            *("--mode", "autonomous", "--namespace", self.namespace, "--holder", "test", *flags),
        ]
        if agents:
            words += ["--agents-key", str(self.key), "--agents-ca", str(self.folder / "pki/ca.crt")]
            words += ["--agents-cert", str(certificate), "--agents-cert-key", str(key)]
        process = started(words, self.log("operator"))
        try:
            yield
        finally:
            processes.end(process)

    def listen(self, probe: dict[str, Any]) -> None:
        """The policy asks this probe from now on."""
        self.establish({"stableForSeconds": 2, "timeoutSeconds": 15, "probes": [probe]})

    def entity(self, pod: str) -> str:
        return f"pod/{self.namespace}/{pod}"

    def establish(self, verify: dict[str, Any] | None = None) -> None:
        """The definitions, and a policy for this namespace."""
        for file in sorted((ROOT / "deployments" / "crd").glob("*.yaml")):
            self.lab.apply(file.read_text())
        named = {"kubernetes.io/metadata.name": self.namespace}
        spec = {
            "mode": "autonomous",
            "when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": named}},
            "allow": [{"kind": "ISOLATE_POD"}, {"kind": "RECONFIGURE_NETWORK"}],
            "verify": verify or {"stableForSeconds": 0, "timeoutSeconds": 5},
            "brakes": {"caps": {"namespace": "100%", "node": "100%"}, "cooldownSeconds": 0, "antiFlapSeconds": 0},
        }
        about = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": self.namespace}}
        eventually(lambda: self._applied(about | {"spec": spec}), "the policy is taken", 15)

    def _applied(self, body: dict[str, Any]) -> bool:
        done = self.lab.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(body), check=False)
        return done.returncode == 0

    def isolate(self, name: str = "target", ttl_s: float = 60.0) -> Plan:
        """A Fold that isolates a pod."""
        target = f"pod/{self.namespace}/{name}"
        return self.propose(_fold(FoldKind.ISOLATE_POD, target, "isolate", float(ttl_s)))

    def deny(self, source: str, ttl_s: float = 60.0, **more: Any) -> Plan:
        """A Fold that denies a source on every node."""
        given = {"match": Match(source=source), **more}
        return self.propose(_fold(FoldKind.RECONFIGURE_NETWORK, f"host/{source}", "drop", float(ttl_s), **given))

    def slow(self, source: str) -> Plan:
        """A Fold that lets through all that there is."""
        match = {"match": Match(source=source), "rate_pps": 10_000, "burst": 10_000}
        return self.propose(_fold(FoldKind.RECONFIGURE_NETWORK, f"host/{source}", "rate", 60.0, **match))

    def propose(self, fold: FoldSpec) -> Plan:
        now_ns = time.time_ns()
        finding = a_finding(id=fold.because, entities=(fold.target,), first_ns=now_ns - 10**9, last_ns=now_ns)
        times = {"created_ns": now_ns, "expires_ns": now_ns + 60 * 10**9}
        plan = a_plan(fold=fold, mode=Mode.AUTONOMOUS, finding=finding, **times)
        body = fold_object(plan, self.namespace, policy=self.namespace)
        self.lab.api.post(FOLDS.format(self.namespace), body)
        return plan

    def status(self, plan: Plan) -> dict[str, Any]:
        fold = self.lab.api.get(f"{FOLDS.format(self.namespace)}/{plan.id}")
        found: dict[str, Any] = fold.get("status") or {}
        return found

    def granted(self, propose: Callable[[], Plan], phase: str = "Active") -> tuple[Plan, dict[str, Any]]:
        """Proposed until it gets there: on a busy machine a guard that has no time to answer denies."""
        while True:
            plan = propose()
            status = self.reaches(plan, phase, "Denied")
            if status["phase"] == phase:
                return plan, status
            assert "took longer than" in status["message"], status

    def reaches(self, plan: Plan, *phases: str, seconds: float = 60.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while (status := self.status(plan)).get("phase") not in phases:
            if time.monotonic() > until:
                raise AssertionError(f"{json.dumps(status)[:3000]}\n{self.log('operator').read_text()[-3000:]}")
            time.sleep(0.05)
        return status

    def release(self, plan: Plan) -> None:
        name = f"fold/{plan.id}"
        self.lab.kubectl("annotate", "-n", self.namespace, name, "loomidi.io/release=the test says so")

    def entries(self, status: dict[str, Any]) -> list[dict[str, Any]]:
        """What the agents answered when the cut was made."""
        applied = next(one for one in status["receipts"] if one["step"] == "applied")
        detail = applied["detail"] if isinstance(applied["detail"], dict) else json.loads(applied["detail"])
        found: list[dict[str, Any]] = detail["cuts"]
        return found

    def told(self, node: Node, plan: Plan) -> list[dict[str, Any]]:
        """What is in force on a node for a plan, asked of its agent."""
        from loomidi.ionic.act.kube import Agents, AgentSettings

        certificate, key = self.operator_certificate
        settings = AgentSettings(authority=self.folder / "pki/ca.crt", certificate=certificate, key=key)
        agents = Agents(KeySealer(self.key.read_bytes()), lambda: 1, settings)
        try:
            found: list[dict[str, Any]] = agents.told(node.name, node.address, plan.id)["plans"].get(plan.id, [])
        finally:
            agents.close()
        return found


def cut_and_back(site: Site, talks: dict[str, Talk]) -> None:
    """Isolate the target through a Fold: nothing of it or to it passes, all others go on; release it: all is as before.

    Prints what it took until the first packet was dropped.
    """
    node = site.lab.node(PODS["target"])
    eventually(lambda: "it acts" in site.log("operator").read_text(), "the operator is up")
    plan, status = site.granted(site.isolate)
    eventually(lambda: site.told(node, plan)[0]["dropped_to"] > 0, "packets to it are dropped")
    (entry,) = site.told(node, plan)
    silent = {name: talks[name].answers() for name in talks if "target" in name}
    for name in talks.keys() - silent.keys():
        talks[name].goes_on()
    assert {name: talks[name].answers() for name in silent} == silent
    probed = site.told(node, plan)[0]["spared"]
    eventually(lambda: site.told(node, plan)[0]["spared"] > probed + 8, "its kubelet's probes go on")
    assert site.ready("target")
    assert "cut at once on n2" in str(status["conditions"])
    granted_ns = nanoseconds(status["approvals"][0]["grantedTime"])
    spans = {"posted": plan.created_ns, "approved": granted_ns}
    took = ", ".join(f"{name} -> {(entry['first_hit_ns'] - at_ns) / 1e6:.1f} ms" for name, at_ns in spans.items())
    last_ns = max(last for _, last in silent.values())
    silent_ms = (last_ns - plan.created_ns) / 1e6
    print(f"\nfirst packet dropped: Fold {took}; last answer of the pod {silent_ms:.1f} ms after posting")
    site.release(plan)
    site.reaches(plan, "Released")
    for talk in talks.values():
        talk.goes_on()
    assert site.told(node, plan) == []


def _fold(kind: FoldKind, target: str, action: str, ttl_s: float, **more: Any) -> FoldSpec:
    because = "finding-0123456789abcdef"
    return FoldSpec(kind, target, action, ttl_s=ttl_s, undo="in the receipt", because=because, **more)


def started(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, cwd=ROOT, start_new_session=True)


def eventually(holds: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def _pod(name: str, node: str) -> dict[str, Any]:
    """It serves a port, and the kubelet looks every second whether it does."""
    container = {
        "name": "main",
        "image": "lab.loomidi.io/base:1",
        "command": ["python3", "-m", "http.server", "8080"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
    }
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
