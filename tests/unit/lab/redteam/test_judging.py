"""From what was seen of an attack to its row: times, shares, who was harmed, and every expectation that was missed."""

import pytest

from loomidi_lab.redteam.judging import covers, judge
from loomidi_lab.redteam.records import NOTED, SPARED, Benign, Expect
from tests.unit.lab.redteam.rows import ATTACKER, CLIENT, START, attack, decision, seen


def test_a_flood_that_was_found_and_cut_is_as_expected() -> None:
    row = judge(attack(), seen(decision()))
    assert (row.detected, row.pattern, row.outcome) == (True, "syn_flood", "applied")
    assert (row.finding_s, row.drop_s) == (0.01, 0.02)
    assert (row.sent, row.dropped, row.blocked_share) == (1000, 900, 0.918)
    assert (row.entries, row.undone, row.failures) == (1, 1, ())


def test_what_was_only_told_has_the_time_at_which_it_was_heard() -> None:
    row = judge(attack(expect=Expect(("syn_flood",), act=NOTED)), seen(decision("noted", decided_ns=0), first_hits={}))
    assert (row.outcome, row.finding_s, row.drop_s, row.failures) == ("noted", 0.03, None, ())


@pytest.mark.parametrize(
    "other",
    [decision(pattern="udp_flood"), decision(target="host/203.0.113.99")],
    ids=["another kind", "somebody else"],
)
def test_a_finding_of_another_kind_or_about_somebody_else_does_not_count(other: dict[str, object]) -> None:
    row = judge(attack(), seen(other))
    assert not row.detected
    assert "not detected (syn_flood)" in row.failures


def test_a_flood_of_many_sources_counts_when_it_is_told_of_the_service() -> None:
    told = decision("noted", "service/198.51.100.10:80/tcp", entities=["service/198.51.100.10:80/tcp"])
    assert judge(attack(), seen(told)).detected
    assert judge(attack(attackers=()), seen(told)).detected


def test_a_named_miss_is_not_detected_and_fails_nothing() -> None:
    known = attack(expect=Expect(("syn_flood",), missed="nobody looks"))
    row = judge(known, seen(first_hits={}))
    assert (row.detected, row.named_miss, row.failures) == (False, "nobody looks", ())


def test_an_act_on_somebody_whose_name_was_used_is_collateral() -> None:
    forged = attack(attackers=(), forged=(CLIENT,), expect=Expect(("syn_flood",), act=SPARED))
    row = judge(forged, seen(decision(target=f"host/{CLIENT}"), first_hits={CLIENT: START + 1}))
    assert row.collateral == (f"host/{CLIENT}",)
    assert any("whose name was used" in failure for failure in row.failures)


def test_a_network_that_covers_an_honest_client_is_collateral_and_its_losses_are_inside_the_radius() -> None:
    honest = [Benign(CLIENT, 50, 7), Benign("192.0.3.1", 50, 2, cut=1)]
    row = judge(attack(), seen(decision(), decision(target="network/192.0.2.0/24"), benign=honest))
    assert (row.lost_within, row.lost_outside, row.connections_cut) == (7, 2, 1)
    assert row.collateral == ("network/192.0.2.0/24",)


def test_who_shares_the_attackers_address_is_inside_the_radius_and_no_collateral() -> None:
    shared = attack(shares_address=True)
    row = judge(shared, seen(decision(), benign=[Benign(ATTACKER, 20, 20)]))
    assert (row.lost_within, row.lost_outside, row.collateral, row.failures) == (20, 0, (), ())


def test_a_finding_about_somebody_honest_is_told_as_one() -> None:
    false = decision("refused", f"host/{CLIENT}", pattern="tcp_flag_flood")
    row = judge(attack(), seen(decision(), false))
    assert row.others == (f"tcp_flag_flood host/{CLIENT}",)
    assert row.failures


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"first_ns": 0}, "no packet of the attack"),
        ({"left": [ATTACKER]}, "1 of 1 entries are still there"),
        ({"balance": False}, "balance"),
        ({"first_hits": {}}, "no entry stood"),
        ({"benign": [Benign(CLIENT, 50, 3)]}, "3 of 50 benign requests"),
    ],
)
def test_each_thing_that_did_not_hold_has_its_line(given: dict[str, object], says: str) -> None:
    assert any(says in failure for failure in judge(attack(), seen(decision(), **given)).failures)


def test_a_finding_that_comes_late_misses_its_expectation() -> None:
    late = decision(decided_ns=START + 2_000_000_000)
    assert "found after 2.0 s, expected within 1 s" in judge(attack(), seen(late)).failures


def test_what_was_told_before_the_first_packet_is_about_something_else() -> None:
    assert not judge(attack(), seen(decision(decided_ns=START - 1))).detected


def test_targets_cover_addresses_of_their_own_family_only() -> None:
    assert covers(["network/2001:db8::/32"], "2001:db8:1::11")
    assert not covers(["network/2001:db8::/32", "service/192.0.2.1:80/tcp"], "192.0.2.1")
