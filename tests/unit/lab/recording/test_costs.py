"""The recorder's own figures, and that only its own threads are served first."""

import os
import threading

from loomidi_lab.recording.costs import Costs, served_first


def test_threads_started_inside_go_first_and_the_caller_stays_as_it_was() -> None:
    before, found = os.sched_getscheduler(0), list[int]()
    with served_first():
        allowed = os.sched_getscheduler(0)
        thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
    assert found == [allowed]  # real time where this process may, else as everybody
    assert os.sched_getscheduler(0) == before


def test_what_recording_costs_is_told_per_kind_of_thread() -> None:
    costs = Costs()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (sum(range(10_000_000)), done.wait(30)), name="rec-busy")
    thread.start()
    while costs.as_dict()["threads_cpu_s"].get("rec-busy", 0.0) == 0.0:
        pass
    done.set()
    thread.join()
    found = costs.as_dict()
    assert found["threads_cpu_s"]["rec-busy"] > 0  # also when the thread has ended
    assert found["cpu_s"] > 0
    assert found["memory_most_bytes"] > 1 << 20
