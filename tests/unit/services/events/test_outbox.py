"""The queue keeps what it took, in order, and counts what became of everything."""

import random
from collections import Counter
from pathlib import Path

import pytest

from loomidi.contracts import InputError
from loomidi.loom.sinks import Letter
from loomidi.services.events.outbox import Outbox


def letters(*numbers: int) -> list[Letter]:
    return [Letter(f"event-{number}", "finding", b'{"n":%d}' % number, number) for number in numbers]


def waiting(outbox: Outbox, sink: str = "file") -> list[str]:
    return [one.letter.id for one in outbox.head(sink, 1000)]


def test_what_was_queued_is_there_in_order_after_a_crash(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "events.sqlite")
    assert outbox.offer("file", letters(3, 1, 2)) == 3
    again = Outbox(tmp_path / "events.sqlite")  # the first one is never closed
    assert waiting(again) == ["event-3", "event-1", "event-2"]
    assert again.head("file", 1)[0].letter == letters(3)[0]


def test_an_id_that_waits_is_not_queued_twice(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "events.sqlite")
    offers = [("file", letters(1, 1)), ("file", letters(1)), ("nats", letters(1))]
    assert [outbox.offer(*one) for one in offers] == [1, 0, 1]
    assert outbox.counts()["file", "duplicate", ""] == 2


def test_a_full_queue_drops_what_comes_and_counts_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "events.sqlite", most_waiting=2)
    assert outbox.offer("file", letters(1, 2, 3, 4)) == 2
    assert waiting(outbox) == ["event-1", "event-2"]
    assert outbox.counts() == {("file", "dropped", "queue_full"): 2, ("file", "queued", ""): 2}


def test_a_dead_letter_is_listed_with_its_reason_and_goes_to_the_end_when_sent_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "events.sqlite")
    outbox.offer("file", letters(1, 2))
    outbox.bury("file", [outbox.head("file", 1)[0].position], "http_400")
    (dead,) = outbox.dead()
    assert (dead.letter.id, dead.reason, dead.tries) == ("event-1", "http_400", 1)
    assert [outbox.resend([dead.position], "nats"), outbox.resend([dead.position])] == [0, 1]
    assert waiting(outbox) == ["event-2", "event-1"]
    assert outbox.dead() == []


def test_too_many_dead_letters_forget_the_oldest_and_count_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "events.sqlite", most_dead=2)
    outbox.offer("file", letters(1, 2, 3))
    outbox.bury("file", [one.position for one in outbox.head("file", 3)], "http_400")
    assert [one.letter.id for one in outbox.dead()] == ["event-2", "event-3"]
    assert outbox.counts()["file", "forgotten", "dead_full"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_counts_add_up_whatever_happens(tmp_path: Path, seed: int) -> None:
    chance, outbox = random.Random(seed), Outbox(tmp_path / "events.sqlite", most_waiting=20, most_dead=5)
    for step in range(300):
        head = [one.position for one in outbox.head("file", chance.randint(1, 4))]
        does = chance.choice(("offer", "offer", "sent", "tried", "bury", "resend"))
        if does == "offer":
            outbox.offer("file", letters(*(step * 10 + one for one in range(chance.randint(0, 5)))))
        elif does == "resend":
            outbox.resend([one.position for one in outbox.dead()][:2])
        elif does == "sent":
            outbox.sent("file", head)
        else:
            getattr(outbox, does)("file", head, "away")
    told = Counter[str]()
    for (_, what, _reason), value in outbox.counts().items():
        told[what] += value
    there, _, dead = outbox.standing()["file"]
    assert told["queued"] + told["resent"] == told["sent"] + told["dead"] + there
    assert told["dead"] == dead + told["resent"] + told["forgotten"]


def test_a_file_that_is_no_queue_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_text("something else, long enough to be looked at by SQLite" * 20)
    with pytest.raises(InputError, match="move it away"):
        Outbox(tmp_path / "events.sqlite")
