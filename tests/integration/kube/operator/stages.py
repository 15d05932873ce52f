"""A namespace with a Deployment and a pod, a policy, Folds about them, and what the cluster looks like."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Match, Mode, Plan
from loomidi.fold.operator import Approvers
from loomidi.fold.resources import TERMINAL, fold_object
from loomidi.fold.resources.objects import HOME
from loomidi.ionic.decide import manifests
from loomidi.loom.sources.clusters import access
from tests.integration.kube.operator.granting import applied, grant_lease
from tests.integration.kube.operator.working import an_operator
from tests.integration.kube.rooms import USER, Room
from tests.integration.kube.servers import Server
from tests.unit.ionic.making import a_finding, a_plan

ROOT = Path(__file__).resolve().parents[4]
Object = dict[str, Any]
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/{}/folds"
POLICIES = "/apis/loomidi.io/v1alpha1/foldpolicies"
LOOSE: Object = {  # whoever tests a brake sets it
    "caps": {"workload": 9, "namespace": 9, "node": 9, "total": 9},
    "bucket": {"size": 99, "refillSeconds": 1},
    "cooldownSeconds": 0,
    "storm": {"findings": 9999},
}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Stage:
    """One namespace; `room` sets it and looks."""

    at_hand = False  # whether the operator says what is
    by_hand = False  # whether Folds are posted as a person would write them, without the finalizer

    @property
    def flags(self) -> list[str]:
        """Of `loomidi serve operator`."""
        return ["--at-hand"] * self.at_hand

    def __init__(self, server: Server, room: Room) -> None:
        self.server, self.room, self.namespace = server, room, room.namespace
        self._homes: dict[str, str] = {}  # plan -> namespace of its Fold
        room.workload("Deployment", "web")
        room.pod("web-0", app="lone")
        self.policy()
        grant_lease(room.admin, self.namespace)
        self.kubeconfig = server.kubeconfig.with_name(f"{USER}.kubeconfig")  # of who has the shipped roles alone
        self.before = room.snapshot()

    def policy(self, **more: Any) -> None:
        """The policy of this namespace, made or changed."""
        named = {"kubernetes.io/metadata.name": self.namespace}
        spec: Object = {
            "mode": "autonomous",
            "when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": named}},
            "allow": [{"kind": "SCALE_OUT"}, {"kind": "RECONFIGURE_NETWORK"}],
            "verify": {"stableForSeconds": 0, "timeoutSeconds": 5},
            "brakes": LOOSE,
        }
        body = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": self.namespace}}
        applied(self.room.admin, f"{POLICIES}/{self.namespace}", body | {"spec": spec | more})

    def propose(self, fold: FoldSpec, mode: Mode = Mode.AUTONOMOUS, lasts_s: float = 60.0) -> Plan:
        """Post a Fold with a fresh plan; one on a node into loomidi-system."""
        now_ns = time.time_ns()
        about = {"first_ns": now_ns - 10**9, "last_ns": now_ns, "entities": (fold.target,)}
        finding = a_finding(id=fold.because, **about)
        plan = a_plan(
            fold=fold, mode=mode, finding=finding, created_ns=now_ns, expires_ns=now_ns + round(lasts_s * 1e9)
        )
        space = HOME if fold.kind is FoldKind.CORDON else self.namespace
        self._homes[plan.id] = space
        obj = fold_object(plan, space, policy=self.namespace)
        if self.by_hand:
            obj["metadata"].pop("finalizers", None)
        self.room.post(FOLDS.format(space), obj)
        return plan

    def scale(self, ttl_s: float = 60.0) -> FoldSpec:
        """Two replicas more."""
        return _fold(FoldKind.SCALE_OUT, f"workload/{self.namespace}/web", "scale", ttl_s, replicas=2)

    def block(self, ttl_s: float = 60.0, app: str = "lone") -> FoldSpec:
        """A NetworkPolicy against one source, for the pods of this label."""
        policy = manifests.network_policy(f"drop-{app}", "ingress", ["203.0.113.7"], {"loomidi.io/action": "drop"})
        policy["metadata"]["namespace"] = self.namespace
        policy["spec"]["podSelector"] = {"matchLabels": {"app": app}}
        match = Match(source="203.0.113.7")
        return _fold(FoldKind.RECONFIGURE_NETWORK, "host/203.0.113.7", "drop", ttl_s, match=match, manifest=policy)

    def one(self, kind: FoldKind, target: str, ttl_s: float = 60.0, **more: Any) -> FoldSpec:
        """What changes one object; `target` without its namespace: pod/web-0, node/a."""
        what, _, name = target.partition("/")
        where = f"node/{name}" if what == "node" else f"{what}/{self.namespace}/{name}"
        return _fold(kind, where, kind.value.lower(), ttl_s, **more)

    def isolate(self, name: str) -> FoldSpec:
        """A pod that talks to nobody."""
        return _fold(FoldKind.ISOLATE_POD, f"pod/{self.namespace}/{name}", "isolate", 60.0)

    def path(self, plan: Plan) -> str:
        """Where its Fold lies."""
        return f"{FOLDS.format(self._homes[plan.id])}/{plan.id}"

    def fold(self, plan: Plan) -> Object | None:
        """As it is now; None when it is gone."""
        return self.room.look.get(self.path(plan))

    def status(self, plan: Plan) -> Object:
        """Its status; empty when it has none or is gone."""
        return (self.fold(plan) or {}).get("status") or {}

    def phase(self, plan: Plan) -> str:
        """'' when it has none or is gone."""
        return str(self.status(plan).get("phase", ""))

    def reaches(self, plan: Plan, *phases: str, timeout_s: float = 30.0) -> None:
        """Wait for one of these phases."""
        until = time.monotonic() + timeout_s
        while (status := self.status(plan)).get("phase") not in phases:
            assert status.get("phase") not in TERMINAL, status
            assert time.monotonic() < until, status
            time.sleep(0.05)

    def settled(self, plan: Plan) -> bool:
        """Active, or at an end."""
        return self.phase(plan) in ("Active", *TERMINAL)

    def settle(self, *plans: Plan, timeout_s: float = 40.0) -> None:
        """Wait until all are."""
        until = time.monotonic() + timeout_s
        while not all(map(self.settled, plans)):
            assert time.monotonic() < until, [self.status(plan) for plan in plans]
            time.sleep(0.05)

    def annotate(self, plan: Plan, notes: dict[str, str]) -> None:
        """Annotations on its Fold."""
        answer = self.room.admin.patch(self.path(plan), json={"metadata": {"annotations": notes}}, headers=_MERGE)
        assert answer.is_success, answer.text

    def delete(self, plan: Plan) -> None:
        """As `kubectl delete --wait=false`."""
        assert self.room.admin.delete(self.path(plan)).is_success

    def as_before(self) -> bool:
        """Whether the cluster is as it was."""
        return bool(self.room.snapshot() == self.before)

    @contextlib.contextmanager
    def operator(self, mode: Mode = Mode.AUTONOMOUS, approvers: Approvers | None = None) -> Iterator[None]:
        """In this process."""
        stop = threading.Event()
        cluster = access(self.kubeconfig, {})
        acting, leading = cluster.blocking(30.0), cluster.blocking(3.0)
        made = an_operator(acting, leading, self.namespace, "thread", mode, approvers=approvers, at_hand=self.at_hand)
        thread = threading.Thread(target=made.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(10.0)
            acting.close()
            leading.close()

    @contextlib.contextmanager
    def process(self, holder: str, *fault: str) -> Iterator["subprocess.Popen[bytes]"]:
        """As a process of its own; killed on the way out."""
        module, kubeconfig = "tests.integration.kube.operator.working", str(self.kubeconfig)
        command = [sys.executable, "-m", module, kubeconfig, self.namespace, holder, "autonomous", *fault]
        told = os.environ | ({"AT_HAND": "yes"} if self.at_hand else {})
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=told)
        try:
            yield process
        finally:
            process.kill()
            process.wait(10.0)


def _fold(kind: FoldKind, target: str, action: str, ttl_s: float, **more: Any) -> FoldSpec:
    because = "finding-0123456789abcdef"
    return FoldSpec(kind, target, action, ttl_s=float(ttl_s), undo="in the receipt", because=because, **more)
