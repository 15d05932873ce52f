"""What works on this machine, what does not, why, and the command that mends it.

Called by `conductor.verbs.doctor`. In: an interface name or nothing. Out: a list of `Check`, in the order a person
would look. Every check is a function without side effects; one that breaks is reported as a broken check, never as a
traceback.
"""

import dataclasses
import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_PERFMON": 38, "CAP_BPF": 39}  # linux/capability.h
OLDEST_KERNEL = (5, 15)  # ring buffer, batched map operations and XDP links, all in the oldest supported release
LIBRARIES = {
    "numpy": "detectors",
    "pyarrow": "batches of flows",
    "yaml": "manifests",
    "regopy": "Rego guards",
    "pyroute2": "links and namespaces",
    "rich": "reports for people",
    "structlog": "log lines",
}
TOOLS = {
    # command: (package, what it is for)
    "clang": ("clang", "builds the BPF objects from a checkout; a wheel brings them"),
    "ip": ("iproute2", "looking at links; Loomidi itself uses netlink"),
    "bpftool": ("bpftool", "looking at loaded programs and maps"),
    "nmap": ("nmap", "real scans in `loomidi demo`"),
    "hping3": ("hping3", "real floods in `loomidi demo`"),
    "xdp-filter": ("xdp-tools", "the peer in the XDP benchmark"),
    "opa": ("", "the reference Rego engine; guards run in process without it"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    group: str  # main job, kernel, data plane, tools
    name: str
    ok: bool
    required: bool  # without it the main job (`loomidi analyze`) does not work
    says: str  # what was seen, or why it does not work
    mend: str = ""  # the command that mends it; empty when nothing has to be or can be done


def check_up(interface: str | None = None) -> list[Check]:
    """Look at everything. `interface` is probed for its XDP modes when given."""
    groups: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("main job", _main_job),
        ("kernel", _kernel),
        ("data plane", lambda: _data_plane(interface)),
        ("tools", _tools),
    )
    return [check for group, look in groups for check in _safely(group, look)]


def works(checks: list[Check]) -> bool:
    """Whether the main job works: everything that is required is there."""
    return all(check.ok for check in checks if check.required)


def _safely(group: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks of a group; a fault while looking becomes one more check that failed."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - a doctor that falls over helps nobody
        yield Check(group, "check itself", False, group == "main job", f"broke: {type(error).__name__}: {error}")


def _main_job() -> Iterator[Check]:
    """What `loomidi analyze` and `loomidi meter` on a capture need."""
    yield Check("main job", "Python", True, True, platform.python_version())
    for name, purpose in LIBRARIES.items():
        yield _library(name, purpose)
    yield _meter()


def _library(name: str, purpose: str) -> Check:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        mend = "python3 -m pip install --force-reinstall loomidi"
        return Check("main job", name, False, True, f"{purpose}: cannot be imported: {error}", mend)
    version = getattr(module, "__version__", "")
    return Check("main job", name, True, True, f"{version + ', ' if version else ''}{purpose}")


def _meter() -> Check:
    """The compiled flow meter: loaded, not only found."""
    from loomidi.loom.capture.native import library

    try:
        library()
    except Exception as error:  # noqa: BLE001 - any reason why it does not load is the answer
        mend = "make -C bpf   (from a checkout; a wheel brings it: python3 -m pip install --force-reinstall loomidi)"
        return Check("main job", "flow meter", False, True, str(error), mend)
    return Check("main job", "flow meter", True, True, "compiled library loaded")


def _kernel() -> Iterator[Check]:
    """What live capture and blocking need of the kernel and of this process."""
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    old = (
        ""
        if numbers >= OLDEST_KERNEL
        else f"; {'.'.join(map(str, OLDEST_KERNEL))} or newer is needed to block in the kernel"
    )
    yield Check("kernel", "release", not old, False, release + old, "upgrade the kernel" if old else "")
    yield _capabilities()
    btf = Path("/sys/kernel/btf/vmlinux").exists()
    yield Check("kernel", "BTF", btf, False, "types of the running kernel" if btf else "CONFIG_DEBUG_INFO_BTF is off")
    yield _bpffs()
    yield _lockdown()


def _capabilities() -> Check:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    held = int(status["CapEff"], 16)
    lacking = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        why = f"lacks {', '.join(lacking)}: no live capture, no blocking"
        return Check("kernel", "capabilities", False, False, why, "sudo loomidi doctor")
    return Check("kernel", "capabilities", True, False, ", ".join(CAPABILITIES))


def _bpffs() -> Check:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [fields[1] for fields in mounts if fields[2] == "bpf"]
    if places:
        return Check("kernel", "bpffs", True, False, f"mounted at {', '.join(places)}")
    why = "not mounted: a shield would not survive its command"
    return Check("kernel", "bpffs", False, False, why, "sudo mount -t bpf bpf /sys/fs/bpf")


def _lockdown() -> Check:
    path = Path("/sys/kernel/security/lockdown")
    try:
        text = path.read_text()
    except OSError:
        return Check("kernel", "lockdown", True, False, "not active or not readable")
    state = text[text.find("[") + 1 : text.find("]")] if "[" in text else text.strip()
    blocked = state == "confidentiality"
    return Check(
        "kernel", "lockdown", not blocked, False, f"{state}{': BPF may not read kernel memory' if blocked else ''}"
    )


def _data_plane(interface: str | None) -> Iterator[Check]:
    """The rungs from native XDP down to plain capture files, as the capability probe sees them."""
    from loomidi.loom.capture import probe

    for rung in probe(interface).rungs:
        yield Check("data plane", rung.name, rung.ok, False, rung.why, "" if rung.ok else rung.mend)


def _tools() -> Iterator[Check]:
    """Optional programs: something more works with each."""
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    for command, (package, purpose) in TOOLS.items():
        found = shutil.which(command, path=search)
        mend = f"sudo apt-get install -y {package}" if package and not found else ""
        yield Check("tools", command, bool(found), False, purpose if found else f"not installed; {purpose}", mend)
