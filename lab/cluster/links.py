"""Which host-side link belongs to which pod: asked of the kernel, whatever network plugin laid it.

Called by `Lab.links`. In: the API, the nodes' namespaces and cgroups. Out: `Link` records of this moment. A pod's
processes are in the cgroup with the pod's UID; the peer index of their eth0 is the index of the link on the node.
"""

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loomidi_lab.cluster import cgroups
from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.places import Place
from loomidi_lab.cluster.processes import entering

_PEER = "root/sys/class/net/eth0/iflink"  # below a process's folder: its own view of its network


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
    uid: str = ""  # of the pod


def survey(lab: Place, api: Api, nodes: Sequence[tuple[str, str]]) -> list[Link]:
    """Every node's own link and every pod link; `nodes` are names with network namespaces."""
    pods = [pod for pod in api.list("/api/v1/pods", resourceVersion="0") if not pod["spec"].get("hostNetwork")]
    peers = _peers(lab)
    return [link for node, netns in nodes for link in _of_node(node, netns, pods, peers)]


def _of_node(node: str, netns: str, pods: Sequence[dict[str, Any]], peers: dict[str, int]) -> list[Link]:
    own = _links(netns)
    names = {entry["ifindex"]: entry["ifname"] for entry in own}
    addresses = {entry["ifname"]: _first(entry) for entry in own}
    found = [Link(node, netns, "eth0", "node", address=addresses.get("eth0", ""))]
    for pod in pods:
        uid = pod["metadata"]["uid"]
        name = names.get(peers.get(uid, 0))
        if name and pod["spec"].get("nodeName") == node:
            metadata, address = pod["metadata"], pod["status"].get("podIP", "")
            found.append(Link(node, netns, name, "pod", metadata["namespace"], metadata["name"], address, uid))
    return found


def _peers(lab: Place) -> dict[str, int]:
    """Pod UID -> interface index, in its node, of the other end of its eth0."""
    found: dict[str, int] = {}
    for group in cgroups.pods(lab):
        uid = group.name.removeprefix("pod")
        for pid in sorted(cgroups.pids_below(group)):
            with contextlib.suppress(OSError, ValueError):  # a process that ended, or one without a /sys
                found[uid] = int((Path("/proc") / str(pid) / _PEER).read_text())
                break
    return found


def _links(netns: str) -> list[dict[str, Any]]:
    words = [*entering(netns), "ip", "-json", "-4", "address", "show"]
    links = [*entering(netns), "ip", "-json", "link", "show"]
    addressed = {entry["ifindex"]: entry for entry in _json(words) if entry}
    return [entry | addressed.get(entry["ifindex"], {}) for entry in _json(links)]


def _first(entry: dict[str, Any]) -> str:
    return next((info["local"] for info in entry.get("addr_info", ()) if info.get("family") == "inet"), "")


def _json(words: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]") if not done.returncode else []
    return found
