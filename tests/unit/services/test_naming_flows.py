"""Flows wait until the watch could tell of a fresh pod, no longer, and come out in order with what they came with."""

import pyarrow as pa

from loomidi.garden.graph.naming import Row
from loomidi.services.naming_flows import NamingFlows, NamingSettings
from tests.unit.garden.test_labelling import CART, OTHER, flows, pod

SECOND = 10**9


def held(*, hold_s: float = 1.5, most_rows: int = 100) -> NamingFlows:
    return NamingFlows(NamingSettings(hold_s=hold_s, most_rows=most_rows))


def names(taken: list[tuple[pa.RecordBatch, object]]) -> list[str | None]:
    return [name for batch, _ in taken for name in batch.column("source_entity").to_pylist()]


def test_a_flow_of_a_fresh_pod_is_named_by_what_the_watch_tells_a_moment_later() -> None:
    naming = held()
    naming.put(flows((CART, OTHER, 10 * SECOND)), 10 * SECOND)
    assert naming.take(11 * SECOND) == []
    naming.book.add(pod("fresh", from_ns=9 * SECOND))
    assert names(naming.take(round(11.5 * SECOND))) == ["pod/shop/fresh"]
    assert naming.waiting == 0


def test_what_ended_long_ago_does_not_wait() -> None:
    naming = held()
    naming.put(flows((CART, OTHER, 10 * SECOND)), 20 * SECOND)
    assert len(naming.take(20 * SECOND)) == 1


def test_a_clock_that_is_ahead_holds_nothing_for_ever() -> None:
    naming = held()
    naming.put(flows((CART, OTHER, 10**6 * SECOND)), 20 * SECOND)
    assert len(naming.take(22 * SECOND)) == 1


def test_batches_come_out_in_order_with_their_tags() -> None:
    naming = held()
    for number in range(3):
        naming.put(flows((CART, OTHER, number * SECOND)), number * SECOND, number)
    assert [tag for _, tag in naming.take(100 * SECOND)] == [0, 1, 2]


def test_too_many_rows_go_before_their_time_and_are_counted() -> None:
    naming = held(most_rows=2)
    for _ in range(3):
        naming.put(flows((CART, OTHER, 10 * SECOND)), 10 * SECOND)
    assert len(naming.take(10 * SECOND)) == 1
    assert naming.counts["rows released early"] == 1


def test_at_the_end_everything_comes() -> None:
    naming = held()
    naming.put(flows((CART, OTHER, 10 * SECOND)), 10 * SECOND)
    assert naming.due_ns() == round(11.5 * SECOND)
    assert len(naming.take(10 * SECOND, everything=True)) == 1
    assert naming.due_ns() is None


def test_owners_of_long_ago_are_forgotten() -> None:
    naming = held()
    naming.book.add(Row(CART, "Pod", "shop", "old", uid="u", from_ns=1, to_ns=2))
    assert naming.tidy(10**6 * 86400 * SECOND) == 1
