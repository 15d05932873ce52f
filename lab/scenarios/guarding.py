"""Faults that live in the kernel of a node rather than in the API: each is held by a process that ends it itself.

Called by `act.py` of scenarios. In: shell commands that begin and end the fault. Out: a running guard. It ends the
fault when it is told to (SIGTERM, as the journal of a run that was killed does) and when its time is over.
"""

import shlex
import time
from typing import TYPE_CHECKING

from loomidi.contracts.errors import Retryable
from loomidi_lab.cluster import processes
from loomidi_lab.staging.journals import process_id

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

GRACE_S = 60.0  # beyond the planned time, for symptoms that are judged after the act
_BEGIN_S = 30.0
_END_S = 60.0
READY = "guard: the fault is on"
_SCRIPT = """
finish() {{ trap '' TERM INT
kill -9 "$sleeper" 2>/dev/null # a shell that was just forked for it would lose a milder signal with its traps
{end}
echo 'guard: the fault is off'; exit 0; }}
trap finish TERM INT
set -e
{begin}
set +e
sleep {seconds:g} & sleeper=$! # before the word is out: whoever hears it may end us at once, and the sleep with us
echo '{ready}'
wait "$sleeper"
finish
"""


def guard(stage: "Stage", what: str, begin: str, end: str, *, seconds: float, netns: str = "") -> None:
    """Begin a fault, leave a process that will end it, and tell the run that the act has begun."""
    label = label_of(stage, what)
    lab = stage.lab
    words = [*lab.enter(netns), "sh", "-c", script(begin, end, seconds + GRACE_S)]
    pid = lab.launcher.daemon(label, words)  # nobody waits for it: it ends the fault also when we are gone
    stage.remember(do="kill", process=process_id(pid))
    log = lab.folder / "logs" / f"{label}.log"

    def on() -> bool:
        said = log.read_text(errors="replace") if log.is_file() else ""
        if not processes.alive(pid):
            raise Retryable(f"the fault could not be made: {' '.join(said.split())[-300:]}")
        return READY in said

    stage.until(on, _BEGIN_S, f"{what} to begin")
    stage.began_ns = stage.began_ns or time.time_ns()


def script(begin: str, end: str, seconds: float) -> str:
    """What the guard runs."""
    return _SCRIPT.format(begin=begin, end=end, ready=READY, seconds=seconds)


def release(stage: "Stage", what: str) -> None:
    """End a fault now and wait until it is over; nothing to do when it is over already."""
    stage.lab.launcher.stop(label_of(stage, what), timeout_s=_END_S)


def label_of(stage: "Stage", what: str) -> str:
    """Under which the guard runs and logs."""
    return f"guard-{stage.runner}-{stage.number}-{what}"


def quoted(*words: object) -> str:
    """Words as a shell command."""
    return shlex.join(str(word) for word in words)
