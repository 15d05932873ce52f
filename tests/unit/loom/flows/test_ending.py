"""When flows end, why, in which order, and that memory stays bounded."""

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.loom.flows import FlowTable, MeterSettings
from tests.unit.loom.flows import frames as f
from tests.unit.loom.flows.conftest import START, Metering, S, rows


def host(number: int, *, port: int = 53) -> bytes:
    """A datagram of another client each time."""
    return f.ethernet(f.ip(f"10.1.{number >> 8 & 255}.{number & 255}", f.SERVER, 17, f.udp(4000, port)))


def test_a_gap_just_within_the_idle_timeout_keeps_a_flow(metered: Metering) -> None:
    """Longer than the timeout ends it; as long as the timeout does not."""
    limits = MeterSettings(idle_s=10)
    assert len(metered([(0, f.datagram()), (10, f.datagram())], limits)) == 1
    assert len(metered([(0, f.datagram()), (10.001, f.datagram())], limits)) == 2


def test_other_traffic_moves_the_clock(metered: Metering) -> None:
    """A silent flow ends when the capture's clock has passed, whoever's packet shows it."""
    with FlowTable(MeterSettings(idle_s=10)) as table:
        table.frame(host(1), START)
        table.frame(host(2), START + 11 * S)
        assert [row["source_ip_address"] for row in rows(table)] == ["10.1.0.1"]
        assert table.live == 1


def test_a_closed_flow_lingers_then_ends(metered: Metering) -> None:
    """Packets within the linger time still belong to it; a later one is a new flow."""
    close = [(0.0, f.segment(f.RST))]
    assert len(metered([*close, (4.9, f.segment(f.ACK, back=True))])) == 1
    flows = metered([*close, (5.1, f.segment(f.ACK, back=True))])
    assert [row["flow_end_reason"] for row in flows] == ["rst", "forced"]


def test_a_flow_that_nobody_answers_may_end_sooner() -> None:
    """One side only: after a silence of its own; both sides: after the usual one. Without the setting all are alike."""
    with FlowTable(MeterSettings(idle_s=10, unanswered_s=1.5)) as table:
        table.frame(f.segment(f.SYN, ports=(40001, 81)), START)
        table.frame(f.segment(f.SYN), START)
        table.frame(f.segment(f.SYN | f.ACK, back=True), START + S // 10)
        table.tick(START + S)
        assert rows(table) == []
        table.tick(START + 2 * S)
        assert [(row["destination_transport_port"], row["flow_end_reason"]) for row in rows(table)] == [(81, "idle")]
        table.tick(START + 11 * S)
        assert [row["destination_transport_port"] for row in rows(table)] == [80]
    with FlowTable(MeterSettings(idle_s=10)) as table:
        table.frame(f.segment(f.SYN), START)
        table.tick(START + 9 * S)
        assert table.live == 1


def test_the_oldest_goes_when_the_table_is_full() -> None:
    """Live flows never exceed the bound; each eviction is counted and named, nothing is lost."""
    with FlowTable(MeterSettings(max_flows=100)) as table:
        for number in range(1000):
            table.frame(host(number), START + number)
        assert (table.live, table.evicted) == (100, 900)
        table.flush()
        reasons = [row["flow_end_reason"] for row in rows(table)]
    assert (reasons.count("evicted"), reasons.count("forced")) == (900, 100)


def test_a_flow_that_is_seen_is_not_evicted() -> None:
    """Least recently seen, not first come."""
    with FlowTable(MeterSettings(max_flows=16)) as table:
        for number in range(200):
            table.frame(host(number), START + 2 * number)
            table.frame(host(9999), START + 2 * number + 1)
        assert not any(row["source_ip_address"] == "10.1.39.15" for row in rows(table))


def test_a_clock_that_jumps_back_holds_up_nobody() -> None:
    """One packet with a time far ahead must not keep the flows behind it from ending."""
    with FlowTable(MeterSettings(idle_s=10)) as table:
        table.frame(host(1), START + 10_000 * S)
        table.frame(host(2), START)
        for second in range(1, 40):
            table.frame(host(3), START + second * S)
        assert [row["source_ip_address"] for row in rows(table)] == ["10.1.0.2"]


def test_the_order_of_records_does_not_depend_on_the_seed(metered: Metering) -> None:
    """The hash is seeded against attackers; nobody sees it in the output."""
    packets = [(number % 7 * 3.0, host(number)) for number in range(300)]
    found = []
    for seed in (1, 2, 3):
        with FlowTable(MeterSettings(seed=seed, idle_s=5, max_flows=64)) as table:
            for at, frame in packets:
                table.frame(frame, START + int(at * S))
            table.flush()
            found.append(rows(table))
    assert found[0] == found[1] == found[2]


def test_every_frame_is_counted_once() -> None:
    """Accounted, or unparsed with its reason; the sums are the frames that came."""
    arp = f.ethernet(b"\0" * 28, kind=0x0806)
    given = [f.datagram(), arp, f.datagram()[:20], f.ethernet(b"\x35" + b"\0" * 30, kind=0x0800), b"", f.segment(f.SYN)]
    with FlowTable() as table:
        told = [table.frame(frame, START) for frame in given]
        counts = {name: packets for name, (packets, _) in table.balance.items() if packets}
    assert told == ["accounted", "unparsed_not_ip", "unparsed_short", "unparsed_ip", "unparsed_short", "accounted"]
    assert counts == {"accounted": 2, "unparsed_not_ip": 1, "unparsed_short": 2, "unparsed_ip": 1}


@pytest.mark.parametrize("wrong", [{"idle_s": 0}, {"active_s": -1}, {"max_flows": 1}, {"idle_s": float("nan")}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """With one line that says what to use instead."""
    with pytest.raises(UsageError, match="use"):
        MeterSettings(**wrong)  # type: ignore[arg-type]
