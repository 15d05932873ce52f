"""Figures of a node and of the host, in Prometheus' text format, from /proc and cgroups.

Called by `scraping` as the fetch of a target. In: a node's network namespace and cgroup. Out: text, so that all metrics
take one path. Names are those of the Prometheus node exporter where it has one.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from loomidi_lab.recording.sources.serving import inside

_LINK = re.compile(r"^\s*([^:\s]+):\s*(.*)$")
_LINK_FIELDS = {0: "receive_bytes", 1: "receive_packets", 3: "receive_drop"}
_LINK_FIELDS |= {8: "transmit_bytes", 9: "transmit_packets", 11: "transmit_drop"}
_CGROUPS = Path("/sys/fs/cgroup")
_CPU = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def host() -> str:
    """CPU, memory, load and pressure of the machine that carries all nodes."""
    return "\n".join([*_cpu(read("/proc/stat")), *_memory(read("/proc/meminfo")), *_load(), *_pressure()]) + "\n"


def node(netns: str, cgroup: str) -> str:
    """Network counters of the node's namespace, CPU and memory of its pods' cgroup."""
    network = inside(netns, lambda: [read(f"/proc/thread-self/net/{name}") for name in ("dev", "snmp", "netstat")])
    lines = [*_links(network[0]), *_protocols(network[1]), *_protocols(network[2]), *_cgroup(cgroup)]
    return "\n".join(lines) + "\n"


def _cpu(text: str) -> Iterator[str]:
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            for mode, value in zip(_CPU, ticks, strict=False):
                yield f'node_cpu_seconds_total{{cpu="{name[3:]}",mode="{mode}"}} {int(value) / 100}'
        elif name in ("ctxt", "processes", "procs_running", "procs_blocked"):
            yield f"node_{name} {ticks[0]}"


def _memory(text: str) -> Iterator[str]:
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemFree", "MemAvailable", "Cached", "Dirty", "Slab", "SwapFree"):
            yield f"node_memory_{name}_bytes {int(rest.split()[0]) * 1024}"


def _load() -> Iterator[str]:
    words = read("/proc/loadavg").split()
    for name, value in zip(("node_load1", "node_load5", "node_load15"), words, strict=False):
        yield f"{name} {value}"


def _pressure() -> Iterator[str]:
    for resource in ("cpu", "memory", "io"):
        for line in read(f"/proc/pressure/{resource}").splitlines():
            share, _, total = line.partition(" total=")
            yield f'node_pressure_seconds_total{{resource="{resource}",share="{share.split()[0]}"}} {int(total) / 1e6}'


def _links(text: str) -> Iterator[str]:
    for line in text.splitlines():
        found = _LINK.match(line)
        if found is not None:
            values = found[2].split()
            for place, name in _LINK_FIELDS.items():
                yield f'node_network_{name}_total{{device="{found[1]}"}} {values[place]}'


def _protocols(text: str) -> Iterator[str]:
    """/proc/net/snmp and netstat: a line of names, then one of values, per protocol."""
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        protocol, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=False):
            if protocol in ("Tcp", "Udp", "Icmp") or name in _KEPT:
                yield f"node_netstat_{protocol}_{name} {value}"


_KEPT = frozenset({"InReceives", "ForwDatagrams", "OutRequests", "InDiscards", "ListenOverflows", "ListenDrops"})
_KEPT |= {"TCPTimeouts", "TCPRetransFail", "TCPReqQFullDrop", "SyncookiesSent", "TCPLostRetransmit", "TCPBacklogDrop"}


def _cgroup(name: str) -> Iterable[str]:
    cpu = read(str(_CGROUPS / "cpuacct" / name / "cpuacct.usage")) or read(
        str(_CGROUPS / "cpu,cpuacct" / name / "cpuacct.usage")
    )
    memory = read(str(_CGROUPS / "memory" / name / "memory.usage_in_bytes"))
    if cpu.strip():
        yield f"node_pods_cpu_seconds_total {int(cpu) / 1e9}"
    if memory.strip():
        yield f"node_pods_memory_bytes {memory.strip()}"


def read(path: str) -> str:
    """A file of /proc or of a cgroup; empty when it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
