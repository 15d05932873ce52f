"""Step `pod`: a pod that waits for orders (or serves), with payload files mounted under /lab; undone by deleting.

Comes back when the pod is ready. The namespace is made when it is not there, and stays: others may use it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.stages import GUESTS
from loomidi_lab.staging.steps import apply
from loomidi_lab.staging.targets import is_ready

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_IMAGE = "lab.loomidi.io/attacker:1"
_READY_S = 60.0


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Make it and wait until it is ready."""
    namespace, name = arguments.get("namespace", GUESTS), arguments["name"]
    ensure_namespace(stage, namespace)
    objects = [_pod(namespace, arguments)]
    if arguments.get("files"):
        objects.insert(0, _files(stage, namespace, arguments))
    apply.put(stage, objects)
    entity = EntityRef("Pod", namespace, name)

    def ready() -> bool:
        pod = stage.lookup.get(entity)
        return pod is not None and is_ready(pod)

    stage.until(ready, float(arguments.get("timeout_s", _READY_S)), f"{entity} being ready")


def ensure_namespace(stage: "Stage", namespace: str) -> None:
    """Make a namespace with its default service account, unless it is there."""
    if stage.lookup.get(EntityRef("Namespace", "", namespace)):
        return
    stage.lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    account = EntityRef("ServiceAccount", namespace, "default")
    stage.until(lambda: stage.lookup.get(account) is not None, 20.0, f"the default service account of {namespace}")


def _files(stage: "Stage", namespace: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: (stage.folder / name).read_text(encoding="utf-8") for name in arguments["files"]}
    metadata = {"namespace": namespace, "name": f"{arguments['name']}-files"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _pod(namespace: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    name = arguments["name"]
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "automountServiceAccountToken": "service_account" in arguments,
        "containers": [_container(arguments)],
        "volumes": [],
    }
    if "node" in arguments:
        spec["nodeName"] = arguments["node"]
    if "service_account" in arguments:
        spec["serviceAccountName"] = arguments["service_account"]
    if arguments.get("files"):
        spec["volumes"].append({"name": "lab", "configMap": {"name": f"{name}-files", "defaultMode": 0o755}})
    if arguments.get("device_tun"):
        spec["volumes"].append({"name": "tun", "hostPath": {"path": "/dev/net/tun", "type": "CharDevice"}})
    labels = {"app": name, **arguments.get("labels", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": spec,
    }


def _container(arguments: Mapping[str, Any]) -> dict[str, Any]:
    command = arguments.get("command", ["sleep", "infinity"])
    container: dict[str, Any] = {
        "name": "main",
        "image": arguments.get("image", _IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command] if isinstance(command, str) else list(command),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": _limits(arguments)},
        "volumeMounts": [],
    }
    if arguments.get("files"):
        container["volumeMounts"].append({"name": "lab", "mountPath": "/lab"})
    if arguments.get("device_tun"):
        container["volumeMounts"].append({"name": "tun", "mountPath": "/dev/net/tun"})
        container["securityContext"] = {"privileged": True}
    elif arguments.get("capabilities"):
        container["securityContext"] = {"capabilities": {"add": list(arguments["capabilities"])}}
    if arguments.get("env"):
        container["env"] = [{"name": key, "value": str(value)} for key, value in arguments["env"].items()]
    if arguments.get("ports"):
        container["ports"] = [{"containerPort": port} for port in arguments["ports"]]
    if "ready_when" in arguments:
        probe = {"exec": {"command": ["sh", "-c", arguments["ready_when"]]}, "periodSeconds": 1, "timeoutSeconds": 5}
        container["readinessProbe"] = probe
    return container


def _limits(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {"cpu": arguments.get("cpu", "500m"), "memory": arguments.get("memory", "256Mi")}
