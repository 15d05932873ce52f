"""Loomidi at work on a lab as its users run it: an agent in each node, an operator, and a graph of the flows.

Called by `bench.fold_exact`. In: a lab with pods. Out: `Defence`, which proposes the isolation of a pod as the pipeline
would, with the blast radius counted on the live graph, and follows the Fold. Agents and operator are the programs
with their own flags; the graph is fed by the same meters that `loomidi watch` has on each pod's link.
"""

import contextlib
import dataclasses
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.exact.population import SPACES, Object, eventually
from loomidi.contracts import EnvironmentLacks, Evidence, Finding, Match, Mode, Severity, content_id
from loomidi.fold.resources import fold_object
from loomidi.garden.graph import Touched
from loomidi.garden.graph.naming import AddressBook, Row
from loomidi.ionic.decide import DeciderSettings, propose
from loomidi.kit.clock import SystemClock
from loomidi.loom.flows.links import LIVE, LinkMeters
from loomidi.services.folds.planning import decider_over
from loomidi.services.gathering import Once, Recent
from loomidi.services.naming import named
from loomidi_lab.cluster import Lab, Node, certificates, processes

LABEL = {"loomidi.io/bench": "exact"}
WINDOW_S = 10.0  # of the graph: it answers for one to two of these
ENDED = ("Released", "RolledBack", "Expired", "Denied", "Superseded")
_METER = dataclasses.replace(LIVE, active_s=2.0, idle_s=1.0, linger_s=0.5, breathe_s=0.5, ring_mib=1)
_AGENT = "loomidi-agent"  # the name that agents' certificates are made out to
_ROOT = Path(__file__).resolve().parents[2]
_POLICY = {
    "mode": "autonomous",
    "when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": LABEL}},
    "allow": [{"kind": "ISOLATE_POD"}],
    "verify": {"stableForSeconds": 0, "timeoutSeconds": 10},
    "brakes": {
        "bucket": {"size": 50, "refillSeconds": 1},
        "caps": {"namespace": "100%", "node": "100%"},
        "cooldownSeconds": 0,
        "antiFlapSeconds": 0,
    },
}


class Flows:
    """The graph of the last seconds, from the links of all pods."""

    def __init__(self, lab: Lab) -> None:
        links = [(node.netns, pattern) for node in lab.nodes for pattern in ("veth*", "lxc*")]
        self._meters, self._once, self._recent = LinkMeters(links, _METER), Once(), Recent(WINDOW_S)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._take, name="flows", daemon=True)
        self._thread.start()

    def touching(self, match: Match) -> Touched:
        """As the blast radius asks."""
        with self._lock:
            return self._recent.touching(match)

    def close(self) -> None:
        """End it."""
        self._meters.close()
        self._thread.join()

    def _take(self) -> None:
        while not self._meters.ended:
            taken, now_ns = self._meters.take(0.2), time.time_ns()
            with self._lock:
                if (batch := self._once.gather(taken, now_ns)) is not None:
                    self._recent.absorb(batch, now_ns)


class Defence:
    """What is proposed, and what became of it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self._folder = lab, folder
        self._flows, self._book = Flows(lab), AddressBook()
        self._decider = decider_over(self._flows, (), SystemClock(), DeciderSettings(Mode.AUTONOMOUS))
        for pod in lab.api.list("/api/v1/pods"):
            about = pod["metadata"]
            if pod["status"].get("podIP") and not pod["spec"].get("hostNetwork"):
                given = about["namespace"], about["name"], about["uid"]
                self._book.add(Row(pod["status"]["podIP"], "Pod", *given, labels=about.get("labels", {})))

    def isolate(self, address: str, number: int) -> Object:
        """Post the Fold that the pipeline would propose for a pod that scans; the Fold as posted."""
        now_ns = time.time_ns()
        who = named(_finding(address, number, now_ns), self._book)
        (fold,) = propose(who.finding, who.where)
        plan = self._decider.plan(who.finding, fold, who.where)
        space = who.where(fold.target).namespace
        return self.lab.api.post(_folds(space), fold_object(plan, space))

    def reaches(self, fold: Object, *phases: str, seconds: float = 90.0) -> Object:
        """The Fold once it is there. Raises EnvironmentLacks when it comes to another end, or to none."""
        path, until = f"{_folds(fold['metadata']['namespace'])}/{fold['metadata']['name']}", time.monotonic() + seconds
        while (found := self.lab.api.get(path)).get("status", {}).get("phase") not in phases:
            status = found.get("status", {})
            if time.monotonic() > until or status.get("phase") in ENDED:
                raise EnvironmentLacks(f"{fold['spec']['target']} is not {phases[0]}: {_said(status)}")
            time.sleep(0.05)
        return found

    def release(self, fold: Object) -> None:
        """Have it taken back."""
        path = f"{_folds(fold['metadata']['namespace'])}/{fold['metadata']['name']}"
        self.lab.api.patch(path, {"metadata": {"annotations": {"loomidi.io/release": "the benchmark has seen it"}}})

    def close(self) -> None:
        """End the graph."""
        self._flows.close()


@contextlib.contextmanager
def defended(lab: Lab, folder: Path) -> Iterator[Defence]:
    """Agents, operator and graph meanwhile; the definitions and a policy are applied."""
    lab.kubectl("create", "namespace", "loomidi-system", check=False)
    for file in sorted((_ROOT / "deployments" / "crd").glob("*.yaml")):
        lab.apply(file.read_text())
    policy = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": "exact"}, "spec": _POLICY}
    taking = ("apply", "--server-side", "-f", "-")
    eventually(
        lambda: lab.kubectl(*taking, stdin=yaml.safe_dump(policy), check=False).returncode == 0, "the policy is taken"
    )
    with contextlib.ExitStack() as stack:
        for name, words in _programs(lab, folder).items():
            stack.callback(processes.end, _started(words, folder / f"{name}.log"))
        for name, word in (*((node.name, "orders on port") for node in lab.nodes), ("operator", "it acts")):
            eventually(lambda log=folder / f"{name}.log", word=word: word in log.read_text(), f"{name} is up")
        defence = Defence(lab, folder)
        stack.callback(defence.close)
        yield defence


def _programs(lab: Lab, folder: Path) -> Mapping[str, list[str]]:
    """As in docs/agent.md and docs/operator.md."""
    loomidi, key, authority = [sys.executable, "-m", "loomidi"], folder / "orders.key", folder / "pki" / "ca.crt"
    key.write_text(secrets.token_hex(32))
    pki = certificates.authority(folder / "pki")
    agent, operator = pki.issue("agent", _AGENT, hosts=(_AGENT,)), pki.issue("operator", "loomidi-operator")
    programs = {node.name: [*lab.on(node), *loomidi, *_agent(node, folder, key)] for node in lab.nodes}
    for words in programs.values():
        words += ["--tls-cert", str(agent[0]), "--tls-key", str(agent[1]), "--client-ca", str(authority)]
    acts = ["--kubeconfig", str(lab.kubeconfig), "--mode", "autonomous", "--protect", str(lab.lan)]
    orders = ["--agents-key", str(key), "--agents-ca", str(authority), "--agents-required"]
    tls = ["--agents-cert", str(operator[0]), "--agents-cert-key", str(operator[1])]
    return programs | {"operator": [*loomidi, "serve", "operator", *acts, *orders, *tls]}


def _agent(node: Node, folder: Path, key: Path) -> list[str]:
    place = ["--orders", f"{node.address}:9103", "--orders-key", str(key), "--pod-logs", str(node.folder / "logs")]
    return ["serve", "agent", "--node", node.name, "--state", str(folder / f"state-{node.name}"), *place]


def _finding(address: str, number: int, now_ns: int) -> Finding:
    return Finding(
        id=content_id("finding", {"address": address, "number": number, "at": now_ns}),
        pattern="horizontal_scan",
        techniques=("T1046",),
        severity=Severity.HIGH,
        confidence=0.95,
        entities=(f"host/{address}",),
        first_ns=now_ns - 10**9,
        last_ns=now_ns,
        evidence=(Evidence("hosts", 64, 32, "hosts", "made up by the benchmark: the pod does nothing wrong"),),
        source="bench",
    )


def _folds(space: str) -> str:
    assert space in SPACES
    return f"/apis/loomidi.io/v1alpha1/namespaces/{space}/folds"


def _said(status: Mapping[str, Any]) -> str:
    held = [one.get("message", "") for one in status.get("conditions") or () if one.get("status") == "True"]
    return f"{status.get('phase', 'not looked at')}, {status.get('message', '')} {'; '.join(held)}"[:600]


def _started(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file, cwd=_ROOT, start_new_session=True)
