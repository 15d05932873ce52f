"""A node with little memory left for pods: the kubelet is started again with an allocatable just above what is used.

Called by the python steps of scenario.yaml, and as a program (`act.py small|whole LAB NODE MIB`) by the guard, which
puts the kubelet's own configuration back also when the run is killed. The limit is that of the node's own group of
pods, so that nothing else on the machine counts or suffers.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import Lab
from loomidi_lab.scenarios import guarding
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import apply

_MEMORY = Path("/sys/fs/cgroup/memory")
_MIB = 1 << 20
_THRESHOLD = 100 * _MIB  # the kubelet's evictionHard
_SECONDS = 180.0


def little_room(stage: Any, node: str, room_mib: int) -> None:
    """Leave that much memory for pods beyond what they have now, and put a pod there that will want it."""
    apply.put(stage, [_importer(node)])
    entity = EntityRef("Pod", "tenants", "importer")
    stage.until(lambda: (stage.lookup.get(entity) or {}).get("status", {}).get("phase") == "Running", 30.0, str(entity))
    program = (sys.executable, __file__)
    begin = guarding.quoted(*program, "small", stage.lab.name, node, room_mib)
    end = guarding.quoted(*program, "whole", stage.lab.name, node, 0)
    guarding.guard(stage, f"room-{node}", begin, end, seconds=_SECONDS)
    stage.began_ns = 0  # the act begins with the pod's work, not here
    stage.until(lambda: _is_small(stage.lab, node), 30.0, f"{node} to tell that it has little memory")
    works = ("tenants", "importer", "true")
    stage.until(lambda: stage.lab.exec(*works, check=False).returncode == 0, 30.0, f"the kubelet of {node}")


def all_room(stage: Any, node: str) -> None:
    """Give the node its memory back and wait until it is ready."""
    guarding.release(stage, f"room-{node}")


def _importer(node: str) -> dict[str, Any]:
    container = {"name": "main", "image": "lab.loomidi.io/base:1", "command": ["sleep", "infinity"]}
    spec = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "containers": [{**container, "imagePullPolicy": "IfNotPresent"}],
    }
    metadata = {"namespace": "tenants", "name": "importer", "labels": {"app": "importer"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _group(lab: Lab, node: str) -> Path:
    group = _MEMORY / lab.place.cgroup / node / "kubepods"
    if not group.is_dir():
        raise EnvironmentLacks(f"{group} is not there: node-pressure needs the memory controller of cgroup version 1")
    return group


def _restart(lab: Lab, node: str, config: Path) -> None:
    """End the kubelet and start it with the same words and another configuration."""
    label = f"{node}-kubelet"
    words = Path(f"/proc/{lab.launcher.pid(label)}/cmdline").read_bytes().decode().split("\0")[:-1]
    lab.stop_node(node, "kubelet")
    lab.launcher.daemon(label, [f"--config={config}" if word.startswith("--config=") else word for word in words])


def _is_small(lab: Lab, node: str) -> bool:
    status = lab.api.get(f"/api/v1/nodes/{node}")["status"]
    allocatable = status["allocatable"]["memory"]
    kibibytes = _kibibytes(allocatable) if allocatable.endswith("Ki") else int(allocatable) // 1024
    return kibibytes < _kibibytes(status["capacity"]["memory"]) // 2


def _small(lab: Lab, node: str, room_mib: int) -> None:
    room = _working_set(_group(lab, node)) + room_mib * _MIB
    wanted = sum(_requests(pod) for pod in lab.api.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}"))
    if wanted + _THRESHOLD > room:
        raise EnvironmentLacks(f"{node} has pods that ask for {wanted // _MIB} MiB: they would not be let in again")
    capacity = _kibibytes(lab.api.get(f"/api/v1/nodes/{node}")["status"]["capacity"]["memory"]) * 1024
    home = lab.node(node).folder
    config = json.loads((home / "kubelet.json").read_text())
    config |= {"enforceNodeAllocatable": ["pods"], "systemReserved": {"memory": str(capacity - room)}}
    (home / "kubelet-small.json").write_text(json.dumps(config))
    _restart(lab, node, home / "kubelet-small.json")


def _working_set(group: Path) -> int:
    """As the kubelet counts it: what is used without the file pages that could be dropped."""
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    droppable = next(int(value) for name, value in lines if name == "total_inactive_file")
    return int((group / "memory.usage_in_bytes").read_text()) - droppable


def _whole(lab: Lab, node: str) -> None:
    _restart(lab, node, lab.node(node).folder / "kubelet.json")
    time.sleep(1.0)
    (_group(lab, node) / "memory.limit_in_bytes").write_text("-1")


def _requests(found: dict[str, Any]) -> int:
    texts = [one.get("resources", {}).get("requests", {}).get("memory", "0Mi") for one in found["spec"]["containers"]]
    return sum(int(text.removesuffix("Mi")) * _MIB for text in texts if text.endswith("Mi"))


def _kibibytes(text: str) -> int:
    return int(text.removesuffix("Ki"))


def main(way: str, lab_name: str, node: str, room_mib: str) -> None:
    """Once small, once whole."""
    lab = Lab.open(lab_name)
    if way == "small":
        _small(lab, node, int(room_mib))
    else:
        _whole(lab, node)


if __name__ == "__main__":
    main(*sys.argv[1:5])
