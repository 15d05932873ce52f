"""Which host-side link belongs to which pod: asked of the kernel (who is routed or bridged where) and of the API.

Called by `Lab.links`. In: the API, nodes with their namespaces. Out: `Link` records of this moment. A pod's host-side
link is the one whose peer lies in the namespace that holds the pod's address.
"""

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.processes import entering


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One link as seen from its node."""

    node: str
    netns: str
    name: str
    kind: str  # pod, node
    namespace: str = ""
    pod: str = ""
    address: str = ""


def survey(api: Api, nodes: Sequence[tuple[str, str]]) -> list[Link]:
    """Every node's own link and every pod link whose pod is known."""
    pods = {
        pod["status"]["podIP"]: pod
        for pod in api.list("/api/v1/pods", resourceVersion="0")
        if pod["status"].get("podIP") and not pod["spec"].get("hostNetwork") and pod["status"]["phase"] == "Running"
    }
    return [link for node, netns in nodes for link in _of_node(node, netns, pods)]


def _of_node(node: str, netns: str, pods: dict[str, dict[str, Any]]) -> list[Link]:
    found = [Link(node, netns, "eth0", "node", address=_address(netns))]
    by_hardware = {entry["lladdr"]: entry["dst"] for entry in _asked(netns, "neigh") if "lladdr" in entry}
    ports = {entry["mac"]: entry["ifname"] for entry in _bridged(netns) if "permanent" != entry.get("state")}
    routed = {entry["dst"]: entry["dev"] for entry in _asked(netns, "route") if "/" not in entry["dst"]}
    for hardware, address in by_hardware.items():
        name = ports.get(hardware) or routed.get(address)
        if name and address in pods:
            found.append(_pod_link((node, netns, name), pods[address]))
    known = {link.address for link in found}
    lost = [pods[address] for address in pods if address not in known and pods[address]["spec"].get("nodeName") == node]
    return found + [link for pod in lost if (link := _by_talking(node, netns, pod))]


def _by_talking(node: str, netns: str, pod: dict[str, Any]) -> Link | None:
    """A pod that the node has not heard of for a while: say something to it, then look again."""
    address = pod["status"]["podIP"]
    subprocess.run([*entering(netns), "ping", "-c1", "-W1", "-n", address], capture_output=True, check=False)
    hardware = next((entry.get("lladdr") for entry in _asked(netns, "neigh") if entry["dst"] == address), None)
    name = next((entry["ifname"] for entry in _bridged(netns) if entry["mac"] == hardware), None)
    return _pod_link((node, netns, name), pod) if name else None


def _pod_link(where: tuple[str, str, str], pod: dict[str, Any]) -> Link:
    metadata = pod["metadata"]
    return Link(*where, "pod", metadata["namespace"], metadata["name"], pod["status"]["podIP"])


def _address(netns: str) -> str:
    entries = [entry for entry in _asked(netns, "address") if entry.get("ifname") == "eth0"]
    addresses = [info["local"] for entry in entries for info in entry.get("addr_info", ()) if info["family"] == "inet"]
    return addresses[0] if addresses else ""


def _asked(netns: str, *words: str) -> list[dict[str, Any]]:
    return _json([*entering(netns), "ip", "-json", "-4", *words, "show"])


def _bridged(netns: str) -> list[dict[str, Any]]:
    return _json([*entering(netns), "bridge", "-json", "fdb", "show"])


def _json(words: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]") if not done.returncode else []
    return found
