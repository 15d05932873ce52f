"""What a recording says about where it was made: versions, host, and the lab's own addresses.

Called by the recorder. In: the lab. Out: `provenance.json` as a dict, and entities that no Kubernetes object tells of.
Names no path of this machine.
"""

import ipaddress
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loomidi
from loomidi_lab.cluster.addressing import ATTACKERS, USERS
from loomidi_lab.recording.entities import Owned
from loomidi_lab.recording.lookup import UNASSIGNED
from loomidi_lab.recording.planning import Schedule

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

FORMAT = 1
_HERE = Path(__file__).resolve().parent
# Ranges that mean the same everywhere.
_KNOWN = (
    ("127.0.0.0/8", "Loopback"),
    ("::1/128", "Loopback"),
    ("169.254.0.0/16", "LinkLocal"),
    ("fe80::/10", "LinkLocal"),
    ("224.0.0.0/4", "Multicast"),
    ("ff00::/8", "Multicast"),
    ("255.255.255.255/32", "Broadcast"),
    ("0.0.0.0/32", "Unspecified"),
    ("::/128", "Unspecified"),
)


def fixed_entities(lab: "Lab") -> Iterator[Owned]:
    """Router, host, outside, the nodes' ends of the pod networks, and ranges."""
    ranges = lab.ranges
    yield _owned(ranges.router, "ControlPlane", "control-plane")
    yield _owned(lab.host_address, "Host", "host")
    yield _owned(ranges.outside, "External", "outside")
    for node in lab.nodes:
        yield _owned(str(ipaddress.ip_network(node.pods)[1]), "Node", node.name, node.name)
    for cidr in (USERS, ATTACKERS):
        yield _owned(cidr, "External", cidr)
    for cidr in (lab.pods, lab.services, lab.lan):
        yield _owned(cidr, UNASSIGNED, cidr)
    for cidr, kind in _KNOWN:
        yield _owned(cidr, kind, cidr)


def _owned(address: str, kind: str, name: str, node: str = "") -> Owned:
    uid = f"lab:{address}"
    return Owned(address, kind, "", name, uid, "", "", "{}", node, "[]", 0)


def provenance(lab: "Lab", schedule: Schedule) -> dict[str, Any]:
    """All that is known before the recording begins."""
    nodes = lab.api.list("/api/v1/nodes")
    infos = [node["status"]["nodeInfo"] for node in nodes if _real(node)]
    first = infos[0] if infos else {}
    return {
        "format": FORMAT,
        "plan": schedule.plan.name,
        "seed": schedule.seed,
        "loomidi": loomidi.__version__,
        "commit": _commit(),
        "network": lab.network,
        "nodes": len(nodes),
        "versions": {
            "kubernetes": lab.api.get("/version").get("gitVersion", ""),
            "kubelet": first.get("kubeletVersion", ""),
            "container_runtime": first.get("containerRuntimeVersion", ""),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "host": _host(),
        "images": _images(nodes),
        "ranges": {"pods": lab.pods, "services": lab.services, "lan": lab.lan, "users": USERS, "attackers": ATTACKERS},
    }


def _real(node: dict[str, Any]) -> bool:
    return bool(node.get("metadata", {}).get("labels", {}).get("type") != "kwok")


def _images(nodes: list[dict[str, Any]]) -> dict[str, int]:
    """Names (with the digest, where the runtime gives one) and sizes."""
    found: dict[str, int] = {}
    for node in nodes:
        for image in node.get("status", {}).get("images") or []:
            for name in image.get("names") or []:
                found[name] = int(image.get("sizeBytes", 0))
    return dict(sorted(found.items()))


def _host() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"model name\s*:\s*(.+)", text)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "model": model[1].strip() if model else platform.machine(),
        "memory_bytes": pages,
        "system": platform.system(),
    }


def _commit() -> str:
    """Of the checkout, with `+` when files differ from it; empty outside of one."""
    git = ["git", "-C", str(_HERE)]
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        return ""
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")
