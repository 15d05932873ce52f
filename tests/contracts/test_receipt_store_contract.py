"""What every receipt store must do: SQLite with fsync, and memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts import Step
from loomidi.contracts.ports import Line
from loomidi.ionic.act import MemoryReceipts, SqliteReceipts
from loomidi.ionic.errors import PlanHeld
from loomidi.kit.clock import ManualClock

Store = MemoryReceipts | SqliteReceipts
MAKERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryReceipts(clock=ManualClock(1000)),
    "sqlite": lambda folder: SqliteReceipts(folder / "receipts.sqlite", clock=ManualClock(1000)),
}


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = MAKERS[request.param](tmp_path)
    yield made
    made.close()


def test_a_receipt_comes_back_as_it_was_written(store: Store) -> None:
    written = store.append("plan-1", Step.INTENT, "driver", {"before": None}, {"why": ["x", 1, 2.5]})
    assert store.of("plan-1") == [written]
    assert (written.step, written.at_ns, written.driver) == (Step.INTENT, 1000, "driver")
    assert (written.inverse, written.detail) == ({"before": None}, {"why": ["x", 1, 2.5]})


def test_receipts_of_a_plan_come_oldest_first_and_alone(store: Store) -> None:
    for plan, step in (("a", Step.INTENT), ("b", Step.INTENT), ("a", Step.APPLIED), ("a", Step.UNDONE)):
        store.append(plan, step, "d", {}, {})
    assert [receipt.step for receipt in store.of("a")] == [Step.INTENT, Step.APPLIED, Step.UNDONE]
    assert store.of("nobody") == []


def test_each_receipt_names_the_one_before_it(store: Store) -> None:
    first, second = (store.append(plan, Step.INTENT, "d", {}, {}) for plan in ("a", "b"))
    assert second.previous == first.id
    check = store.verify_chain()
    assert (check.count, check.head, check.broken_at) == (2, second.id, None)


def test_an_empty_store_is_sound(store: Store) -> None:
    assert store.verify_chain().broken_at is None
    assert list(store.open_plans()) == []


@pytest.mark.parametrize(
    ("steps", "is_open"),
    [
        ((Step.INTENT,), True),
        ((Step.APPLIED,), True),
        ((Step.INTENT, Step.APPLIED, Step.VERIFIED), True),
        ((Step.INTENT, Step.FAILED), True),  # an undo that failed is tried again
        ((Step.INTENT, Step.APPLIED, Step.UNDONE), False),
        ((Step.APPLIED, Step.EXPIRED), False),
        ((Step.REFUSED,), False),
        ((Step.APPLIED, Step.REFUSED), True),  # a refused second try does not close the first
        ((Step.APPLIED, Step.UNDONE, Step.VERIFIED), False),
    ],
)
def test_a_plan_is_open_from_its_beginning_to_its_end(store: Store, steps: tuple[Step, ...], is_open: bool) -> None:
    for step in steps:
        store.append("plan-1", step, "d", {}, {})
    assert list(store.open_plans()) == (["plan-1"] if is_open else [])


def test_open_plans_come_oldest_first(store: Store) -> None:
    for plan in ("c", "a", "b"):
        store.append(plan, Step.INTENT, "d", {}, {})
    assert list(store.open_plans()) == ["c", "a", "b"]


def test_a_plan_has_one_lease(store: Store) -> None:
    store.append("plan-1", Step.INTENT, "d", {}, {})
    with pytest.raises(PlanHeld, match="plan-1"):
        store.append("plan-1", Step.INTENT, "d", {}, {})
    assert len(store.of("plan-1")) == 1
    assert store.verify_chain().broken_at is None


def test_what_is_handed_in_and_changed_afterwards_does_not_change_the_record(store: Store) -> None:
    detail = {"deep": {"value": 1}}
    store.append("plan-1", Step.INTENT, "d", {}, detail)
    detail["deep"]["value"] = 2
    assert store.of("plan-1")[0].detail == {"deep": {"value": 1}}


def test_the_chain_can_be_held_against_a_noted_head(store: Store) -> None:
    head = store.append("a", Step.INTENT, "d", {}, {}).id
    store.append("b", Step.INTENT, "d", {}, {})
    assert store.verify_chain(head).broken_at is None
    assert "cut off" in store.verify_chain("receipt-later").why


def test_many_are_written_whole_or_not_at_all(store: Store) -> None:
    store.append("b", Step.INTENT, "d", {}, {})
    with pytest.raises(PlanHeld):
        store.append_all([Line(plan, Step.INTENT, "d", {}, {}) for plan in ("a", "b")])
    assert store.of("a") == []
    written = store.append_all([Line(plan, Step.INTENT, "d", {}, {"n": 1.5}) for plan in ("c", "d")])
    assert [*store.of("c"), *store.of("d")] == written
    assert store.verify_chain().count == 3


def test_a_plan_that_is_over_takes_no_line_where_its_end_stays(store: Store) -> None:
    for step in (Step.INTENT, Step.UNDONE):
        store.append("a", step, "d", {}, {})
    lines = [Line(plan, Step.EXPIRED, "d", {}, {}) for plan in ("a", "b")]
    first, second = store.append_all(lines, ended_stays=True)
    assert first is None
    assert second is not None
    assert [receipt.step for receipt in store.of("a")] == [Step.INTENT, Step.UNDONE]
