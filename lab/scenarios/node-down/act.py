"""A node that is gone, as the rest of the cluster sees it: dead link, no kubelet, no containerd, no proxy, frozen pods.

Called by the python steps of scenario.yaml, and as a program (`act.py down|up LAB NODE`) by the guard, which brings the
node back also when the run is killed.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import Retryable
from loomidi_lab.cluster import Lab
from loomidi_lab.scenarios import guarding

_PARTS = ("kubelet", "containerd", "proxy")
_FREEZER = Path("/sys/fs/cgroup/freezer")


def take_down(stage: Any, node: str, seconds: float) -> None:
    """Keep the node down for a while."""
    begin, end = (guarding.quoted(sys.executable, __file__, way, stage.lab.name, node) for way in ("down", "up"))
    guarding.guard(stage, f"down-{node}", begin, end, seconds=seconds)
    stage.pause(float(seconds))


def bring_back(stage: Any, node: str) -> None:
    """Start it again and wait until it is there, in whatever hurry: a node that does not come back has to be told."""
    guarding.release(stage, f"down-{node}")
    until = time.monotonic() + 60
    while not _ready(stage.lab, node):
        if time.monotonic() > until:
            raise Retryable(f"{node} is not ready a minute after it was started again; see `loomidi-lab status`")
        time.sleep(0.5)


def _ready(lab: Lab, node: str) -> bool:
    """Its condition alone may be from before: the kubelet has to answer too."""
    conditions = lab.api.get(f"/api/v1/nodes/{node}")["status"]["conditions"]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and lab.kubelet_answers(node)


def _freeze(lab: Lab, node: str, state: str) -> None:
    """Stop or go on with all processes of a node's pods (version 1: one group holds those below it)."""
    group = _FREEZER / lab.place.cgroup / node / "freezer.state"
    if group.is_file():
        group.write_text(state)


def main(way: str, lab_name: str, node: str) -> None:
    """Power off or on. Every part can be done twice."""
    lab = Lab.open(lab_name)
    if way == "down":
        lab.run(lab.control_netns, "ip", "link", "set", node, "down")
        for part in _PARTS:
            lab.launcher.stop(f"{node}-{part}", number=signal.SIGKILL)
        _freeze(lab, node, "FROZEN")
        return
    _freeze(lab, node, "THAWED")
    lab.run(lab.control_netns, "ip", "link", "set", node, "up")
    lab.start_node(node, "containerd")
    lab.start_node(node, "proxy", "kubelet")


if __name__ == "__main__":
    main(*sys.argv[1:4])
