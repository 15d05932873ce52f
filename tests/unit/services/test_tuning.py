"""Tuned thresholds on real frames: an attack is found earlier, a busy service is not blamed, and guards are asked."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from loomidi.contracts import InputError, Mode, Step
from loomidi.ionic.act import MemoryReceipts
from loomidi.ionic.enforcer import Bounds, read_bounds
from loomidi.kit.clock import ManualClock
from loomidi.loom.capture.synthetic import SECOND, START_NS, Packet, write_capture
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.origami.online import SuspectDetectors
from loomidi.services.fast import tuning
from loomidi.services.fast.enforcing import Enforcer
from loomidi.services.fast.waking import waking
from tests.unit.services import tunable_traffic as traffic


def a_policy(**changes: float) -> Bounds:
    return dataclasses.replace(read_bounds(), **({"least_windows": 10} | changes))


def learned(folder: Path, packets: list[Packet], bounds: Bounds | None = None) -> list[tuning.Proposed]:
    """What is proposed after this normal traffic."""
    write_capture(folder / "normal.pcap", packets, snaplen=128)
    tuner, shield = tuning.learn_from([str(folder / "normal.pcap")], bounds or a_policy())
    with shield:
        return list(tuning.judged(tuner.tunings(), tuning.decider_at(shield.tables.now_ns())))


class Lane:
    """A twin with the fast lane's detectors; what is proposed is carried out by plan, guards and engine."""

    def __init__(self, proposed: Sequence[tuning.Proposed] = (), mode: Mode = Mode.GUARDED) -> None:
        self.clock, self.detectors = ManualClock(START_NS), SuspectDetectors()
        self.shield = TwinShield(settings=TwinSettings(watch=waking()))
        self.shield.move_to(START_NS)
        self.enforcer = Enforcer(self.shield, MemoryReceipts(clock=self.clock), mode=mode, clock=self.clock)
        self.receipts = [self.enforcer.carry_out(one.tuning.finding, one.tuning.fold) for one in proposed]
        self.detectors.attune(self.shield.attuned())

    def findings(self, packets: list[Packet]) -> list[tuple[str, int]]:
        """(pattern, packets so far) of each finding."""
        found = []
        for number, (at_ns, frame) in enumerate(packets, 1):
            self.shield.process(frame, at_ns)
            judged = [self.detectors.judge(suspect) for suspect in self.shield.suspects(0)]
            found += [(finding.pattern, number) for finding in judged if finding]
            if number % 5000 == 0:
                list(self.shield.drain())
        return found


def test_an_attack_on_a_quiet_service_is_found_after_twenty_packets_instead_of_never(tmp_path: Path) -> None:
    proposed = [one for one in learned(tmp_path, traffic.quiet_web(40)) if one.plan.fold.target == traffic.WEB]
    attack = traffic.slow_flood(after_s=0)
    assert Lane().findings(attack) == []
    tuned = Lane(proposed)
    assert tuned.findings(attack)[0] == ("syn_flood", 20)
    assert [receipt.step for receipt in tuned.receipts] == [Step.VERIFIED]


def test_normal_traffic_of_another_day_raises_no_alarm_with_the_tuned_thresholds(tmp_path: Path) -> None:
    proposed = learned(tmp_path, traffic.quiet_web(40))
    assert proposed
    assert all(one.allowed for one in proposed)
    assert Lane(proposed).findings(traffic.quiet_web(40, seed=7)) == []


def test_a_busy_service_is_blamed_by_the_rules_and_not_once_it_was_learned(tmp_path: Path) -> None:
    usual, flood = traffic.busy_syslog(3), traffic.busy_syslog(1, rate=30_000, first_s=5)
    assert Lane().findings(usual)[0][0] == "udp_flood"
    proposed = learned(tmp_path, traffic.busy_syslog(16))
    tuned = Lane([one for one in proposed if one.plan.fold.target == traffic.SYSLOG])
    assert tuned.findings(usual) == []
    assert tuned.findings(flood)[0][0] == "udp_flood"


def test_in_mode_shadow_nothing_is_tuned_and_every_proposal_is_on_record(tmp_path: Path) -> None:
    proposed = learned(tmp_path, traffic.quiet_web(20))
    lane = Lane(proposed, Mode.SHADOW)
    assert lane.shield.own_limits() == []
    assert {receipt.step for receipt in lane.receipts} == {Step.REFUSED}
    assert all("mode shadow" in receipt.detail["why"] for receipt in lane.receipts)


def test_a_policy_file_cannot_widen_what_the_guards_allow(tmp_path: Path) -> None:
    wide = a_policy(service=dict.fromkeys(("packets", "octets", "syns", "peers"), (1, 2)))
    proposed = [one for one in learned(tmp_path, traffic.quiet_web(20), wide) if one.plan.fold.target == traffic.WEB]
    lane = Lane(proposed)
    assert not any(one.allowed for one in proposed)
    assert {verdict["rule"] for verdict in lane.receipts[0].detail["verdicts"]} == {"tuned", "sized"}
    assert lane.shield.own_limits() == []


def test_undo_puts_back_what_was_before_for_all_that_are_at_work(tmp_path: Path) -> None:
    lane = Lane(learned(tmp_path, traffic.quiet_web(20)))
    assert lane.shield.attuned()
    assert {receipt.step for receipt in lane.enforcer.undo(())} == {Step.UNDONE}
    assert lane.shield.attuned() == {}


def test_while_a_finding_is_open_the_tuner_learns_nothing() -> None:
    with TwinShield(settings=TwinSettings(watch=waking())) as shield:
        tuner = tuning.Tuner(shield, a_policy())
        for at_ns, frame in traffic.quiet_web(20):
            shield.process(frame, at_ns)
            if at_ns % SECOND < SECOND // 50:
                tuner.look(attacked=True)
        tuner.learned.settle_all()
        assert (len(tuner.learned), tuner.tunings()) == (0, [])


def test_proposals_go_through_a_file_and_a_broken_one_says_what_to_do(tmp_path: Path) -> None:
    proposed = learned(tmp_path, traffic.quiet_web(20))
    tuning.write_proposals(tmp_path / "p.json", proposed)
    assert tuning.read_proposals(tmp_path / "p.json") == [(one.tuning.finding, one.tuning.fold) for one in proposed]
    (tmp_path / "p.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(InputError, match="make them anew"):
        tuning.read_proposals(tmp_path / "p.json")
    with pytest.raises(InputError):
        tuning.learn_from([str(tmp_path / "none.pcap")], a_policy())
