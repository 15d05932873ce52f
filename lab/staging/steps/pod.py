"""Step `pod`: a pod that waits for orders (or serves), with payload files mounted under /lab; undone by deleting.

Comes back when the pod is ready.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.stages import GUESTS
from loomidi_lab.staging.steps import apply
from loomidi_lab.staging.targets import is_ready

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_IMAGE = "lab.loomidi.io/attacker:1"
_READY_S = 90.0
_EACH_SECOND = {"periodSeconds": 1, "timeoutSeconds": 5}


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Make it and wait until it is ready."""
    perform_all(stage, [arguments])


def perform_all(stage: "Stage", several: Sequence[Mapping[str, Any]]) -> None:
    """Make pods that do not wait for each other, all at once."""
    apply.put(stage, [one for arguments in several for one in _objects(stage, arguments)])
    for arguments in several:
        entity = EntityRef("Pod", arguments.get("namespace", GUESTS), arguments["name"])
        timeout_s = float(arguments.get("timeout_s", _READY_S))
        stage.until(functools.partial(_ready, stage, entity), timeout_s, f"{entity} being ready")


def _ready(stage: "Stage", entity: EntityRef) -> bool:
    pod = stage.lookup.get(entity)
    return pod is not None and is_ready(pod)


def _objects(stage: "Stage", arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    namespace = arguments.get("namespace", GUESTS)
    made = [_pod(namespace, arguments)]
    return [_files(stage, namespace, arguments), *made] if arguments.get("files") else made


def _files(stage: "Stage", namespace: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: stage.payload(name).read_text(encoding="utf-8") for name in arguments["files"]}
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
        container["readinessProbe"] = {"exec": {"command": ["sh", "-c", arguments["ready_when"]]}, **_EACH_SECOND}
    elif arguments.get("ports"):
        container["readinessProbe"] = {"tcpSocket": {"port": arguments["ports"][0]}, **_EACH_SECOND}
    return container


def _limits(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {"cpu": arguments.get("cpu", "500m"), "memory": arguments.get("memory", "256Mi")}
