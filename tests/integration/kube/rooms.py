"""A namespace of a real API server with what a test needs in it, and the driver as the user that has the role."""

import copy
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import yaml

from loomidi.ionic.act.kube import KubeApi, KubeDriver
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_clock
from tools import rbac

Object = dict[str, Any]
USER = "system:serviceaccount:loomidi-system:loomidi-operator"  # as a pod of the operator has it
SEEN = (  # what a snapshot holds
    "/api/v1/namespaces/{}/pods",
    "/api/v1/namespaces/{}/services",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "/apis/apps/v1/namespaces/{}/deployments",
    "/apis/apps/v1/namespaces/{}/statefulsets",
    "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
)
_PASSING = ("resourceVersion", "generation", "managedFields", "creationTimestamp")
_REVISION = "deployment.kubernetes.io/revision"  # the controller counts every rollout, also the one back


class Room:
    """`admin` sets the stage and looks; `driver` acts."""

    seen = SEEN

    def __init__(self, admin: httpx.Client, operator: httpx.Client) -> None:
        self.namespace = f"room-{secrets.token_hex(4)}"
        self.admin, self._client = admin, operator
        self.look = KubeApi(admin)
        self.clock: ManualClock = a_clock()
        self.driver = self.new_driver()
        self.nodes: list[str] = []
        self.post("/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    def new_driver(self, api: KubeApi | None = None, **more: Any) -> KubeDriver:
        """As a new process has it: nothing remembered."""
        return KubeDriver(api or KubeApi(self._client), SIGNER, clock=self.clock, **more)

    def mortal(self, writes: int) -> "MortalApi":
        """An API that the process does not survive."""
        return MortalApi(self._client, writes)

    def post(self, path: str, body: Object) -> Object:
        answer = self.admin.post(path.format(self.namespace), json=body)
        assert answer.is_success, answer.text
        made: Object = answer.json()
        return made

    def merge(self, path: str, change: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.admin.patch(path.format(self.namespace), json=change, headers=headers)
        assert answer.is_success, answer.text
        made: Object = answer.json()
        return made

    def get(self, path: str) -> Object:
        found = self.look.get(path.format(self.namespace))
        assert found is not None, path
        return found

    def remove(self, path: str) -> None:
        assert self.admin.delete(path.format(self.namespace)).is_success
        wait(lambda: self.look.get(path.format(self.namespace)) is None, f"{path} goes")

    def pod(self, name: str, **labels: str) -> Object:
        """A pod that no controller owns, Running and Ready as its status says."""
        resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m"}}
        spec: Object = {"containers": [{"name": "main", "image": "none.invalid/none", "resources": resources}]}
        spec |= {"nodeName": self.nodes[0]} if self.nodes else {}
        self.post("/api/v1/namespaces/{}/pods", {"metadata": {"name": name, "labels": labels}, "spec": spec})
        return self.ready(name)

    def ready(self, name: str) -> Object:
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": "10.244.0.9",
            "podIPs": [{"ip": "10.244.0.9"}],
        }
        return self.merge(f"/api/v1/namespaces/{{}}/pods/{name}/status", {"status": status})

    def service(self, name: str, **selector: str) -> None:
        spec = {"selector": selector, "ports": [{"port": 80}]}
        self.post("/api/v1/namespaces/{}/services", {"metadata": {"name": name}, "spec": spec})

    def budget(self, least: int, **labels: str) -> None:
        spec = {"minAvailable": least, "selector": {"matchLabels": labels}}
        body = {"metadata": {"name": "budget"}, "spec": spec}
        self.post("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", body)

    def workload(self, kind: str, name: str, replicas: int = 2, image: str = "none.invalid/one") -> Object:
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
        spec: Object = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        plural = f"{kind.lower()}s"
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel"} if kind == "StatefulSet" else {}
        made = self.post(f"/apis/apps/v1/namespaces/{{}}/{plural}", {"metadata": {"name": name}, "spec": spec})
        wait(lambda: len(self.pods(app=name)) == replicas, f"{name} has {replicas} pods")
        return made

    def scaler(self, name: str, least: int, most: int) -> None:
        aim = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {"scaleTargetRef": aim, "minReplicas": least, "maxReplicas": most}
        path = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
        self.post(path, {"metadata": {"name": name}, "spec": spec})

    def node(self, name: str, **labels: str) -> str:
        full = f"{self.namespace}-{name}"
        self.post("/api/v1/nodes", {"metadata": {"name": full, "labels": labels}})
        self.nodes.append(full)
        return full

    def pods(self, **labels: str) -> list[Object]:
        found = self.look.items(f"/api/v1/namespaces/{self.namespace}/pods")
        return [pod for pod in found if labels.items() <= pod["metadata"].get("labels", {}).items()]

    def snapshot(self) -> Object:
        """What there is, without what passes; pods that controllers make are counted by their owners, not held."""
        objects = [obj for path in self.seen for obj in self.look.items(path.format(self.namespace))]
        objects += [self.get(f"/api/v1/nodes/{name}") for name in self.nodes]
        kept = [obj for obj in objects if not obj["metadata"].get("ownerReferences")]
        return {f"{obj.get('kind', '')}{obj['metadata']['uid']}": _lasting(obj) for obj in kept}

    def leave(self) -> None:
        """Nodes are not the namespace's."""
        for name in self.nodes:
            self.admin.delete(f"/api/v1/nodes/{name}")


class Killed(BaseException):
    """The process ends here; nothing that catches Exception may catch it."""


class MortalApi(KubeApi):
    """Ends the process: before write number -n, or after write number n has had its effect."""

    def __init__(self, client: httpx.Client, writes: int) -> None:
        super().__init__(client)
        self._left, self._after = abs(writes), writes > 0

    def _ask(self, method: str, path: str, params: Any, **more: Any) -> httpx.Response:
        writes = method != "GET" and "dryRun" not in params
        self._left -= writes
        if writes and self._left == 0 and not self._after:
            raise Killed(path)
        response = super()._ask(method, path, params, **more)
        if writes and self._left == 0:
            raise Killed(path)
        return response


def bind(admin: httpx.Client) -> None:
    """The generated role, bound to the driver's user and to nobody else."""
    role = yaml.safe_load(rbac.FILE.read_text())
    named = {"apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "metadata": {"name": "loomidi-act"},
        "roleRef": {"kind": "ClusterRole", "name": role["metadata"]["name"], **named},
        "subjects": [{"kind": "User", "name": USER, **named}],
    }
    for plural, body in (("clusterroles", role), ("clusterrolebindings", binding)):
        answer = admin.post(f"/apis/rbac.authorization.k8s.io/v1/{plural}", json=body)
        assert answer.is_success, answer.text


def wait(happens: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < until, f"after {timeout_s:.0f} s still not so: {what}"
        time.sleep(0.05)


def a_room(admin: httpx.Client, operator: httpx.Client) -> Iterator[Room]:
    """For a fixture."""
    room = Room(admin, operator)
    yield room
    room.leave()


def _lasting(obj: Object) -> Object:
    """Without the figures that every write moves, and without status, which is the controllers' to tell."""
    kept = copy.deepcopy(obj)
    kept.pop("status", None)
    for name in _PASSING:
        kept["metadata"].pop(name, None)
    notes = kept["metadata"].pop("annotations", {})
    return kept | {"notes": {name: text for name, text in notes.items() if name != _REVISION}}
