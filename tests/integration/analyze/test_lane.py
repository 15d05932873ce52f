"""Captures with known truth through the whole slow lane: `loomidi.analyze` finds, explains and proposes."""

from pathlib import Path

import pytest

import loomidi
from loomidi.contracts.errors import InputError
from loomidi.contracts.records import FoldKind, Mode, Severity
from loomidi.insight.report.document import document
from loomidi.loom.capture import synthetic
from loomidi.services.analyzing import AnalyzeSettings, analyze

ATTACKS = {
    "syn_flood": (synthetic.syn_flood, {FoldKind.RECONFIGURE_NETWORK, FoldKind.SCALE_OUT}),
    "amplification": (synthetic.amplification, {FoldKind.RECONFIGURE_NETWORK}),
    "vertical_scan": (synthetic.vertical_scan, {FoldKind.RECONFIGURE_NETWORK}),
    "horizontal_scan": (synthetic.horizontal_scan, {FoldKind.RECONFIGURE_NETWORK}),
    "brute_force": (synthetic.brute_force, {FoldKind.RECONFIGURE_NETWORK}),
    "exfiltration": (synthetic.exfiltration, {FoldKind.RECONFIGURE_NETWORK, FoldKind.ISOLATE_POD}),
}


def written(folder: Path, *scenarios: synthetic.Scenario, name: str = "a.pcap") -> Path:
    path = folder / name
    synthetic.write_capture(path, synthetic.mixed(*scenarios))
    return path


@pytest.mark.parametrize("pattern", ATTACKS)
def test_an_attack_among_benign_traffic_is_found_explained_and_answered(tmp_path: Path, pattern: str) -> None:
    make, kinds = ATTACKS[pattern]
    report = loomidi.analyze(written(tmp_path, make(), synthetic.benign_http()))
    alarms = report.alarms
    assert [finding.pattern for finding in alarms] == [pattern]
    assert all(heading in alarms[0].explanation for heading in ("What was seen: ", "Why it matters: ", "undone: "))
    folds = report.proposals(alarms[0])
    assert {proposed.fold.kind for proposed in folds} == kinds
    assert all(proposed.fold.manifest["kind"] in ("NetworkPolicy", "Scale") for proposed in folds)
    assert report.exit_code == 1


def test_benign_traffic_alone_is_quiet(tmp_path: Path) -> None:
    report = loomidi.analyze(written(tmp_path, synthetic.benign_http()))
    assert (report.alarms, report.folds, report.exit_code) == ((), (), 0)


def test_every_plan_is_in_shadow_mode_and_was_judged(tmp_path: Path) -> None:
    report = loomidi.analyze(written(tmp_path, synthetic.syn_flood()))
    assert report.folds
    for proposed in report.folds:
        assert proposed.plan.mode is Mode.SHADOW
        assert len(proposed.verdicts) > 20
        assert {verdict.guard for verdict in proposed.verdicts} == {"floor", "rego:base"}


def test_a_fold_against_a_protected_host_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = written(tmp_path, synthetic.vertical_scan())
    report = analyze(path, AnalyzeSettings(protected=(f"{synthetic.ATTACKER}/32",)))
    assert report.folds
    assert not any(proposed.allowed for proposed in report.folds)
    assert "It would touch the protected set" in report.findings[0].explanation
    assert "Refused to slow down 198.51.100.66: floor/protected denied" in report.findings[0].explanation


def test_the_same_capture_gives_the_same_document(tmp_path: Path) -> None:
    path = written(tmp_path, synthetic.syn_flood(), synthetic.benign_http())
    assert document(loomidi.analyze(path)) == document(loomidi.analyze(path))


def test_totals_balance_and_timeline_agree_to_the_packet(tmp_path: Path) -> None:
    scenarios = (synthetic.benign_http(), synthetic.udp_flood(packets=5000))
    sent = sum(len(scenario.packets) for scenario in scenarios)
    report = loomidi.analyze(written(tmp_path, *scenarios))
    assert report.balance.adds_up
    assert report.balance.received == report.flows.packets == sum(report.series.packets_in_all) == sent
    assert sum(totals.packets for totals in report.protocols.values()) == sent


def test_several_captures_are_one_report(tmp_path: Path) -> None:
    one = written(tmp_path, synthetic.benign_http(), name="one.pcap")
    two = written(tmp_path, synthetic.vertical_scan(), name="two.pcap")
    report = loomidi.analyze(one, two)
    assert [read.path for read in report.captures] == [str(one), str(two)]
    assert [finding.pattern for finding in report.alarms] == ["vertical_scan"]


def test_a_capture_cut_in_the_middle_is_reported_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = written(tmp_path, synthetic.syn_flood(), name="whole.pcap")
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole.read_bytes()[:-37])
    report = loomidi.analyze(cut)
    assert report.balance.received == len(synthetic.syn_flood().packets) - 1
    assert [finding.severity for finding in report.alarms] == [Severity.CRITICAL]
    assert len(report.captures[0].problems) == 1
    assert report.exit_code == 2


def test_an_interface_is_no_capture() -> None:
    with pytest.raises(InputError, match="record it first"):
        loomidi.analyze("lo")


def test_a_missing_capture_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pcap"):
        loomidi.analyze(tmp_path / "none.pcap")
