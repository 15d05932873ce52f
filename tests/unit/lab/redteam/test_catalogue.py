"""The catalogue is what it says: many attacks, each with its truth, in stages that leave none out."""

import ipaddress

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.origami.online import PATTERNS
from loomidi.services.demo import frames
from loomidi_lab.redteam.catalogue import CATALOGUE, STAGES, chosen
from loomidi_lab.redteam.forging import KINDS, cut, overlapping_fragments, scan_across, scan_down, with_ttl
from loomidi_lab.redteam.records import BLOCKED, NOTED, SPARED
from loomidi_lab.redteam.serving import SERVERS
from loomidi_lab.redteam.tapping import count_at, is_neighbour, is_no_page, is_packet

ARP_ANSWER = bytes(12) + b"\x08\x06" + bytes.fromhex("0001080006040002") + bytes(20)


def test_there_are_attacks_of_every_family_and_each_has_its_own_name() -> None:
    assert len(CATALOGUE) >= 50
    assert len({attack.name for attack in CATALOGUE}) == len(CATALOGUE)
    families = {"volumetric", "scan", "slow", "guessing", "leaving", "spoof", "evasion"}
    assert {attack.family for attack in CATALOGUE} == families


@pytest.mark.parametrize("attack", CATALOGUE, ids=lambda attack: attack.name)
def test_a_record_is_whole(attack) -> None:
    assert attack.technique.startswith("T1")
    assert attack.says
    assert attack.expect.act in (BLOCKED, NOTED, SPARED)
    assert set(attack.servers) <= set(SERVERS)
    assert attack.expect.missed or set(attack.expect.patterns) <= set(PATTERNS)
    assert all(ipaddress.ip_address(address) for address in (*attack.attackers, *attack.forged))


def test_who_spoofs_somebody_says_whom_and_expects_nobody_else_to_be_cut() -> None:
    spared = [attack for attack in CATALOGUE if attack.expect.act == SPARED]
    assert len(spared) >= 5
    assert all(attack.forged for attack in spared)


def test_the_stages_hold_every_attack_once_and_the_short_part_is_short() -> None:
    staged = [attack.name for stage in STAGES for attack in stage]
    assert sorted(staged) == sorted(attack.name for attack in CATALOGUE)
    short = chosen((), short=True)
    assert 5 <= len(short) <= 12
    assert sum(attack.seconds for attack in short) < 100


@pytest.mark.parametrize(("names", "stage", "says"), [(("sny-flood",), 0, "syn-flood"), ((), 9, "stages 1 to 4")])
def test_a_name_or_stage_that_is_not_there_is_told_with_those_that_are(names, stage, says) -> None:
    with pytest.raises(UsageError, match=says):
        chosen(names, stage)


def test_fragments_are_whole_when_put_together_and_their_headers_add_up() -> None:
    frame = frames.tcp("203.0.113.11", "198.51.100.10", (4000, 80))
    first, second = cut(frame, 8)
    assert first[34:] + second[34:] == frame[34:]
    assert (first[20] & 0x20, int.from_bytes(second[20:22], "big")) == (0x20, 1)
    again = overlapping_fragments("203.0.113.11", "198.51.100.10")[1]
    assert int.from_bytes(again[20:22], "big") == 1
    for each in (first, second, again, with_ttl(frame, 2)):
        total = sum(int.from_bytes(each[at : at + 2], "big") for at in range(14, 34, 2))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_scans_of_our_own_try_each_port_and_each_host_once() -> None:
    assert len(set(scan_down("192.0.2.12", "198.51.100.10"))) == 600
    assert len(set(scan_across("192.0.2.12", "198.51.100.0/24"))) == 254
    assert {"scan_down", "scan_across"} <= set(KINDS)


def test_the_tap_knows_packets_from_the_talk_of_neighbours() -> None:
    page = frames.tcp("203.0.113.11", "198.51.100.10", (4000, 80))
    guess = frames.tcp("203.0.113.11", "198.51.101.20", (4000, 22))
    assert (is_packet(page), is_packet(ARP_ANSWER), is_neighbour(ARP_ANSWER)) == (True, False, True)
    assert (is_no_page(page), is_no_page(guess), is_neighbour(page)) == (False, True, False)


def test_the_counter_between_two_samples_is_in_proportion() -> None:
    samples = [(100, 10), (200, 30)]
    assert [count_at(samples, at) for at in (50, 100, 150, 200, 900)] == [10, 10, 20, 30, 30]
    assert count_at([], 5) == 0
