"""Loomidi on the lab as it is deployed: an agent in each node, and the operator with the shipped roles alone.

Called by bench/fold_undo.py and `faults`. In: a lab, the address at which the operator finds the API. Out: processes
that can be killed and started anew. The operator's wall clock is the one of lab/scenarios/clock-skew: true until
seconds are written into a file.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bench.undo.populations import SPACE, until
from loomidi_lab.cluster import Lab, certificates, processes

ROOT = Path(__file__).resolve().parents[2]
HOME, ACCOUNT = "loomidi-system", "loomidi-operator"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/loomidi-operator"
_RBAC = "rbac.authorization.k8s.io"
_AGENT = "loomidi-agent"  # the name that agents' certificates are made out to
_SKEW = ROOT / "lab" / "scenarios" / "clock-skew" / "skew.c"
Object = dict[str, Any]
Process = subprocess.Popen[bytes]


class Defence:
    """All of it. `node_locks`: held by who kills or restarts something there."""

    def __init__(self, lab: Lab, folder: Path, api: str) -> None:
        self.lab, self._folder = lab, folder
        self._loomidi = [sys.executable, "-m", "loomidi"]
        (folder / "orders.key").write_text(secrets.token_hex(32))
        pki = certificates.authority(folder / "pki")
        self._agent, self._operator = pki.issue("agent", _AGENT, hosts=(_AGENT,)), pki.issue("operator", ACCOUNT)
        self._kubeconfig, self._skew = folder / "operator.kubeconfig", folder / "skew"
        self._kubeconfig.write_text(json.dumps(_kubeconfig(api, _token(lab))))
        self._clock = folder / "clock.so"
        words = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._clock), str(_SKEW)]
        subprocess.run(words, check=True)
        self._running: dict[str, Process] = {}
        self._holders = 0
        self.node_locks = {node.name: threading.Lock() for node in lab.nodes}
        self._lock = threading.Lock()  # of the operator

    def begin(self) -> None:
        """All of it, until the operator leads."""
        for node in self.lab.nodes:
            self.start_agent(node.name)
        self.start_operator()
        self.leads()

    def leads(self) -> None:
        """Wait until somebody has the lease."""
        until(lambda: self._holder() == self.holder, "the operator leads; see its log in the lab", 60)

    def _holder(self) -> str:
        there = self.lab.api.exists(_LEASE)
        return str(self.lab.api.get(_LEASE)["spec"].get("holderIdentity") or "") if there else ""

    def start_agent(self, name: str) -> None:
        """The agent of a node, as its DaemonSet would run it."""
        node, (certificate, key) = self.lab.node(name), self._agent
        words = [*self.lab.on(node), *self._loomidi, "serve", "agent", "--node", name]
        words += ["--state", str(self._folder / name), "--pod-logs", str(node.folder / "logs")]
        words += ["--orders", f"{node.address}:9103", "--orders-key", str(self._folder / "orders.key")]
        words += ["--tls-cert", str(certificate), "--tls-key", str(key), "--client-ca", str(self._authority)]
        self._running[f"agent-{name}"] = self.lab.start(f"fold-undo-agent-{name}", words)

    def kill_agent(self, name: str) -> None:
        """SIGKILL."""
        self._killed(f"agent-{name}")

    @property
    def holder(self) -> str:
        """The name of the operator that runs."""
        return f"fold-undo-{self._holders}"

    def start_operator(self, *, other: bool = False) -> None:
        """`other`: under another name, so that it waits until the lease of the one before has run out."""
        self._holders += other
        certificate, key = self._operator
        words = ["env", f"LD_PRELOAD={self._clock}", f"SKEW_FILE={self._skew}", *self._loomidi, "serve", "operator"]
        words += ["--kubeconfig", str(self._kubeconfig), "--mode", "autonomous", "--holder", self.holder]
        words += ["--protect", str(self.lab.lan), "--agents-key", str(self._folder / "orders.key")]
        words += ["--agents-ca", str(self._authority), "--agents-cert", str(certificate), "--agents-cert-key", str(key)]
        self._running["operator"] = self.lab.start("fold-undo-operator", words)

    def new_operator(self, pause_s: float, *, other: bool) -> None:
        """SIGKILL, a pause, another one."""
        with self._lock:
            self._killed("operator")
            time.sleep(pause_s)
            self.start_operator(other=other)

    def skew(self, seconds: int) -> None:
        """Move the operator's wall clock; 0: it is true again."""
        partial = self._skew.with_suffix(".new")
        partial.write_text(str(seconds))
        partial.replace(self._skew)

    def dead(self) -> list[str]:
        """What has ended though nobody killed it."""
        return [f"{name} ended with {one.returncode}" for name, one in self._running.items() if one.poll() is not None]

    def end(self) -> None:
        """All of it, in order."""
        for name in list(self._running):
            self._killed(name, signal.SIGTERM)

    @property
    def _authority(self) -> Path:
        return self._folder / "pki" / "ca.crt"

    def _killed(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Also what it has started: who brought an agent into its node waits for it there."""
        process = self._running[name]
        for pid in processes.children(process.pid) or [process.pid]:
            processes.kill(pid, number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(15)


def establish(lab: Lab) -> None:
    """The definitions, the shipped roles bound to the operator's account, a policy whose brakes do not hold us up."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": HOME}}
    lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}, account])
    for name in ("crd", "rbac"):
        lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "deployments" / name))
    lab.apply([*map(_bound, ("loomidi-act", "loomidi-fold-operator")), _bound("loomidi-fold-operator", HOME)])
    until(lambda: _taken(lab), "the policy is taken", 30)


def _taken(lab: Lab) -> bool:
    kinds = ("ISOLATE_POD", "SCALE_OUT", "RECONFIGURE_NETWORK", "RESTART", "ROLLBACK", "CORDON", "RESIZE")
    spec = {
        "mode": "autonomous",
        "when": {"patterns": ["*"]},
        "allow": [{"kind": kind} for kind in kinds],
        "verify": {"stableForSeconds": 0, "timeoutSeconds": 20},
        "brakes": {
            "caps": {"workload": 99, "namespace": 99, "node": 99, "total": 99},
            "bucket": {"size": 1000, "refillSeconds": 1},
            "cooldownSeconds": 0,
            "storm": {"findings": 9999},
        },
    }
    body = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": SPACE}, "spec": spec}
    done = lab.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body), check=False)
    return done.returncode == 0


def _bound(role: str, namespace: str = "") -> Object:
    kind = "Role" if namespace else "ClusterRole"
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": {"name": role, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}],
    }


def _token(lab: Lab) -> str:
    """Of the operator's account, for longer than a run lasts."""
    path = f"/api/v1/namespaces/{HOME}/serviceaccounts/{ACCOUNT}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 14400}}
    return str(lab.api.post(path, asked)["status"]["token"])


def _kubeconfig(server: str, token: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": ACCOUNT}}],
        "current-context": "proxy",
    }
