"""Thresholds of single services in the kernel: XDP and tc tell as the twin does; a plan changes them on a live link."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import pytest

from loomidi.contracts import Mode, Step
from loomidi.ionic.act import MemoryReceipts
from loomidi.ionic.enforcer import Standing, read_bounds, tuned
from loomidi.loom.capture import open_shield
from loomidi.loom.capture.own_limits import Watched, watched_of
from loomidi.loom.capture.synthetic import SYN, connection, tcp
from loomidi.loom.capture.verdicts import Limits
from loomidi.loom.capture.xdp.loading import ShieldSettings
from loomidi.origami.online import SuspectDetectors
from loomidi.services.fast.enforcing import Enforcer
from loomidi.services.fast.tuning import Tuner
from loomidi.services.fast.waking import waking
from tests.integration.kernel.conftest import RUNGS, SECOND, START, frame
from tests.integration.kernel.test_live import send, veth  # noqa: F401 - a fixture

pytestmark = pytest.mark.kernel

SERVER = "10.0.0.80"
WEB = Watched("service", SERVER, 443, 6)


@pytest.fixture(params=list(RUNGS))
def watching(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each rung in turn, with the thresholds of the fast lane."""
    made = RUNGS[request.param](watch=waking())
    yield made
    made.close()


def syn(number: int) -> bytes:
    return frame("10.0.0.9", SERVER, ports=(1024 + number, 443), flags=SYN)


def told(rung: Any, count: int, at_ns: int) -> list[int]:
    """SYNs at which the service was told."""
    for number in range(count):
        rung.send(syn(number + at_ns % 997), at_ns + number * 1_000_000)
    return [suspect.syns for suspect in rung.shield.suspects(0.0) if suspect.kind == "service"]


def test_every_rung_tells_at_the_own_threshold_and_at_that_of_all_afterwards(watching: Any) -> None:
    watching.send(syn(0), START)
    watching.shield.limit(WEB, Limits(packets=5000, syns=20), 60, 7)
    assert told(watching, 60, START + 10 * SECOND) == [20]
    assert told(watching, 60, START + 70 * SECOND) == []
    (own,) = watching.shield.own_limits()
    assert (own.watched, own.limits.syns, own.rule_id, own.live) == (WEB, 20, 7, False)


def test_every_rung_shows_the_counters_of_running_windows(watching: Any) -> None:
    told(watching, 30, START + SECOND)
    rows = {watched_of(row["key"]): row for row in watching.shield.windows().to_pylist()}
    assert (rows[WEB]["syns"], rows[WEB]["peers"]) == (30, 1)
    assert rows[Watched("source", "10.0.0.9")]["packets"] == 30


def test_on_a_live_link_what_was_learned_there_finds_a_flood_that_the_rules_let_pass(veth: str) -> None:  # noqa: F811
    bounds, detectors = read_bounds(), SuspectDetectors()
    with open_shield(veth, "auto", ShieldSettings(watch=waking())) as shield:
        tuner = Tuner(shield, _quick(bounds))
        _talk_and_learn(tuner, seconds=9)
        (key,) = [key for key in tuner.learned.known() if watched_of(key) == WEB]
        standing = Standing(f"service/{SERVER}:443/tcp", "service", {}, False)
        change = tuned(tuner.learned, key, standing, _quick(bounds), (time.time_ns(), SECOND))
        assert change is not None
        enforcer = Enforcer(shield, MemoryReceipts(), mode=Mode.GUARDED)
        assert enforcer.carry_out(change.finding, change.fold).step is Step.VERIFIED
        detectors.attune(shield.attuned())
        shield.suspects(0.0)
        send([tcp("10.0.0.9", 2000 + number, SERVER, 443, SYN) for number in range(60)])
        found = [detectors.judge(suspect) for suspect in shield.suspects(2.0)]
        assert [finding.pattern for finding in found if finding] == ["syn_flood"]
        assert {receipt.step for receipt in enforcer.undo(())} == {Step.UNDONE}
        assert shield.own_limits() == []


def _quick(bounds: Any) -> Any:
    return dataclasses.replace(bounds, least_windows=10, quarantine_s=0.0)


def _talk_and_learn(tuner: Tuner, seconds: int) -> None:
    """Three whole conversations and a look, each half window."""
    for turn in range(2 * seconds + 4):
        made = [connection(0, ("10.0.0.9", 5000 + 10 * turn + n), (SERVER, 443), [(200, 900)]) for n in range(3)]
        send([octets for talk in made for _, octets in talk])
        time.sleep(0.5)
        tuner.look(attacked=False)
    tuner.learned.settle_all()
