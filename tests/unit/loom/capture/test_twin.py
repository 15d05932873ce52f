"""The twin is a whole shield: entries, suspects and flows without a kernel."""

import pytest

from loomidi.contracts.errors import Retryable
from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.loom.capture.verdicts import Limits, Watch

START = 1_000_000_000_000
ARP = b"\xff" * 6 + b"\2" * 6 + b"\x08\x06" + b"\0" * 28


def udp(source: str, port: int = 53) -> bytes:
    octets = bytes(int(part) for part in source.split("."))
    ip = bytes.fromhex("4500001c00000000401100 00".replace(" ", "")) + octets + b"\xc0\0\2\1"
    return b"\2" * 12 + b"\x08\x00" + ip + (4000).to_bytes(2, "big") + port.to_bytes(2, "big") + b"\0\x08\0\0"


def test_every_packet_is_counted_once() -> None:
    with TwinShield() as twin:
        twin.deny(Deny(Match("10.0.0.1"), "drop", 60))
        verdicts = [twin.process(each, START) for each in (udp("10.0.0.1"), udp("10.0.0.2"), ARP)]
        assert verdicts == ["pass", "pass", "pass"]  # the entry ended at 60 s after time 0
        twin.deny(Deny(Match("10.0.0.1"), "drop", 60))
        assert twin.process(udp("10.0.0.1"), START + 1) == "drop"
        counts = {name: packets for name, (packets, _) in twin.counters().items() if packets}
        assert counts == {"accounted": 2, "drop_host": 1, "unparsed_not_ip": 1}


def test_a_full_table_overflows_to_records_and_then_to_a_counter() -> None:
    with TwinShield(settings=TwinSettings(max_flows=2, records=3, watch=None)) as twin:
        for i in range(9):
            twin.process(udp("10.0.0.1", 1000 + i), START + i)
        counts = {name: packets for name, (packets, _) in twin.counters().items() if packets}
        assert counts == {"accounted": 2, "overflowed": 3, "overflow_lost": 4}
        assert sum(batch.num_rows for batch in twin.flush()) == 5


def test_a_suspect_that_finds_the_queue_full_is_counted_and_told_later() -> None:
    watch = Watch(source=Limits(packets=1), service=Limits())
    with TwinShield(settings=TwinSettings(suspects=1, watch=watch)) as twin:
        for i in range(3):
            twin.process(udp(f"10.0.0.{i}"), START)
        assert twin.untold() == 2
        assert [each.source for each in twin.suspects(0)] == ["10.0.0.0"]
        twin.process(udp("10.0.0.1", 54), START + 1)
        assert [each.source for each in twin.suspects(0)] == ["10.0.0.1"]


def test_entries_move_when_others_go() -> None:
    with TwinShield() as twin:
        for i in range(2000):
            twin.deny(Deny(Match(f"10.0.{i >> 8}.{i & 255}"), "drop", 60))
        for i in range(0, 2000, 2):
            assert twin.remove(Match(f"10.0.{i >> 8}.{i & 255}"))
        assert len(twin.entries()) == 1000
        assert all(twin.entry(Match(f"10.0.{i >> 8}.{i & 255}")) for i in range(1, 2000, 2))


def test_a_full_verdict_table_says_so() -> None:
    with TwinShield(settings=TwinSettings(max_entries=1)) as twin:
        twin.deny(Deny(Match("10.0.0.1"), "drop", 60))
        with pytest.raises(Retryable, match="full of live entries"):
            twin.deny(Deny(Match("10.0.0.2"), "drop", 60))


def test_random_octets_are_counted_and_never_crash() -> None:
    import random

    dice = random.Random(7)
    with TwinShield(settings=TwinSettings(inner=True)) as twin:
        for _ in range(10_000):
            twin.process(dice.randbytes(dice.randrange(0, 120)), START)
        assert sum(packets for packets, _ in twin.counters().values()) == 10_000
