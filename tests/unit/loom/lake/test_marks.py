"""What a table remembers of the bus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.contracts.errors import InputError
from loomidi.contracts.streams import Envelope
from loomidi.loom.lake import marks
from loomidi.loom.lake.marks import Marks


def envelope(seq: int, *, producer: str = "a", epoch: int = 1, created_ns: int = 0) -> Envelope:
    return Envelope("flows", producer, epoch, seq, 1, b"", created_ns=created_ns)


@given(st.lists(st.integers(0, 60), unique=True))
def test_it_holds_what_was_added_and_nothing_else_in_any_order(seqs: list[int]) -> None:
    kept = Marks()
    for seq in seqs:
        kept.add(envelope(seq), 2, 0)
    kept = Marks.of(kept.properties())
    assert [seq for seq in range(62) if kept.holds(envelope(seq))] == sorted(seqs)
    assert kept.holdings() == ({("a", 1): marks.Held(2 * len(seqs), len(seqs))} if seqs else {})


@given(st.lists(st.integers(0, 60), unique=True))
def test_neighbours_are_one_interval(seqs: list[int]) -> None:
    kept = Marks()
    for seq in seqs:
        kept.add(envelope(seq), 1, 0)
    starts = [seq for seq in seqs if seq - 1 not in seqs]
    assert sum(len(run.intervals) for run in kept.runs.values()) == len(starts)


def test_runs_of_a_producer_are_told_apart() -> None:
    kept = Marks()
    kept.add(envelope(5, epoch=10), 1, 0)
    assert not kept.holds(envelope(5, epoch=11))
    assert not kept.holds(envelope(5, producer="b", epoch=10))


def test_the_position_of_a_partition_only_grows() -> None:
    kept = Marks()
    for partition, offset in ((0, 5), (1, 2), (0, 3)):
        kept.passed(partition, offset)
    assert kept.position == {0: 5, 1: 2}


def test_a_silent_run_is_forgotten_and_what_it_still_sends_is_too_old_to_tell() -> None:
    kept = Marks()
    kept.add(envelope(0, epoch=10, created_ns=12), 1, now_ns=100)
    kept.add(envelope(0, producer="b", epoch=11, created_ns=13), 1, now_ns=900)
    assert kept.forget(500) == 1
    assert kept.too_old(envelope(1, epoch=10, created_ns=12))
    assert not kept.too_old(envelope(1, epoch=10, created_ns=13))
    assert not kept.too_old(envelope(0, producer="b", epoch=11, created_ns=1))


def test_too_many_gaps_give_up_the_oldest_and_say_how_many_ids() -> None:
    kept = Marks()
    given_up = [kept.add(envelope(3 * at), 1, 0) for at in range(marks.MOST_INTERVALS + 1)]
    assert sum(given_up) == 2
    assert kept.holds(envelope(1))
    assert not kept.holds(envelope(4))


@pytest.mark.parametrize(
    "broken", [{}, {marks.MARKS: "{", marks.POSITION: "{}"}, {marks.MARKS: "[]", marks.POSITION: "{}"}]
)
def test_marks_that_cannot_be_read_are_an_error_not_an_empty_table(broken: dict[str, str]) -> None:
    with pytest.raises(InputError, match="marks"):
        Marks.of(broken)
