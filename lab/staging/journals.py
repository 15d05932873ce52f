"""How what a run did is taken back, also when the run is killed: inverses are on disk before their effect.

Called by `stages` (which remembers) and `sweeping` (which finds what a dead run left). In: inverses as plain data.
Out: the lab as it was. Each inverse can be carried out twice: what has gone already is not a fault.
"""

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.staging.targets import missing

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

Inverse = Mapping[str, Any]
KILL = """[ -e {file} ] || exit 0
if kill $(cat {file}) 2>/dev/null; then
  for turn in 1 2 3 4 5; do sleep 0.1; kill -0 $(cat {file}) 2>/dev/null || break; done
  kill -9 -$(cat {file}) $(cat {file}) 2>/dev/null
fi
rm -f {file}"""
_KEPT_ANNOTATIONS = "deployment.kubernetes.io/"  # the controller's own bookkeeping
_NOT_OURS = frozenset({"apiVersion", "kind", "metadata", "status"})


def runner_id() -> str:
    """This process, so that another one can tell whether it still lives; valid as a label's value."""
    return process_id(os.getpid())


def process_id(pid: int) -> str:
    """Number and start time: another process that gets the number later is not meant."""
    return f"{pid}.{_started(pid)}"


def lives(runner: str) -> bool:
    """Whether the process of that id is still the same one."""
    pid, _, started = runner.partition(".")
    return pid.isdigit() and _started(int(pid)) == started != ""


def _started(pid: int) -> str:
    """Start time of a process in ticks since boot; empty when there is none (or only its corpse)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Journal:
    """One file a run: a heading (who, which scenario, which seed), then an inverse a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, folder: Path, heading: Mapping[str, Any]) -> "Journal":
        """A fresh one. `heading` holds scenario, seed and runner."""
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls(folder / f"{heading['scenario']}-{heading['runner']}-{heading['number']}.jsonl")
        journal._append(heading)
        return journal

    def remember(self, inverse: Inverse) -> None:
        """On disk when it returns."""
        self._append(inverse)

    def read(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Heading and inverses; a last line that was cut off by a kill has had no effect yet."""
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return (lines[0], lines[1:]) if lines else ({}, [])

    def close(self) -> None:
        """All is taken back."""
        self.path.unlink(missing_ok=True)

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def take_back(lab: "Lab", inverse: Inverse) -> None:
    """Carry out one inverse. Raises LoomidiError when the lab refuses."""
    try:
        _INVERSES[inverse["do"]](lab, inverse)
    except LoomidiError as error:
        if not missing(error):
            raise


def restoring(path: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of a change to an object that is there: its own fields, labels and annotations as they are now."""
    metadata = before.get("metadata", {})
    return {
        "do": "restore",
        "path": path,
        "fields": {name: value for name, value in before.items() if name not in _NOT_OURS},
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
    }


def _delete(lab: "Lab", inverse: Inverse) -> None:
    params = {"gracePeriodSeconds": "0"} if "/pods/" in inverse["path"] else {"propagationPolicy": "Background"}
    lab.api.delete(inverse["path"], **params)


def _restore(lab: "Lab", inverse: Inverse) -> None:
    """By replacing: a merge could not remove what was added. Tried again when somebody writes in between."""
    for attempt in range(5):
        now = dict(lab.api.get(inverse["path"]))
        for name in [name for name in now if name not in _NOT_OURS and name not in inverse["fields"]]:
            del now[name]
        now.update(inverse["fields"])
        _restore_metadata(now["metadata"], inverse)
        try:
            lab.api.put(inverse["path"], now)
            return
        except LoomidiError as error:
            if getattr(error, "status", None) != 409 or attempt == 4:
                raise


def _restore_metadata(metadata: dict[str, Any], inverse: Inverse) -> None:
    theirs = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if key.startswith(_KEPT_ANNOTATIONS)
    }
    metadata["annotations"] = {**(inverse["annotations"] or {}), **theirs}
    metadata["labels"] = inverse["labels"] or {}


def _kill_exec(lab: "Lab", inverse: Inverse) -> None:
    """End what was started in a pod, with what it started; soon also what does not listen (`timeout` leads a group)."""
    script = KILL.format(file=inverse["pid_file"])
    lab.exec(
        inverse["namespace"],
        inverse["pod"],
        "sh",
        "-c",
        script,
        container=inverse["container"],
        timeout_s=20,
        check=False,
    )


def _kill(_lab: "Lab", inverse: Inverse) -> None:
    if lives(inverse["process"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(inverse["process"].partition(".")[0]), signal.SIGTERM)


def _scale(lab: "Lab", inverse: Inverse) -> None:
    lab.api.patch(inverse["path"], {"spec": {"replicas": inverse["replicas"]}}, kind="merge")


def _recreate(lab: "Lab", inverse: Inverse) -> None:
    """Make a deleted object again, without what belonged to its old life."""
    made = {name: value for name, value in inverse["object"].items() if name != "status"}
    old = made["metadata"]
    made["metadata"] = {name: old[name] for name in ("name", "namespace", "labels", "annotations") if name in old}
    if not lab.api.exists(inverse["path"]):
        lab.api.post(inverse["path"].rpartition("/")[0], made)


def _exec(lab: "Lab", inverse: Inverse) -> None:
    """A scenario's own shell line in a pod that is there still."""
    words = ("sh", "-c", inverse["script"])
    lab.exec(inverse["namespace"], inverse["pod"], *words, container=inverse["container"], timeout_s=30, check=False)


def _run(lab: "Lab", inverse: Inverse) -> None:
    """A command of the host in a namespace; that there is nothing left to undo is no fault."""
    lab.run(inverse["netns"], *inverse["argv"], timeout_s=30, check=False)


_INVERSES = {
    "delete": _delete,
    "exec": _exec,
    "kill": _kill,
    "kill_exec": _kill_exec,
    "recreate": _recreate,
    "restore": _restore,
    "run": _run,
    "scale": _scale,
}
