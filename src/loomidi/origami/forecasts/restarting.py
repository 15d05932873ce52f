"""Containers that are started again and again, with pauses that grow: a crash loop, whatever the age of its release.

Called beside `online.failures` by whoever looks at a cluster. In: the same `ClusterState`. Out: `Finding`s of pattern
`restart_loop`, one for each container, the same id while it lasts. `online.failures` tells of new releases that do not
come up (`crash_loop`, answered by a rollback); this one tells of what had run, and when it will be tried next.
"""

import dataclasses
import datetime as dt
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id
from loomidi.origami.online import ClusterState

SOURCE = "origami.forecasts.restarting"
Object = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class RestartSettings:
    """What is a loop."""

    starts: int = 3
    # Ends that must have been seen: two may be a rollout and a probe.
    grows: float = 1.3
    # Pause by the pause before, on average: the kubelet doubles from 10 s; an even beat is somebody's schedule.
    most_s: float = 330.0
    # The kubelet's longest pause and some; at it a loop has ceased to grow and is one none the less.
    brief_s: float = 600.0
    # A container that ran for longer has recovered: the kubelet forgets then as well.
    containers: int = 4096
    # Remembered, those seen last.
    kept: int = 8
    # Ends of each.


@dataclasses.dataclass(slots=True)
class _Ends:
    """What is known of one container."""

    count: int  # of restarts, as the kubelet has it
    pauses: list[float]  # s from an end to the next start, newest last
    ran: list[float]  # s
    since_ns: int  # of the first end of this loop
    ended_s: float  # when it ended last


class Restarts:
    """Remembers the ends of containers."""

    def __init__(self, settings: RestartSettings | None = None) -> None:
        self.settings = settings or RestartSettings()
        self._ends: OrderedDict[tuple[str, str, str], _Ends] = OrderedDict()

    def look(self, state: ClusterState) -> list[Finding]:
        """All containers that are in a loop now."""
        told = []
        for pod in state.pods:
            for status in pod.get("status", {}).get("containerStatuses") or ():
                key = (str(pod["metadata"].get("uid", "")), str(pod["metadata"]["name"]), str(status.get("name", "")))
                ends = self._seen(key, status, state.at_ns)
                if ends is not None and self._loops(ends, status, state.at_ns):
                    told.append(self._finding(pod, status, ends, state.at_ns))
        return told

    def _seen(self, key: tuple[str, str, str], status: Object, at_ns: int) -> _Ends | None:
        """Its ends, with a new one if there is one. None: it never ended."""
        count, last = int(status.get("restartCount", 0)), _terminated(status)
        ends = self._ends.get(key)
        if last is None:
            return ends
        begun, ended = _seconds(last["startedAt"]), _seconds(last["finishedAt"])
        if ends is None:
            ends = self._ends[key] = _Ends(count, [], [ended - begun], round(ended * 1e9), ended)
        elif ended > ends.ended_s:
            self._another(ends, begun, ended)
            ends.count = count
        self._ends.move_to_end(key)
        if len(self._ends) > self.settings.containers:
            self._ends.popitem(last=False)
        return ends

    def _another(self, ends: _Ends, begun: float, ended: float) -> None:
        if ended - begun > self.settings.brief_s:
            ends.pauses, ends.ran, ends.since_ns = [], [], round(ended * 1e9)
        else:
            ends.pauses = [*ends.pauses, begun - ends.ended_s][-self.settings.kept :]
        ends.ran = [*ends.ran, ended - begun][-self.settings.kept :]
        ends.ended_s = ended

    def _loops(self, ends: _Ends, status: Object, at_ns: int) -> bool:
        """Enough brief runs, and pauses that grow or have grown to the end."""
        s, running = self.settings, (status.get("state", {}).get("running") or {}).get("startedAt")
        if running and at_ns / 1e9 - _seconds(running) > s.brief_s:
            return False
        if len(ends.ran) < s.starts or len(ends.pauses) < s.starts - 1:
            return False
        return growth(ends.pauses) >= s.grows or ends.pauses[-1] >= s.most_s * 0.8

    def _finding(self, pod: Object, status: Object, ends: _Ends, at_ns: int) -> Finding:
        space, name = str(pod["metadata"].get("namespace", "default")), str(pod["metadata"]["name"])
        pause = min(ends.pauses[-1] * max(growth(ends.pauses), 1.0), self.settings.most_s)
        again = max(0.0, ends.ended_s + pause - at_ns / 1e9)
        evidence = (
            Evidence("restarts", ends.count, self.settings.starts, "", f"of container {status.get('name', '')}"),
            Evidence(
                "pause_growth", round(growth(ends.pauses), 2), self.settings.grows, "1", "pause by the one before"
            ),
            Evidence("last_pause", round(ends.pauses[-1], 1), None, "s", "between its end and the next start"),
            Evidence("ran", round(ends.ran[-1], 1), self.settings.brief_s, "s", "until it ended the last time"),
            Evidence("next_start", round(again, 1), None, "s", "from now, if pauses go on to grow"),
        )
        key = [str(pod["metadata"].get("uid", name)), str(status.get("name", "")), ends.since_ns]
        return Finding(
            id=content_id("finding", ["restart_loop", *key]),
            pattern="restart_loop",
            techniques=(),
            severity=Severity.HIGH,
            confidence=0.9,
            entities=(f"pod/{space}/{name}", *_owners(space, pod)),
            first_ns=ends.since_ns,
            last_ns=at_ns,
            evidence=evidence,
            source=SOURCE,
        )


def growth(pauses: list[float]) -> float:
    """By what factor each pause is longer than the one before, as a geometric mean; 1 for fewer than two."""
    if len(pauses) < 2:
        return 1.0
    first, last = max(pauses[0], 1.0), max(pauses[-1], 1.0)
    return float((last / first) ** (1 / (len(pauses) - 1)))


def _terminated(status: Object) -> Object | None:
    for state in ("state", "lastState"):
        found = (status.get(state) or {}).get("terminated")
        if found and found.get("finishedAt") and found.get("startedAt"):
            return dict(found)
    return None


def _owners(space: str, pod: Object) -> Iterator[str]:
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            yield f"{str(owner.get('kind', '')).lower()}/{space}/{owner.get('name', '')}"


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
