"""Start and stop the lab's own processes: each in the lab's cgroup from its first instruction, logging to its own file.

Called by `control_plane`, `nodes`, `cilium` and `Lab.start`. In: a label, arguments, a network namespace or a node to
enter. Out: a running process that outlives this one. Leaves killing everything at once to `clearing`.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab.cluster import cgroups
from loomidi_lab.cluster.places import NETNS, Place

# The shell joins the group and leaves its number before it becomes the program: a kill of ours at any point leaves
# either nothing or a process that `down` finds.
_JOIN = 'echo $$ > "$1" && echo $$ > "$2" && shift 2 && exec "$@"'
_BORN_S = 10.0


def entering(netns: str) -> list[str]:
    """Prefix of a command in a network namespace. Not `ip netns exec`: that remounts /sys, without cgroups."""
    return ["nsenter", f"--net={NETNS / netns}", "--"] if netns else []


def inside(init: int) -> list[str]:
    """Prefix of a command inside a node, whose first process has this number on the host."""
    return ["nsenter", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"]


@dataclasses.dataclass(frozen=True, slots=True)
class Launcher:
    """Starts processes of one lab."""

    lab: Place

    def daemon(self, label: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start what outlives this process; its number. Raises EnvironmentLacks when it cannot be started."""
        pid_file = self._file("pids", label, ".pid")
        pid_file.unlink(missing_ok=True)
        with self._log(label) as log:
            subprocess.run(
                ["setsid", "--fork", *self._joined(argv, pid_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                check=True,
            )
        until = time.monotonic() + _BORN_S
        while not (pid_file.exists() and (text := pid_file.read_text().strip())):
            if time.monotonic() > until:
                raise EnvironmentLacks(f"{label} did not start: {self.last_words(label)}")
            time.sleep(0.005)
        return int(text)

    def child(self, label: str, argv: Sequence[str], stdin: IO[bytes] | int | None = None) -> "subprocess.Popen[bytes]":
        """Start what the caller waits for and ends."""
        with self._log(label) as log:
            return subprocess.Popen(
                self._joined(argv, self._file("pids", label, ".pid")),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self, label: str) -> int:
        """The process started under a label; 0 when it has ended."""
        try:
            pid = int(self._path("pids", label, ".pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if alive(pid) and pid in cgroups.processes(self.lab) else 0

    def stop(self, label: str, *, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> bool:
        """End one, with what it is waiting for, and wait; killed when it takes too long. False: it did not run."""
        pid = self.pid(label)
        if not pid:
            return False
        both = [*children(pid), pid]
        for each in both:
            kill(each, number)
        until = time.monotonic() + timeout_s
        while any(alive(each) for each in both):
            if time.monotonic() > until:
                for each in both:
                    kill(each, signal.SIGKILL)
            time.sleep(0.02)
        return True

    def last_words(self, label: str) -> str:
        """The last line of its log that is not empty."""
        try:
            lines = self._path("logs", label, ".log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "its log is empty")

    def joining(self) -> list[str]:
        """Prefix of a command that ends by itself but must not outlive the lab."""
        return ["sh", "-c", 'echo $$ > "$1" && shift && exec "$@"', "sh", str(cgroups.tracker(self.lab))]

    def _joined(self, argv: Sequence[str], pid_file: Path) -> list[str]:
        return ["sh", "-c", _JOIN, "sh", str(cgroups.tracker(self.lab)), str(pid_file), *argv]

    def _log(self, label: str) -> IO[bytes]:
        return self._file("logs", label, ".log").open("ab")

    def _path(self, folder: str, label: str, suffix: str) -> Path:
        """Where it lies. Who only looks makes no folder: the lab may be going down at this moment."""
        return self.lab.folder / folder / f"{label}{suffix}"

    def _file(self, folder: str, label: str, suffix: str) -> Path:
        path = self._path(folder, label, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(process: "subprocess.Popen[bytes]", *, within: bool = True, patience_s: float = 15.0) -> None:
    """End what was started, and wait. `within`: it entered a node, where its child is the program that is told."""
    for pid in (children(process.pid) if within else []) or [process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    process.kill()
    process.wait()


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to what may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
