"""Step `exec`: a command or script in a pod, ended by its own deadline whatever becomes of the runner.

As the first step of an act it is started early and waits inside the pod for the planned moment, so that the start is
exact to milliseconds although starting a process through the API takes a tenth of a second or more.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import Retryable
from loomidi_lab.staging.records import EntityRef

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_SLACK_S = 40.0  # beyond the command's own deadline: waiting for its moment, and the API
_BY_DEADLINE = frozenset({124, 137, 143})  # how `timeout` tells that it had to end it
_STARTED = re.compile(r"^@started (\d+)$", re.MULTILINE)
# $1 moment to start at in ns (0: now), $2 seconds to live, $3 pid file, then the command
WRAPPER = """
echo $$ > "$3" 2>/dev/null
wait=$(( $1 - $(date +%s%N) ))
if [ "$1" -gt 0 ] && [ "$wait" -gt 0 ]; then
  trap 'kill -9 "$sleeper"; exit 143' TERM
  sleep "$((wait / 1000000000)).$(printf %09d $((wait % 1000000000)))" & sleeper=$!
  wait "$sleeper"; trap - TERM
fi
echo "@started $(date +%s%N)" >&2
live=$2; shift 3
exec timeout -k 2 "$live" "$@"
"""


def perform(stage: "Stage", arguments: Mapping[str, Any]) -> None:
    """Run it to its end, or beside the next steps when `background` is set."""
    entity = EntityRef.of(arguments["in"])
    pod = stage.lookup.a_pod(entity)
    begin_ns, stage.begin_ns = stage.begin_ns, 0
    if arguments.get("background"):
        stage.background(f"exec-{pod}", lambda: _run(stage, entity.namespace, pod, arguments, begin_ns))
        return
    _run(stage, entity.namespace, pod, arguments, begin_ns)


def _run(stage: "Stage", namespace: str, pod: str, arguments: Mapping[str, Any], begin_ns: int) -> None:
    if "undo" in arguments:
        stage.remember(
            do="exec", namespace=namespace, pod=pod, container=container_of(arguments), script=arguments["undo"]
        )
    deadline_s, container = float(arguments["deadline_s"]), container_of(arguments)
    pid_file = f"/tmp/.lab-{stage.runner}-{stage.number}-{abs(hash(str(arguments))) % 10**6}"  # noqa: S108 - in the pod
    stage.remember(do="kill_exec", namespace=namespace, pod=pod, container=container, pid_file=pid_file)
    argv = ["sh", "-c", WRAPPER, "sh", str(begin_ns), f"{deadline_s:g}", pid_file, *words(arguments)]
    done = stage.lab.exec(namespace, pod, *argv, container=container, timeout_s=deadline_s + _SLACK_S, check=False)
    started(stage, begin_ns, done.stderr or "")
    judge(stage, arguments, done.returncode, done.stdout or "", done.stderr or "")


def started(stage: "Stage", begin_ns: int, errors: str) -> None:
    """Take over when a command that had to wait for its moment really began."""
    if begin_ns and (found := _STARTED.search(errors)):
        stage.began_ns = int(found[1])


def container_of(arguments: Mapping[str, Any]) -> str:
    """Empty: the pod's first."""
    return str(arguments.get("container", ""))


def words(arguments: Mapping[str, Any]) -> list[str]:
    """The command, or a shell that runs the script."""
    if "script" in arguments:
        return ["sh", "-c", str(arguments["script"])]
    return [str(word) for word in arguments["command"]]


def judge(stage: "Stage", arguments: Mapping[str, Any], code: int, output: str, errors: str) -> None:
    """Keep what was printed. Raises Retryable for an exit code that was not expected."""
    errors = _STARTED.sub("", errors)
    stage.heard(output + errors)
    if stage.stopping.is_set():
        return
    expected = set(arguments.get("codes", [0])) | (_BY_DEADLINE if arguments.get("ends_by_deadline") else frozenset())
    if code not in expected:
        said = " ".join((errors or output).split())[-300:]
        name = arguments.get("program") or words(arguments)[0]
        raise Retryable(f"{name} ended with {code}: {said}")
