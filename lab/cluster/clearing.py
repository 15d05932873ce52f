"""Take a lab down, whole, whatever state it is in: everything is found by the lab's name, no journal is trusted.

Called by `loomidi-lab down`, by `raising` before and after a failed start. In: a `Place`. Out: nothing left, or
EnvironmentLacks that names what could not be removed. Order, repeated in the code by number:

    1 processes: everything in the lab's cgroup, pods included     4 control groups
    2 network namespaces, with the links and tables in them        5 files
    3 the host's link, with its routes                             6 kernel settings that the kubelet changed
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import cgroups
from loomidi_lab.cluster.places import NETNS, Place, known, labs
from loomidi_lab.cluster.processes import kill

_GONE_S = 10.0
_TUNABLES = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_KEYS = ("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
_LINKS = Path("/sys/class/net")


def clear(lab: Place) -> None:
    """Remove everything of a lab. Raises EnvironmentLacks when something stays.

    Repeated while something is found: a command that was killed may have left a child which was just making it.
    """
    until = time.monotonic() + _GONE_S
    while True:
        _sweep(lab)
        left = leftovers(lab)
        if not left:
            break
        if time.monotonic() > until:
            raise EnvironmentLacks(f"could not remove {', '.join(left[:5])}; run `loomidi-lab down` again")
        time.sleep(0.1)
    if not [other for other in known() if other != lab]:
        restore_kernel()  # 6


def _sweep(lab: Place) -> None:
    end_processes(lab)  # 1
    for netns in lab.namespaces():  # 2
        _ip("netns", "delete", netns)
    if (_LINKS / lab.link).exists():  # 3
        _ip("link", "delete", lab.link)
    cgroups.remove(lab)  # 4
    if not mounts(lab):
        shutil.rmtree(lab.folder, ignore_errors=True)  # 5


def end_processes(lab: Place) -> None:
    """Kill until none is left: a killed node takes its pods along, a shim may start one more in between."""
    until = time.monotonic() + _GONE_S
    cgroups.thaw(lab)
    while running := cgroups.processes(lab) - {os.getpid()}:
        for pid in running:
            kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{len(running)} processes of the lab do not end, such as {min(running)}; try again")
        time.sleep(0.02)


def leftovers(lab: Place) -> list[str]:
    """What of a lab is there, in words."""
    found = [f"process {pid}" for pid in sorted(cgroups.processes(lab))]
    found += [f"network namespace {name}" for name in lab.namespaces()]
    found += [f"link {lab.link}"] if (_LINKS / lab.link).exists() else []
    found += [f"cgroup {path}" for path in cgroups.there(lab)]
    found += [f"mount {line.split()[1]}" for line in mounts(lab)]
    found += [f"folder {lab.folder}"] if lab.folder.exists() else []
    return found


def mounts(lab: Place) -> list[str]:
    """Lines of /proc/mounts below the lab's folder."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if line.split()[1].startswith(f"{lab.folder}/")]


def remember_kernel() -> None:
    """Note the settings that a kubelet overwrites for the whole machine, once, before the first lab."""
    file = _kernel_file()
    if file.exists():
        return
    values = {name: _setting(name) for name in (*_TUNABLES, *_KEYS) if (Path("/proc/sys") / name).exists()}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(values))
    partial.rename(file)


def restore_kernel() -> None:
    """Put those settings back."""
    file = _kernel_file()
    if not file.exists():
        return
    for name, value in json.loads(file.read_text()).items():
        if _setting(name) != value:
            (Path("/proc/sys") / name).write_text(value)
    file.unlink()


def _kernel_file() -> Path:
    return labs() / ".kernel.json"


def _setting(name: str) -> str:
    return (Path("/proc/sys") / name).read_text().strip()


def _ip(*words: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):  # what stays is found by `leftovers`
        subprocess.run(("ip", *words), capture_output=True, check=True)
    if words[0] == "netns":
        with contextlib.suppress(OSError):  # a file that is no mount any more
            (NETNS / words[2]).unlink()
