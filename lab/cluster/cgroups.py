"""Control groups of a lab: every process of it is inside, so none can be missed when it is taken down.

Called by `raising`, `processes` and `clearing`. In: a lab's `Place`. Out: groups made, the processes in them, groups
removed. Version 1 (one hierarchy a controller) and version 2 (one for all) look the same from outside.
"""

import contextlib
import os
import time
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster.places import CGROUP, Place

ROOT = Path("/sys/fs/cgroup")
NEEDED = ("cpu", "cpuset", "memory", "pids")  # the kubelet does not start without them
TRACKER = "pids"  # the version 1 hierarchy in which we look for a lab's processes
_CPUSET = ("cpuset.cpus", "cpuset.mems")  # version 1: empty in a new group, and nothing can enter it


def unified() -> bool:
    """Whether this machine has version 2 only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """Their mount points."""
    return [ROOT] if unified() else sorted(path for path in ROOT.glob("*/") if (path / "cgroup.procs").exists())


def check() -> None:
    """Raises EnvironmentLacks, naming the controllers that are missing."""
    there = (ROOT / "cgroup.controllers").read_text().split() if unified() else [path.name for path in hierarchies()]
    missing = [name for name in NEEDED if not any(name in part.split(",") for part in there)]
    if missing:
        raise EnvironmentLacks(f"no cgroup controller {', '.join(missing)} here; mount it, or boot with cgroup_enable=")


def make(lab: Place, nodes: int) -> None:
    """One group for each node and one for all else, in every hierarchy."""
    for root in hierarchies():
        for path in ("lab", *(f"n{number}" for number in range(1, nodes + 1))):
            _made(root, root / lab.cgroup / path)
        _weigh(root / CGROUP)


def _weigh(group: Path) -> None:
    """All pods of all labs would weigh as much as one process of the host: they starve while anything else works."""
    for name, weight in (("cpu.shares", 16384), ("cpu.weight", 1600)):  # version 1, version 2: sixteen times the usual
        if (group / name).exists():
            (group / name).write_text(str(weight))


def _made(root: Path, wanted: Path) -> None:
    steps = [wanted, *wanted.parents]
    for path in reversed(steps[: steps.index(root)]):
        path.mkdir(exist_ok=True)
        for name in _CPUSET if (path / _CPUSET[0]).exists() and not unified() else ():
            (path / name).write_text((path.parent / name).read_text())
        if unified() and path != wanted:
            (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in NEEDED))


def tracker(lab: Place) -> Path:
    """The `cgroup.procs` that a new process of the lab writes itself into before it becomes what it is to be."""
    return _tracked(lab) / "lab" / "cgroup.procs"


def _tracked(lab: Place) -> Path:
    return (ROOT if unified() else ROOT / TRACKER) / lab.cgroup


def processes(lab: Place) -> set[int]:
    """All of a lab, pods included."""
    return pids_below(_tracked(lab))


def pids_below(group: Path) -> set[int]:
    """The processes of a group and of those below it."""
    found: set[int] = set()
    for path in _groups(group):
        with contextlib.suppress(OSError):  # a group that goes while we look
            found |= {int(line) for line in (path / "cgroup.procs").read_text().split()}
    return found


def pods(lab: Place) -> list[Path]:
    """The groups of pods that the kubelets made, each named `pod<UID>`."""
    return [path for path in _groups(_tracked(lab)) if path.name.startswith("pod") and path.name.count("-") == 4]


def _groups(top: Path) -> list[Path]:
    """A group and those below it. Groups come and go meanwhile; `os.walk` passes over what is gone."""
    return [Path(folder) for folder, _, _ in os.walk(top)] if top.is_dir() else []


def there(lab: Place) -> list[Path]:
    """The lab's groups that exist, one a hierarchy."""
    return [root / lab.cgroup for root in hierarchies() if (root / lab.cgroup).is_dir()]


def thaw(lab: Place) -> None:
    """Let go on what a scenario has frozen: what is frozen does not end, whatever it is sent (version 1)."""
    groups = [group for top in there(lab) for group in _groups(top)]
    for name, going in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):  # version 1, version 2
        for file in (group / name for group in groups if (group / name).exists()):
            with contextlib.suppress(OSError):  # a group that goes while we look
                file.write_text(going)


def remove(lab: Place, timeout_s: float = 5.0) -> list[Path]:
    """Remove the lab's groups, deepest first; gives back what could not be removed in time."""
    until = time.monotonic() + timeout_s
    while left := there(lab):
        for top in left:
            _removed(top)
        if not there(lab) or time.monotonic() > until:
            break
        time.sleep(0.02)
    for root in hierarchies():
        with contextlib.suppress(OSError):  # another lab is in it, or it is gone
            (root / lab.cgroup).parent.rmdir()
    return there(lab)


def vacate(lab: Place, name: str, timeout_s: float = 10.0) -> None:
    """Remove the groups below a node's, once their processes have ended. Raises EnvironmentLacks."""
    until, tops = time.monotonic() + timeout_s, [root / lab.cgroup / name for root in hierarchies()]
    while left := [group for top in tops for group in _groups(top) if group != top]:
        if time.monotonic() > until:
            raise EnvironmentLacks(f"{left[0]} stays: processes of node {name} do not end; run `loomidi-lab down`")
        for path in sorted(left, key=lambda each: -len(each.parts)):
            with contextlib.suppress(OSError):
                path.rmdir()
        time.sleep(0.02)


def _removed(top: Path) -> None:
    for path in sorted(_groups(top), key=lambda each: -len(each.parts)):
        with contextlib.suppress(OSError):
            path.rmdir()
