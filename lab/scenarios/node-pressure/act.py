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
from loomidi_lab.staging.steps import apply, pod

_MEMORY = Path("/sys/fs/cgroup/memory")
_MIB = 1 << 20
_SECONDS = 180.0


def little_room(stage: Any, node: str, room_mib: int) -> None:
    """Leave that much memory for pods beyond what they have now, and put a pod there that will want it."""
    pod.ensure_namespace(stage, "tenants")
    apply.put(stage, [_importer(node)])
    entity = EntityRef("Pod", "tenants", "importer")
    stage.until(lambda: (stage.lookup.get(entity) or {}).get("status", {}).get("phase") == "Running", 30.0, str(entity))
    program = (sys.executable, __file__)
    begin = guarding.quoted(*program, "small", stage.lab.name, node, room_mib)
    end = guarding.quoted(*program, "whole", stage.lab.name, node, 0)
    guarding.guard(stage, f"room-{node}", begin, end, seconds=_SECONDS)
    stage.began_ns = 0  # the act begins with the pod's work, not here


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
    flags = [word for word in words if not word.startswith("--config=")]
    lab.launcher.daemon(label, [*lab.on(lab.node(node)), *flags, f"--config={config}"])


def _small(lab: Lab, node: str, room_mib: int) -> None:
    group = _group(lab, node)
    used = sum(
        int(line.split()[1])
        for line in _lines(group / "memory.stat")
        if line.split()[0] in ("total_rss", "total_shmem")
    )
    wanted = sum(_requests(pod) for pod in lab.api.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}"))
    capacity = _kibibytes(lab.api.get(f"/api/v1/nodes/{node}")["status"]["capacity"]["memory"]) * 1024
    room = max(used, wanted) + room_mib * _MIB
    home = lab.node(node).folder
    config = json.loads((home / "kubelet.json").read_text())
    config |= {"enforceNodeAllocatable": ["pods"], "systemReserved": {"memory": str(capacity - room)}}
    (home / "kubelet-small.json").write_text(json.dumps(config))
    _restart(lab, node, home / "kubelet-small.json")


def _whole(lab: Lab, node: str) -> None:
    _restart(lab, node, lab.node(node).folder / "kubelet.json")
    time.sleep(1.0)
    (_group(lab, node) / "memory.limit_in_bytes").write_text("-1")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


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
