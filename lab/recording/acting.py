"""Runs a schedule's scenarios at their times, several at once, and ends them all when asked.

Called by the recorder. In: a schedule, a function that runs one scenario. Out: occurrences by place in the schedule.
A run is asked to end by an event; it takes back what it did before its thread ends. Leaves the rest to `staging`.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.recording.planning import Item, Schedule
from loomidi_lab.staging.stages import RunEnded

UNDO_S = 120.0
OVERTIME_S = 300.0  # after the schedule's end, for acts that are still being undone
_POLL_S = 0.2

Say = Callable[[str], object]


class RunOne(Protocol):
    """Runs one item; `loomidi_lab.staging.run` behind it."""

    def __call__(self, item: Item, at: float, say: Say, ending: threading.Event, /) -> Mapping[str, Any]:
        """The occurrence as a dict. `at`: planned start of the act on `time.monotonic`. Raises RunEnded on `ending`."""


@dataclasses.dataclass(slots=True)
class _Running:
    thread: threading.Thread
    undoing: bool = False

    @property
    def acts(self) -> bool:
        """Whether it goes on and has not begun to take back."""
        return self.thread.is_alive() and not self.undoing


class Acts:
    """The runs of one schedule."""

    def __init__(self, schedule: Schedule, run_one: RunOne, progress: Say) -> None:
        self.schedule, self.occurrences = schedule, dict[int, dict[str, Any]]()
        self.failures: list[tuple[str, BaseException]] = []
        self._run_one, self._progress = run_one, progress
        self._ending = threading.Event()
        self._running: dict[int, _Running] = {}
        self._begun: set[int] = set()

    def step(self, origin: float) -> bool:
        """Begin what is due. `origin`: the schedule's 0 on `time.monotonic`. False: everything is over."""
        now = time.monotonic() - origin
        for number, item in enumerate(self.schedule.items):
            if number not in self._begun and now >= item.offset_s - self.schedule.plan.before_s:
                self._begun.add(number)
                self._begin(number, item, origin)
        alive = any(running.thread.is_alive() for running in self._running.values())
        return alive or len(self._begun) < len(self.schedule.items) or now < self.schedule.plan.length_s

    def late(self, origin: float) -> bool:
        """Whether runs go on long after the schedule's end."""
        return time.monotonic() - origin > self.schedule.plan.length_s + OVERTIME_S

    def cut_off(self) -> list[str]:
        """End all runs now; each takes back what it did. Gives the names of those that did not in time."""
        self._ending.set()
        for number, running in self._running.items():
            if running.acts:
                self._progress(f"taking back {self.schedule.items[number].scenario}")
        until = time.monotonic() + UNDO_S
        for running in self._running.values():
            while running.thread.is_alive() and time.monotonic() < until:
                running.thread.join(_POLL_S)
        return [self.schedule.items[n].scenario for n, running in self._running.items() if running.thread.is_alive()]

    def measured(self) -> list[dict[str, Any]]:
        """The measured half of the truth, in the schedule's order."""
        never = {"valid": False, "void_because": "it was never run", "symptoms": []}
        found = [self.occurrences.get(number, {}).get("measured", never) for number in range(len(self.schedule.items))]
        return [{"scenario": item.scenario} | dict(one) for item, one in zip(self.schedule.items, found, strict=True)]

    def _begin(self, number: int, item: Item, origin: float) -> None:
        def work() -> None:
            try:
                self.occurrences[number] = dict(self._run_one(item, origin + item.offset_s, said, self._ending))
                self._tell(number)
            except RunEnded:
                self.occurrences[number] = {"measured": _void("the recording was ended")}
            except LoomidiError as error:
                self.occurrences[number] = {"measured": _void(str(error))}
                self._tell(number)
            except BaseException as error:  # noqa: BLE001 - a fault of ours ends the recording, in the main thread
                self.failures.append((item.scenario, error))

        def said(text: str) -> None:
            running.undoing = running.undoing or text == "undoing"
            self._progress(f"{item.scenario}: {text}")

        running = _Running(threading.Thread(target=work, name="act", daemon=True))
        self._running[number] = running
        running.thread.start()

    def _tell(self, number: int) -> None:
        measured = self.occurrences[number]["measured"]
        outcome = "confirmed" if measured["valid"] else f"void: {measured['void_because']}"
        self._progress(f"{self.schedule.items[number].scenario}: {outcome}")


def _void(because: str) -> dict[str, Any]:
    return {"valid": False, "void_because": because, "symptoms": []}
