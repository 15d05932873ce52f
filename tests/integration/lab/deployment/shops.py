"""A server and a client in a namespace of their own, and Folds about the server.

Used by the tests of this folder. In: a lab. Out: what the cluster says of them.
"""

import time
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Mode, Plan
from loomidi.fold.resources import fold_object
from loomidi_lab.cluster import Lab
from tests.integration.lab.deployment.releases import comes, is_ready
from tests.unit.ionic.making import a_finding, a_plan

Object = dict[str, Any]
API = "/apis/loomidi.io/v1alpha1"
NAME = "deployed"
POLICY = "deployed"


class Shop:
    """The server runs on the first node, the client asks it once a second from the second."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def open(self) -> None:
        """Ready when it returns."""
        self.lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}])
        comes(lambda: self.lab.api.exists(f"/api/v1/namespaces/{NAME}/serviceaccounts/default"))
        ask = f"while sleep 1; do curl -s -o /dev/null http://web.{NAME}.svc:8080/; done"
        web = {"name": "web", "image": "lab.loomidi.io/nginx:1", "ports": [{"containerPort": 8080}]}
        asking = {"name": "asking", "image": "lab.loomidi.io/base:1", "command": ["sh", "-c", ask]}
        ports = {"selector": {"app": "web"}, "ports": [{"port": 8080}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": NAME}, "spec": ports}
        self.lab.apply([_workload("web", web, "n1"), _workload("asking", asking, "n2"), service])
        comes(lambda: self._pods(), lambda pods: len(pods) == 2 and all(map(is_ready, pods)))

    def close(self) -> None:
        """Gone when it returns."""
        self.lab.kubectl("delete", "namespace", NAME, timeout_s=120, check=False)

    def _pods(self) -> list[Object]:
        return self.lab.api.list(f"/api/v1/namespaces/{NAME}/pods")

    def pod(self, app: str) -> Object:
        """One of this name that is ready and not on its way out."""

        def found() -> list[Object]:
            mine = [one for one in self._pods() if one["metadata"]["name"].startswith(f"{app}-")]
            return [one for one in mine if is_ready(one) and "deletionTimestamp" not in one["metadata"]]

        one: Object = comes(found)[0]
        return one

    def replicas(self) -> int:
        """Of the server, as asked for."""
        return int(self.lab.api.get(f"/apis/apps/v1/namespaces/{NAME}/deployments/web")["spec"]["replicas"])

    def answers(self, address: str) -> bool:
        """Whether the client gets an answer of this address within a second."""
        asked = ("curl", "-s", "-o", "/dev/null", "-m", "1", f"http://{address}:8080/")
        return self.lab.exec(NAME, self.pod("asking")["metadata"]["name"], *asked, check=False).returncode == 0

    def asks(self, *words: str) -> str:
        """What a command in the client's pod says."""
        done = self.lab.exec(NAME, self.pod("asking")["metadata"]["name"], *words, check=False)
        return done.stdout.strip()

    def allow(self, *kinds: str) -> None:
        """A policy that lets these be done, as far as anybody asks."""
        named = {"kubernetes.io/metadata.name": NAME}
        spec: Object = {
            "mode": "autonomous",
            "when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": named}},
            "allow": [{"kind": kind} for kind in kinds],
            "verify": {"stableForSeconds": 0, "timeoutSeconds": 60},
            "brakes": {"caps": {"namespace": "100%", "node": "100%"}},
        }
        body = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": POLICY}, "spec": spec}
        self.lab.api.post(f"{API}/foldpolicies", body)

    def scale(self, mode: Mode) -> Plan:
        """A Fold that would scale the server out by one."""
        return self._propose(_fold(FoldKind.SCALE_OUT, f"workload/{NAME}/web", "scale", replicas=1), mode)

    def isolate(self) -> Plan:
        """A Fold that isolates the server's pod."""
        target = f"pod/{NAME}/{self.pod('web')['metadata']['name']}"
        return self._propose(_fold(FoldKind.ISOLATE_POD, target, "isolate"), Mode.AUTONOMOUS)

    def _propose(self, fold: FoldSpec, mode: Mode) -> Plan:
        now_ns = time.time_ns()
        finding = a_finding(id=fold.because, entities=(fold.target,), first_ns=now_ns - 10**9, last_ns=now_ns)
        plan = a_plan(fold=fold, mode=mode, finding=finding, created_ns=now_ns, expires_ns=now_ns + 300 * 10**9)
        self.lab.api.post(f"{API}/namespaces/{NAME}/folds", fold_object(plan, NAME, policy=POLICY))
        return plan

    def status(self, plan: Plan) -> Object:
        """Of its Fold; empty when it has none yet."""
        found: Object = self.lab.api.get(f"{API}/namespaces/{NAME}/folds/{plan.id}").get("status") or {}
        return found

    def reaches(self, plan: Plan, *phases: str) -> Object:
        """Its status in one of these phases."""
        found: Object = comes(lambda: self.status(plan), lambda status: status.get("phase") in phases)
        return found

    def release(self, plan: Plan) -> None:
        """Asks for its end."""
        notes = {"metadata": {"annotations": {"loomidi.io/release": "enough"}}}
        self.lab.api.patch(f"{API}/namespaces/{NAME}/folds/{plan.id}", notes)


def _fold(kind: FoldKind, target: str, action: str, **more: Any) -> FoldSpec:
    because = "finding-0123456789abcdef"
    return FoldSpec(kind, target, action, ttl_s=300.0, undo="in the receipt", because=because, **more)


def _workload(name: str, container: Object, node: str) -> Object:
    """A Deployment of one pod."""
    labels = {"app": name}
    pod = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": NAME}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
