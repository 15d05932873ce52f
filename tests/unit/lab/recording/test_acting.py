"""Acts run at their times; cut off, each takes back what it did."""

import threading
import time
from collections.abc import Callable
from typing import Any

from loomidi.contracts.errors import Retryable
from loomidi_lab.recording.acting import Acts
from loomidi_lab.recording.planning import Item, Schedule, schedule
from loomidi_lab.staging.stages import RunEnded
from tests.unit.lab.recording.making import FakeCatalog, tiny


def planned(*, at_once: int = 1) -> Schedule:
    """All acts due at once."""
    found = schedule(tiny(scenarios=[{"category": "attack", "times": at_once}]), 7, FakeCatalog())
    items = tuple(Item(0.0, item.scenario, item.seed, item.duration_s, item.planned) for item in found.items)
    return Schedule(tiny(length_s=10, quiet=[]), 7, items)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_what_was_measured_stands_in_the_schedules_order() -> None:
    def run_one(item: Item, at: float, say: Any, ending: threading.Event) -> dict[str, Any]:
        return {"measured": {"valid": True, "seed": item.seed}}

    acts = Acts(planned(at_once=2), run_one, lambda text: None)
    acts.step(time.monotonic())
    until(lambda: len(acts.occurrences) == 2)
    assert [one["seed"] for one in acts.measured()] == [item.seed for item in acts.schedule.items]


def test_a_run_that_cannot_be_done_is_void_and_a_fault_of_ours_is_kept() -> None:
    def run_one(item: Item, at: float, say: Any, ending: threading.Event) -> dict[str, Any]:
        raise Retryable("the shop is gone") if item.seed == first else ZeroDivisionError("ours")

    found = planned(at_once=2)
    first = found.items[0].seed
    acts = Acts(found, run_one, lambda text: None)
    acts.step(time.monotonic())
    until(lambda: bool(acts.failures) and bool(acts.occurrences))
    assert acts.measured()[0]["void_because"] == "the shop is gone"
    assert acts.measured()[1]["void_because"] == "it was never run"
    assert str(acts.failures[0][1]) == "ours"


def test_cut_off_a_run_takes_back_what_it_did() -> None:
    began, undone = threading.Event(), threading.Event()

    def run_one(item: Item, at: float, say: Any, ending: threading.Event) -> dict[str, Any]:
        began.set()
        assert ending.wait(20)
        say("undoing")
        undone.set()
        raise RunEnded("the run was ended")

    acts = Acts(planned(), run_one, lambda text: None)
    acts.step(time.monotonic())
    until(began.is_set)
    assert acts.cut_off() == []
    assert undone.is_set()
    assert acts.measured()[0]["void_because"] == "the recording was ended"


def test_a_run_that_is_undoing_already_is_left_to_it() -> None:
    undoing, ended = threading.Event(), threading.Event()

    def run_one(item: Item, at: float, say: Any, ending: threading.Event) -> dict[str, Any]:
        say("undoing")
        undoing.set()
        assert ending.wait(20)
        ended.set()
        return {"measured": {"valid": True, "void_because": ""}}

    said: list[str] = []
    acts = Acts(planned(), run_one, said.append)
    acts.step(time.monotonic())
    until(undoing.is_set)
    assert acts.cut_off() == []
    assert ended.is_set()
    assert acts.measured()[0]["valid"]
    assert not [line for line in said if line.startswith("taking back")]
