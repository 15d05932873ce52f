"""What runs in a lab beside the control plane: DNS as pods, and thousands of fake nodes.

Called by `raising`. In: `Site`, `Api`. Out: objects applied, processes started. KWOK plays nodes and pods of the API
without a packet: for scale, never for traffic.
"""

import shutil
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import building, control_plane, tools
from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.control_plane import Site
from loomidi_lab.cluster.places import PACKAGE
from loomidi_lab.cluster.processes import entering

_FAKE = {"kwok.x-k8s.io/node": "fake"}
_PLAYED = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)


def apply_dns(site: Site, api: Api) -> None:
    """CoreDNS behind the Service `kube-dns`, two replicas on two nodes where there are two."""
    text = (PACKAGE / "manifests" / "coredns.yaml").read_text()
    control_plane.apply_manifests(api, text.replace("CLUSTER_DNS", site.ranges.dns))


def lay_down() -> None:
    """What KWOK plays, beside its binary: nodes that are Ready and renew a lease, pods that run. Called by `build`."""
    home = _stages()
    if home.is_dir():
        return
    found, partial = building.sources(tools.MODULES["kwok"]), home.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for part in _PLAYED:
        shutil.copyfile(found / "kustomize" / "stage" / part, partial / part.replace("/", "-"))
    partial.rename(home)


def start_kwok(site: Site, api: Api) -> None:
    """KWOK, and the nodes that it plays: fake-0, fake-1, ... with a taint, so that only pods that ask go there."""
    for number in range(site.fake_nodes):
        api.post("/api/v1/nodes", _fake(number))
    if not _stages().is_dir():
        raise EnvironmentLacks("KWOK's stages are not there; run `loomidi-lab build`")
    site.launcher.daemon(
        "kwok",
        [
            *entering(site.lab.control),
            str(tools.binary("kwok")),
            f"--kubeconfig={site.kubeconfig}",
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            "--server-address=127.0.0.1:10247",
            *(f"--config={path}" for path in sorted(_stages().glob("*.yaml"))),
        ],
    )


def _stages() -> Path:
    return tools.MODULES["kwok"].home / "stages"


def _fake(number: int) -> dict[str, object]:
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    labels = {"type": "kwok", "kubernetes.io/hostname": f"fake-{number}", "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"fake-{number}", "annotations": _FAKE, "labels": labels},
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
