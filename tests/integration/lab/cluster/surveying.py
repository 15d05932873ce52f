"""What of a host a lab could leave behind, as text that can be compared."""

import json
import subprocess
from pathlib import Path

TUNABLES = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def survey(*names: str) -> dict[str, list[str]]:
    """Namespaces, links, routes, mounts, cgroups, tables, processes, folders and settings; of labs only those named."""
    return {
        "namespaces": _ours(_lines("ip", "netns", "list"), names),
        "links": _ours([link["ifname"] for link in json.loads(_out("ip", "-json", "link"))], names),
        "routes": [line for line in _lines("ip", "route", "show", "table", "all") if _of_host(line)],
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if _of_host(line)],
        "cgroups": sorted(str(p) for name in names for p in Path("/sys/fs/cgroup").glob(f"*/loomidi-lab/{name}/**/")),
        "tables": _lines("nft", "list", "tables"),
        "iptables": _lines("iptables-save", "-t", "filter"),
        "processes": _processes(names),
        "folders": sorted(
            str(path)
            for root in ("/run/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods")
            if (path := Path(root)).exists()
        ),
        "settings": [f"{name}={(Path('/proc/sys') / name).read_text().strip()}" for name in TUNABLES],
    }


def _ours(lines: list[str], names: tuple[str, ...]) -> list[str]:
    return sorted(line for line in lines if any(f"ll-{name}" in line for name in names))


def _of_host(line: str) -> bool:
    """Not of other labs that stand beside the tested one."""
    return "ll-" not in line and "/run/netns" not in line


def _processes(names: tuple[str, ...]) -> list[str]:
    """Command lines that name a folder, link or namespace of these labs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(f"/lab/run/{name}/" in text or f"ll-{name}-" in text for name in names):
            found.append(text[:200])
    return sorted(found)


def _lines(*words: str) -> list[str]:
    return [line for line in _out(*words).splitlines() if not line.startswith("#")]


def _out(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
