"""Thresholds of single sources and services: their own while their lease lasts, those of all afterwards."""

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.loom.capture.own_limits import Watched, key_of, watched_of
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.loom.capture.verdicts import Limits, Watch
from tests.unit.loom.capture.test_twin import START, udp

DNS = Watched("service", "192.0.2.1", 53, 17)
WATCH = Watch(window_s=1.0, source=Limits(), service=Limits(packets=10))


def told(twin: TwinShield, count: int, at_ns: int) -> list[int]:
    """The packets at which the service was told, of so many new flows."""
    for i in range(count):
        twin.process(udp(f"10.0.{at_ns % 251}.{i}"), at_ns + i)
    return [suspect.packets for suspect in twin.suspects(0)]


@pytest.mark.parametrize("watched", [DNS, Watched("source", "2001:db8::7"), Watched("service", "2001:db8::7", 443, 6)])
def test_a_key_is_read_back_as_it_was_written(watched: Watched) -> None:
    assert watched_of(key_of(watched)) == watched


@pytest.mark.parametrize(("own", "at"), [(4, [4]), (20, [20]), (0, [])])
def test_a_service_is_told_at_its_own_threshold(own: int, at: list[int]) -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin:
        twin.move_to(START)
        twin.limit(DNS, Limits(packets=own), 60)
        assert told(twin, 30, START) == at


def test_the_thresholds_of_all_hold_again_when_the_lease_is_over() -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin:
        twin.move_to(START)
        twin.limit(DNS, Limits(packets=4), 60, 7)
        assert told(twin, 30, START + 59 * 10**9) == [4]
        assert told(twin, 30, START + 61 * 10**9) == [10]
        assert [(own.watched, own.rule_id, own.live) for own in twin.own_limits()] == [(DNS, 7, False)]
        assert twin.sweep() == 1
        assert twin.own_limits() == []


def test_what_others_are_told_at_does_not_change() -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin:
        twin.move_to(START)
        twin.limit(Watched("service", "192.0.2.1", 5353, 17), Limits(packets=4), 60)
        assert told(twin, 30, START) == [10]
        assert twin.unlimit(DNS) is False
        assert twin.watching() == WATCH


def test_the_detectors_are_handed_what_is_in_force() -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin:
        twin.move_to(START)
        twin.limit(DNS, Limits(packets=4, syns=9, peers=30), 60)
        assert twin.attuned() == {
            "service/192.0.2.1:53/17": {"packets": 4, "octets": 0, "syns": 9, "ports": 0, "peers": 30, "window_s": 1.0}
        }
        twin.move_to(START + 61 * 10**9)
        assert twin.attuned() == {}


def test_the_counters_of_running_windows_are_read_as_one_batch() -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin:
        told(twin, 6, START)
        twin.move_to(START + 600_000_000)
        rows = {watched_of(row["key"]): row for row in twin.windows().to_pylist()}
        assert len(rows) == 7
        assert (rows[DNS]["packets"], rows[DNS]["peers"], rows[DNS]["elapsed_ns"]) == (6, 6, 600_000_000)
        twin.move_to(START + 2 * 10**9)
        assert twin.windows().num_rows == 0


@pytest.mark.parametrize(("limits", "ttl_s"), [(Limits(packets=1), 0.0), (Limits(packets=-1), 1.0), (Limits(1), 1e12)])
def test_thresholds_without_an_end_or_that_cannot_be_compared_are_refused(limits: Limits, ttl_s: float) -> None:
    with TwinShield(settings=TwinSettings(watch=WATCH)) as twin, pytest.raises(UsageError):
        twin.limit(DNS, limits, ttl_s)
