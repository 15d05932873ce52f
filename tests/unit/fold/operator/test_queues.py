"""Whose turn it is."""

from loomidi.fold.operator.queues import Queue


def test_what_is_due_goes_before_what_changed_after_it() -> None:
    queue = Queue()
    queue.later("its time is up", 0.0)
    queue.add("new")
    assert [queue.take(0.0), queue.take(0.0)] == ["its time is up", "new"]


def test_what_changes_again_keeps_its_place() -> None:
    queue = Queue()
    for key in ("first", "second", "first"):
        queue.add(key)
    assert [queue.take(0.0), queue.take(0.0), queue.take(0.0)] == ["first", "second", None]


def test_what_changed_is_not_put_off() -> None:
    queue = Queue()
    queue.add("changed")
    queue.later("changed", 60.0)
    assert queue.take(0.0) == "changed"


def test_what_failed_waits_though_it_changes() -> None:
    queue = Queue()
    queue.again("failed")
    queue.add("failed")
    assert queue.take(0.0) is None
