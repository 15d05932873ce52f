"""Step `outside`: a command, or a Python program of the scenario's folder, in a network namespace of the lab.

For what comes from beyond the cluster (`at: outside`, the default), from the host's end of the lab's network (`host`),
the control plane (`control`) or a node (`node: n1`). Ends by its own deadline; killed by the undo.
"""

import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError, Retryable
from loomidi_lab.staging import tools
from loomidi_lab.staging.journals import process_id
from loomidi_lab.staging.steps.execute import WRAPPER, judge, started

if TYPE_CHECKING:
    from subprocess import Popen

    from loomidi_lab.staging.stages import Stage

_SLACK_S = 10.0
_COUNT_LOCK = threading.Lock()
_counts: dict[int, int] = {}


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Run it to its end, or beside the next steps when `background` is set (after `ready_when` was printed)."""
    begin_ns, stage.begin_ns = stage.begin_ns, 0
    label = _label(stage)
    argv = [*tools.prefix(stage.lab, arguments), *_words(stage, arguments)]
    wrapped = ["sh", "-c", WRAPPER, "sh", str(begin_ns), f"{float(arguments['deadline_s']):g}", "/dev/null", *argv]
    netns = netns_of(stage, arguments)
    if "undo" in arguments:
        stage.remember(do="run", netns=netns, argv=[str(word) for word in arguments["undo"]])
    process = stage.lab.start(label, wrapped, netns=netns)
    stage.remember(do="kill", process=process_id(process.pid))

    def finish() -> None:
        _wait(stage, arguments, process)
        output = _output(stage, label)
        started(stage, begin_ns, output)
        judge(stage, arguments, process.returncode, "", output)

    if not arguments.get("background"):
        finish()
        return
    if "ready_when" in arguments:
        _await_words(stage, arguments, process, label)
    stage.background(label, finish)


def netns_of(stage: "Stage", arguments: Mapping[str, Any]) -> str:
    """Which network namespace is meant; empty: the host's own."""
    if "node" in arguments:
        for node in stage.lab.nodes:
            if node.name == arguments["node"]:
                return str(node.netns)
        raise InputError(f"there is no node {arguments['node']}")
    spaces = {"outside": stage.lab.outside_netns, "control": stage.lab.control_netns, "host": ""}
    return str(spaces[arguments.get("at", "outside")])


def _words(stage: "Stage", arguments: Mapping[str, Any]) -> list[str]:
    if "program" in arguments:
        program = [sys.executable, str(stage.payload(arguments["program"]))]
        return [*program, *(str(word) for word in arguments.get("arguments", []))]
    if "command" not in arguments:
        raise InputError("give `command` or `program`")
    return [str(word) for word in arguments["command"]]


def _label(stage: "Stage") -> str:
    with _COUNT_LOCK:
        _counts[stage.number] = _counts.get(stage.number, 0) + 1
        return f"stage-{stage.runner}-{stage.number}-{_counts[stage.number]}"


def _output(stage: "Stage", label: str) -> str:
    path = stage.lab.folder / "logs" / f"{label}.log"
    return path.read_text(errors="replace") if path.is_file() else ""


def _await_words(stage: "Stage", arguments: Mapping[str, Any], process: "Popen[bytes]", label: str) -> None:
    def said() -> bool:
        if process.poll() is not None:
            raise Retryable(f"it ended before it was ready: {' '.join(_output(stage, label).split())[-300:]}")
        return arguments["ready_when"] in _output(stage, label)

    stage.until(said, 20.0, f"{arguments['ready_when']!r} in its output")


def _wait(stage: "Stage", arguments: Mapping[str, Any], process: "Popen[bytes]") -> None:
    """Until it ends, its time is over, or everything ends."""
    deadline = time.monotonic() + float(arguments["deadline_s"]) + _SLACK_S
    while process.poll() is None:
        if stage.stopping.is_set() or time.monotonic() > deadline:
            process.terminate()
            process.wait(timeout=5)
            break
        time.sleep(0.05)
