"""Packets as they were, when asked for: one tcpdump per node, in pcap files of bounded size.

Called by the recorder. In: the lab's nodes. Out: pcap/NODE-*.pcap and the balance that tcpdump gives at its end.
"""

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks

_SIZE_MB = "256"
_BUFFER_KIB = "65536"
_STOP_S = 15.0
_COUNT = re.compile(r"(\d+) packets? (captured|received by filter|dropped by kernel|dropped by interface)")

Start = Callable[..., "subprocess.Popen[bytes]"]  # Lab.start


class Packets:
    """tcpdump on every link of each node at once; a packet shows on each link it crosses."""

    def __init__(self, start: Start, nodes: Mapping[str, str], folder: Path, logs: Path) -> None:
        """`nodes`: name to network namespace; `logs`: where `start` writes what processes print."""
        if shutil.which("tcpdump") is None:
            raise EnvironmentLacks("tcpdump is not installed; install it (Debian: tcpdump), or leave --pcap out")
        self._start, self._nodes, self._folder, self._logs = start, dict(nodes), folder, logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Capture from now on."""
        self._folder.mkdir()
        for node, netns in self._nodes.items():
            words = ["tcpdump", "-i", "any", "-n", "-U", "-Z", "root", "-B", _BUFFER_KIB, "-C", _SIZE_MB]
            words += ["--time-stamp-precision=nano", "-w", str(self._folder / f"{node}.pcap")]
            self._running[node] = self._start(_label(node), words, netns=netns)

    def stop(self) -> dict[str, Any]:
        """End them; per node what tcpdump counted."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        balance = {}
        for node, process in self._running.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            if process.poll() is None:
                process.kill()
                process.wait()
            balance[node] = _counted(self._logs / f"{_label(node)}.log")
        self._running = {}
        return balance


def _label(node: str) -> str:
    return f"recorder-pcap-{node}"


def _counted(log: Path) -> dict[str, int]:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return {what.replace(" ", "_"): int(count) for count, what in _COUNT.findall(text)}
