"""Attacks that need patience, each beside honest traffic that resembles it but in one feature."""

import itertools

import numpy as np
import pytest

from loomidi.contracts import Severity
from loomidi.origami.online import FlowDetectors
from loomidi.origami.online.beacons import _beats
from tests.unit.origami.making import batch, flow

PATTERNS = {"brute_force", "slow_requests", "beaconing"}


def told(rows):
    detectors = FlowDetectors()
    detectors.observe(batch(rows))
    return [finding for finding in detectors.finish() if finding.pattern in PATTERNS]


def facts(finding):
    return {evidence.name: evidence.value for evidence in finding.evidence}


# -- slow reading ----------------------------------------------------------------------------------------------------


def readers(count=40, window=1152, later=0, acks=6, **more):
    """Connections that ask for a page, and what is heard of each three seconds later, as the record after."""
    ends = {"protocol": 6, "port": 80, "source": "198.51.100.7"}
    rows = []
    for index in range(count):
        mine = ends | {"source_port": 20000 + index}
        asked = {"syn": 1, "psh": 1, "ack": acks, "packets": acks + 1, "payload": 160, "window": window}
        rows.append(flow(index * 0.05, 1.5, **mine | asked | more))
        rows.append(flow(index * 0.05 + 3.2, **mine | {"ack": 1, "packets": 1, "window": later}))
    return rows


def test_many_connections_whose_window_stays_shut_are_told_as_slow_requests():
    (finding,) = told(readers())
    assert (finding.pattern, finding.entities[0]) == ("slow_requests", "host/198.51.100.7")
    assert facts(finding)["connections"] == 40


def test_a_window_that_is_open_at_first_and_shut_later_is_told_as_well():
    (finding,) = told(readers(window=64240, later=0))
    assert finding.pattern == "slow_requests"


@pytest.mark.parametrize(
    "honest",
    [
        readers(count=29),
        readers(window=64240, later=501),  # news that trickle in: room for much, of which little comes
        readers(window=64240, later=69),  # scaled: small as it is written, large as it is meant
        readers(window=None, later=None),  # a capture without it
        readers(acks=0, syn=0, window=0, later=None),  # a capture that cuts headers: no flags, no window
        readers(acks=60),  # a film that fills its buffer again
        readers(back_packets=60, back_payload=80_000),  # the same, both sides seen
    ],
    ids=["few", "event-streams", "scaled", "unknown", "cut", "film", "film-both-sides"],
)
def test_many_connections_that_read_as_they_can_are_not(honest):
    assert told(honest) == []


def test_a_reset_shuts_no_window():
    ends = {"protocol": 6, "port": 80, "source": "198.51.100.7", "packets": 1, "rst": 1, "window": 0}
    rows = readers(window=64240, later=501)
    assert told([*rows, *(flow(5.0, source_port=20000 + index, **ends) for index in range(40))]) == []


# -- patient guessing ------------------------------------------------------------------------------------------------


def logins(count=7, every_s=7.0, lasts_s=6.0, sizes=(1300,), ends=1, **more):
    """Conversations with a secure shell of which one side is heard: a key exchange, then a pause, then the rest."""
    mine = {"protocol": 6, "port": 22, "source": "203.0.113.11"}
    rows = []
    for index, size in zip(range(count), itertools.cycle(sizes), strict=False):
        this = mine | {"source_port": 30000 + index} | more
        first = {"syn": 1, "ack": 11, "psh": 8, "packets": 12, "payload": size}
        rows.append(flow(index * every_s, 0.3, **this | first))
        last = {"ack": 4, "psh": 1, "packets": 4, "payload": 84, "fin": ends}
        rows.append(flow(index * every_s + lasts_s - 0.1, 0.1, **this | last))
    return rows


def test_conversations_one_after_the_other_with_several_tries_each_are_guessing():
    (finding,) = told(logins())
    assert (finding.pattern, finding.entities[0]) == ("brute_force", "host/203.0.113.11")
    assert facts(finding)["conversations"] == 7


@pytest.mark.parametrize(
    "honest",
    [
        logins(count=4),
        logins(count=8, every_s=30.0, lasts_s=5.0),  # a check each half minute
        logins(count=10, every_s=6.0, lasts_s=1.0),  # commands by a script: done in a moment, then a wait
        logins(sizes=(1300, 4800, 2100)),  # a person: sessions of all sizes
        logins(sizes=(4200,)),  # sessions in which something is done
        logins(ends=0),  # sessions that go on
        logins(count=10, every_s=0.2),  # a program that keeps ten at once
        logins(port=5432),  # a database, whose clients connect again and again
    ],
    ids=["few", "monitoring", "script", "person", "sessions", "open", "pool", "database"],
)
def test_logins_of_honest_people_and_programs_are_not(honest):
    assert told(honest) == []


def test_a_session_with_pauses_is_one_conversation_and_no_guessing():
    typing = {"protocol": 6, "port": 22, "source_port": 30000, "psh": 3, "ack": 6, "packets": 6, "payload": 110}
    begun = flow(0.0, 1.0, **typing | {"syn": 1})
    assert told([begun, *(flow(8.0 * index, 1.0, **typing) for index in range(1, 60))]) == []


# -- a beat in a minute ----------------------------------------------------------------------------------------------


def calls(starts, sizes=(400,), destination="203.0.113.9"):
    talk = {"protocol": 6, "port": 8443, "syn": 1, "ack": 5, "packets": 6, "back_packets": 5, "back_payload": 200}
    talk |= {"destination": destination}
    sizes = itertools.cycle(sizes)
    return [flow(start, 0.2, payload=next(sizes), **talk) for start in starts]


def test_six_calls_on_an_exact_beat_are_told_as_info():
    (finding,) = told(calls(np.arange(6) * 9.0))
    assert (finding.pattern, finding.severity) == ("beaconing", Severity.INFO)
    assert facts(finding)["period"] == 9.0


@pytest.mark.parametrize(
    "honest",
    [
        calls(np.arange(5) * 9.0),
        calls([0, 9, 19, 27, 36, 46]),  # a person, or a program that waits for its answers
        calls([0, 9, 18, 36, 45, 54]),  # one missed: too few to say
        calls(np.arange(6) * 9.0, sizes=(400, 900)),
        calls(np.arange(6) * 2.0),  # over in ten seconds
        calls(np.arange(6) * 9.0, destination="10.0.0.3"),  # a check of an inside service
    ],
    ids=["few", "jitter", "missed", "sizes", "short", "inside"],
)
def test_a_few_calls_without_an_exact_beat_are_not(honest):
    assert told(honest) == []


def test_an_early_beat_that_goes_on_is_the_same_finding_and_no_longer_info():
    detectors = FlowDetectors()
    detectors.observe(batch(calls(np.arange(6) * 15.0)))
    (early,) = detectors.look()
    detectors.observe(batch(calls(90.0 + np.arange(20) * 15.0)))
    (late,) = detectors.finish()
    assert (early.id, early.severity) == (late.id, Severity.INFO)
    assert late.severity is not Severity.INFO


def test_the_beats_of_many_pairs_at_once_are_those_of_each_alone():
    random = np.random.default_rng(4)
    counts = random.integers(2, 40, 60)
    starts = [np.sort(random.integers(0, 10**12, count)) for count in counts]
    sent = [random.integers(1, 5000, count) for count in counts]
    beats = _beats({"start": np.concatenate(starts), "sent": np.concatenate(sent)}, counts)
    for row, (begun, octets) in enumerate(zip(starts, sent, strict=True)):
        gaps = np.diff(begun) / 1e9
        low, period, high = np.quantile(gaps, (0.2, 0.5, 0.8))
        assert beats["period"][row] == pytest.approx(period)
        assert beats["jitter"][row] == pytest.approx((high - low) / period)
        assert beats["size"][row] == pytest.approx(np.std(octets) / np.mean(octets))
        assert beats["span"][row] == pytest.approx(gaps.sum())
