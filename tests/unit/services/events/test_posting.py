"""A worker sends in order, waits longer each time, buries what is refused, and never holds up another."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks, Retryable
from loomidi.loom.sinks import Away, Letter, MemorySink, Undeliverable
from loomidi.services.events.outbox import Outbox
from loomidi.services.events.posting import Posting
from loomidi.services.events.settings import EventSettings
from tests.unit.services.events.test_outbox import letters

SETTINGS = EventSettings(first_s=1.0, longest_s=8.0, give_up_s=100.0)


class Scene:
    """A queue, a sink that remembers, a clock that stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = 10**18
        self.outbox = Outbox(folder / "events.sqlite", now_ns=lambda: self.now_ns)
        self.sink = MemorySink(most=3)
        self.posting = Posting(self.outbox, self.sink, SETTINGS, now_ns=lambda: self.now_ns, chance=lambda: 1.0)

    def rounds(self, count: int) -> list[float]:
        return [self.posting.round() for _ in range(count)]

    def got(self) -> list[str]:
        return [one.id for one in self.sink.letters]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_letters_are_sent_in_order_and_then_gone(scene: Scene) -> None:
    scene.outbox.offer("memory", letters(1, 2, 3, 4))
    assert scene.rounds(3) == [0.0, 0.0, 1.0]
    assert scene.got() == ["event-1", "event-2", "event-3", "event-4"]
    assert scene.outbox.standing()["memory"] == (0, 0, 0)


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success(scene: Scene) -> None:
    scene.outbox.offer("memory", letters(1))
    scene.sink.faults = [Away("away", "gone") for _ in range(5)]
    assert scene.rounds(6) == [1.0, 2.0, 4.0, 8.0, 8.0, 0.0]
    assert scene.outbox.counts()["memory", "retried", "away"] == 5
    scene.outbox.offer("memory", letters(2))
    scene.sink.faults = [Away("away", "gone")]
    assert scene.rounds(1) == [1.0]


def test_pauses_are_shortened_by_chance_and_a_time_that_was_named_is_minded(scene: Scene) -> None:
    scene.outbox.offer("memory", letters(1))
    posting = Posting(scene.outbox, scene.sink, SETTINGS, now_ns=lambda: scene.now_ns, chance=lambda: 0.0)
    scene.sink.faults = [Away("away", "gone"), Away("http_429", "slowly", 33.0)]
    assert [posting.round(), posting.round()] == [0.5, 33.0]


def test_a_crash_after_sending_and_before_noting_it_sends_again_under_the_same_id(scene: Scene) -> None:
    scene.outbox.offer("memory", letters(1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scene.outbox, "sent", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scene.posting.round()
    Posting(scene.outbox, scene.sink, SETTINGS).round()
    assert scene.got() == ["event-1", "event-1"]
    assert scene.outbox.standing()["memory"] == (0, 0, 0)


def test_a_queue_that_cannot_be_used_for_a_while_ends_no_worker(scene: Scene) -> None:
    stop, tries = threading.Event(), [0]
    quick = EventSettings(first_s=0.001, longest_s=0.002)

    def failing(*_: object) -> list[object]:
        tries[0] += 1
        if tries[0] == 3:
            stop.set()
        raise Retryable("the disk is full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scene.outbox, "head", failing)
        Posting(scene.outbox, scene.sink, quick).run(stop)
    assert tries == [3]


def test_a_refused_letter_is_found_among_its_batch_and_the_others_go_on_in_order(scene: Scene) -> None:
    class Picky(MemorySink):
        def send(self, given: Sequence[Letter]) -> None:
            if "event-2" in [one.id for one in given]:
                raise Undeliverable("http_400", "no")
            super().send(given)

    scene.sink = Picky(most=3)
    scene.posting = Posting(scene.outbox, scene.sink, SETTINGS)
    scene.outbox.offer("memory", letters(1, 2, 3, 4, 5))
    scene.rounds(6)
    assert scene.got() == ["event-1", "event-3", "event-4", "event-5"]
    assert [(one.letter.id, one.reason) for one in scene.outbox.dead()] == [("event-2", "http_400")]


def test_what_is_too_old_is_given_up_and_what_is_younger_waits_on(scene: Scene) -> None:
    scene.outbox.offer("memory", letters(1))
    scene.now_ns += 101 * 10**9
    scene.outbox.offer("memory", letters(2))
    scene.sink.faults = [Away("away", "gone")]
    scene.rounds(1)
    assert [(one.letter.id, one.reason) for one in scene.outbox.dead()] == [("event-1", "gave_up_away")]
    assert [one.letter.id for one in scene.outbox.head("memory", 5)] == ["event-2"]


@pytest.mark.parametrize("fault", [EnvironmentLacks("no credentials"), ValueError("a bug")])
def test_a_fault_that_nobody_named_is_tried_again_and_counted(scene: Scene, fault: Exception) -> None:
    scene.outbox.offer("memory", letters(1))
    scene.sink.faults = [fault]
    assert scene.rounds(2) == [1.0, 0.0]
    assert scene.outbox.counts()["memory", "retried", "fault"] == 1
    assert scene.got() == ["event-1"]


def test_a_sink_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    release, arrived, stop = threading.Event(), threading.Event(), threading.Event()

    class Hanging(MemorySink):
        name = "hanging"

        def send(self, given: Sequence[Letter]) -> None:
            release.wait(60)

    class Quick(MemorySink):
        def send(self, given: Sequence[Letter]) -> None:
            super().send(given)
            arrived.set()

    outbox = Outbox(tmp_path / "events.sqlite")
    postings = [Posting(outbox, one, SETTINGS) for one in (Hanging(), Quick())]
    for one in postings:
        outbox.offer(one.sink.name, letters(1))
    threads = [threading.Thread(target=one.run, args=(stop,)) for one in postings]
    for thread in threads:
        thread.start()
    assert arrived.wait(60)
    stop.set(), release.set()
    for one in postings:
        one.wake()
    for thread in threads:
        thread.join(60)
