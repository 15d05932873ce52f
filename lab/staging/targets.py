"""From entities of a scenario to paths of the API, pods, addresses; and the values that only a running lab has.

Called by steps and symptoms. In: `EntityRef`, text with `@{...}`. Out: paths, objects, addresses. Reads the API only.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError, LoomidiError
from loomidi_lab.staging.records import EntityRef

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

_CORE = (
    "Pod",
    "Service",
    "ConfigMap",
    "Secret",
    "ServiceAccount",
    "PersistentVolumeClaim",
    "Event",
    "ReplicationController",
)
_GROUPS = {
    "apps/v1": ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"),
    "batch/v1": ("Job", "CronJob"),
    "networking.k8s.io/v1": ("NetworkPolicy", "Ingress"),
    "rbac.authorization.k8s.io/v1": ("Role", "RoleBinding"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "policy/v1": ("PodDisruptionBudget",),
    "discovery.k8s.io/v1": ("EndpointSlice",),
}
_WIDE = {
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
_RUNTIME = re.compile(r"@\{([^}]*)\}")


def plural(kind: str) -> str:
    """`NetworkPolicy` -> `networkpolicies`."""
    word = kind.lower()
    return word[:-1] + "ies" if word.endswith("cy") else word + "es" if word.endswith("s") else word + "s"


def collection(kind: str, namespace: str = "") -> str:
    """The API path under which objects of that kind are listed; all namespaces when none is given."""
    if kind in _WIDE:
        return _WIDE[kind]
    group = "/api/v1" if kind in _CORE else ""
    for version, kinds in _GROUPS.items():
        group = f"/apis/{version}" if kind in kinds else group
    if not group:
        raise InputError(f"the lab does not know where the API keeps a {kind}; add it to lab/staging/targets.py")
    return f"{group}/namespaces/{namespace}/{plural(kind)}" if namespace else f"{group}/{plural(kind)}"


def path_of(entity: EntityRef) -> str:
    """The API path of one object."""
    namespace = "" if entity.kind in _WIDE else entity.namespace or "default"
    return f"{collection(entity.kind, namespace)}/{entity.name}"


def missing(error: BaseException) -> bool:
    """Whether the API said that there is no such object."""
    return getattr(error, "status", None) == 404


class Lookup:
    """Answers from the API as it is now, and remembers which addresses an entity ever had during a run."""

    def __init__(self, lab: "Lab") -> None:
        self._lab = lab
        self._addresses: dict[EntityRef, set[str]] = {}
        self._pod_names: dict[EntityRef, set[str]] = {}

    def get(self, entity: EntityRef) -> dict[str, Any] | None:
        """The object, None when there is none."""
        try:
            found: dict[str, Any] = self._lab.api.get(path_of(entity))
        except LoomidiError as error:
            if missing(error):
                return None
            raise
        return found

    def pods(self, entity: EntityRef) -> list[dict[str, Any]]:
        """The pods that an entity stands for, the ready ones first. Empty for what has none."""
        if entity.kind == "Pod":
            found = self.get(entity)
            return [found] if found else []
        if entity.kind == "Node":
            return self._list("Pod", "", fieldSelector=f"spec.nodeName={entity.name}")
        if entity.kind in ("External", "Cluster", "Secret", "ConfigMap", "ServiceAccount"):
            return []
        owner = self.get(entity)
        selector = _selector(owner or {})
        if not selector:
            return []
        return sorted(self._list("Pod", entity.namespace, labelSelector=selector), key=lambda pod: not is_ready(pod))

    def a_pod(self, entity: EntityRef) -> str:
        """The name of one pod to work in. Raises InputError when there is none."""
        found = [pod for pod in self.pods(entity) if pod.get("status", {}).get("phase") == "Running"]
        if not found:
            raise InputError(f"{entity} has no running pod; see `kubectl -n {entity.namespace} get pods`")
        return str(found[0]["metadata"]["name"])

    def pod_names(self, entity: EntityRef) -> list[str]:
        """Names of its pods, also of those that have gone since this object was made."""
        known = self._pod_names.setdefault(entity, {entity.name} if entity.kind == "Pod" else set())
        known.update(str(pod["metadata"]["name"]) for pod in self.pods(entity))
        return sorted(known)

    def addresses(self, entity: EntityRef) -> frozenset[str]:
        """Every address that it has or had since this object was made; a CIDR for what lies beyond the cluster."""
        known = self._addresses.setdefault(entity, set())
        if entity.kind == "External":
            known.add(entity.name)
        elif entity.kind == "Cluster":
            known.update((self._lab.pods, self._lab.services, self._lab.lan))
        elif entity.kind == "Node":
            known.update(node.address for node in self._lab.nodes if node.name == entity.name)
        else:
            known.update(address for pod in self.pods(entity) if (address := pod.get("status", {}).get("podIP")))
        if entity.kind == "Service":
            service = self.get(entity) or {}
            known.update(service.get("spec", {}).get("clusterIPs", []))
        return frozenset(known - {"None", ""})

    def measured(self, entity: EntityRef) -> dict[str, Any]:
        """What was really meant by a planned entity: its pods with their addresses."""
        if entity.kind in ("External", "Node"):
            found = [{"name": entity.name, "address": address} for address in sorted(self.addresses(entity))]
        else:
            found = [
                {"name": pod["metadata"]["name"], "address": pod.get("status", {}).get("podIP", "")}
                for pod in self.pods(entity)
            ]
        return {"entity": entity.as_dict(), "pods": found}

    def fill(self, value: Any) -> Any:
        """Put in what only a running lab knows: `@{service:shop/frontend}` and the like (see the README)."""
        if isinstance(value, str):
            return _RUNTIME.sub(lambda found: self._runtime(found[1]), value)
        if isinstance(value, Mapping):
            return {key: self.fill(below) for key, below in value.items()}
        if isinstance(value, list):
            return [self.fill(below) for below in value]
        return value

    def _runtime(self, text: str) -> str:
        word, _, rest = text.partition(":")
        namespace, _, name = rest.rpartition("/")
        plain = {
            "dns": self._lab.dns_address,
            "host": self._lab.host_address,
            "pods": self._lab.pods,
            "services": self._lab.services,
            "lan": self._lab.lan,
        }
        if word in plain and not rest:
            return str(plain[word])
        if word == "node":
            return self._one(EntityRef("Node", "", rest))
        if word == "pod_cidr":
            return next(str(node.pods) for node in self._lab.nodes if node.name == rest)
        if word == "pod":
            return self._one(EntityRef("Pod", namespace, name))
        if word == "pods_of":
            kind, _, name = name.partition(".")
            return " ".join(sorted(self.addresses(EntityRef(kind, namespace, name))))
        if word in ("service", "node_port"):
            return self._service(word, namespace, name)
        raise InputError(f"`@{{{text}}}` is nothing that a lab knows; lab/staging/README.md lists what it does")

    def _one(self, entity: EntityRef) -> str:
        found = sorted(self.addresses(entity))
        if not found:
            raise InputError(f"{entity} has no address; is it there?")
        return found[0]

    def _service(self, word: str, namespace: str, name: str) -> str:
        service = self.get(EntityRef("Service", namespace, name))
        if service is None:
            raise InputError(f"there is no service {namespace}/{name}; deploy it first (`loomidi-lab shop deploy`)")
        if word == "service":
            return str(service["spec"]["clusterIP"])
        port = service["spec"]["ports"][0].get("nodePort")
        if not port:
            raise InputError(f"service {namespace}/{name} has no node port")
        return str(port)

    def _list(self, kind: str, namespace: str, **params: str) -> list[dict[str, Any]]:
        return list(self._lab.api.list(collection(kind, namespace), **params))


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Running, not on its way out, and its readiness probes hold."""
    conditions = pod.get("status", {}).get("conditions", [])
    leaving = "deletionTimestamp" in pod.get("metadata", {})
    return not leaving and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _selector(owner: Mapping[str, Any]) -> str:
    spec = owner.get("spec", {})
    selector = spec.get("selector") or {}
    labels = selector.get("matchLabels", selector)  # a Service's selector is the labels themselves
    return ",".join(f"{key}={value}" for key, value in labels.items() if isinstance(value, str))


def at_path(value: Any, path: str) -> list[Any]:
    """All values at a dotted path; `[0]` takes one item of a list, `[*]` each; absent: none."""
    found = [value]
    for part in re.findall(r"\[[^\]]*\]|(?:\\.|[^.\[])+", path):
        found = [below for item in found for below in _below(item, part.replace("\\", ""))]
    return found


def _below(item: Any, part: str) -> list[Any]:
    if part.startswith("["):
        if not isinstance(item, list):
            return []
        index = part[1:-1]
        if index == "*":
            return item
        return item[int(index) :][:1] if index.isdigit() else [one for one in item if _named(one, index)]
    return [item[part]] if isinstance(item, Mapping) and part in item else []


def _named(item: Any, condition: str) -> bool:
    """`[type=Ready]` takes the items of a list whose field has that value."""
    key, _, wanted = condition.partition("=")
    return isinstance(item, Mapping) and str(item.get(key)) == wanted
