"""Up to when all has come."""

import json

from loomidi.loom.windows import Watermarks, WindowSettings

SECOND = 10**9
T = 10**18


def marks() -> Watermarks:
    return Watermarks.of(WindowSettings(lateness_s=5, idle_s=30))


def test_the_slowest_exporter_holds_the_others_back() -> None:
    found = marks()
    found.heard("a", T, T)
    found.heard("b", T - 3 * SECOND, T)
    assert found.advanced() == T - 8 * SECOND


def test_an_exporter_that_is_silent_for_long_does_not() -> None:
    found = marks()
    found.heard("b", T, T)
    found.heard("a", T + 31 * SECOND, T + 31 * SECOND)
    assert found.advanced() == T + 26 * SECOND


def test_it_never_goes_back() -> None:
    found = marks()
    found.heard("a", T, T)
    found.advanced()
    found.heard("b", T - 60 * SECOND, T)
    assert found.advanced() == T - 5 * SECOND


def test_a_clock_that_is_ahead_closes_nothing_before_its_time() -> None:
    found = marks()
    found.heard("a", T + 3600 * SECOND, T)
    assert found.advanced() == T - 5 * SECOND


def test_while_nothing_comes_event_time_goes_on_as_the_clock_does() -> None:
    found = marks()
    found.heard("a", T, T + SECOND)
    assert found.advanced(silent_ns=29 * SECOND) == T - 5 * SECOND
    assert found.advanced(silent_ns=40 * SECOND) == T + 35 * SECOND


def test_before_anything_came_there_is_none() -> None:
    assert marks().advanced(silent_ns=10**18) is None


def test_it_is_the_same_after_a_checkpoint() -> None:
    found, again = marks(), marks()
    found.heard("a", T, T)
    found.advanced()
    again.restore(json.loads(json.dumps(found.to_dict())))
    assert again == found
