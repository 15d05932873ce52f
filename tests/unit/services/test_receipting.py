"""The thread that writes: in order, after the loop, and never in its way."""

import threading

from loomidi.services.fast.receipting import Writer


def test_jobs_are_done_in_the_order_they_came() -> None:
    writer, done = Writer(), []
    for number in range(100):
        writer.put(done.append, number)
    writer.close()
    assert done == list(range(100))


def test_putting_never_waits_for_the_disk() -> None:
    writer, disk = Writer(), threading.Event()
    writer.put(disk.wait)
    for _ in range(1000):
        writer.put(lambda: None)
    assert writer.done == 0
    disk.set()
    writer.flush()
    assert writer.done >= 1001
    writer.close()


def test_a_job_that_fails_is_counted_and_the_next_is_done() -> None:
    writer, done = Writer(), []
    writer.put(lambda: 1 / 0)
    writer.put(done.append, "next")
    writer.close()
    assert (done, writer.failed) == (["next"], 1)
    assert "ZeroDivisionError" in writer.last_error
