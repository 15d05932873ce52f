"""Partial states of the kernel merged into flows: the same record as if every packet had come to one table."""

import ctypes

import pytest

from loomidi.contracts.errors import UsageError
from loomidi.loom.flows import FlowTable, MeterSettings
from tests.unit.loom.flows import frames as f
from tests.unit.loom.flows.conftest import START, Metering, S, rows

KEY_OCTETS, FLOW_OCTETS = 48, 680


def partial(frames: list[tuple[float, bytes]]) -> tuple[bytes, bytes]:
    """Key and state of one flow, as a drain would hand them over: taken from the C table of a meter."""
    with FlowTable() as table:
        for at_s, frame in frames:
            table.frame(frame, START + round(at_s * S))
        return _first_entry(table)


def _first_entry(table: FlowTable) -> tuple[bytes, bytes]:
    library = table._meter._library
    library.lm_meter_peek.restype = ctypes.c_int
    library.lm_meter_peek.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    key, state = ctypes.create_string_buffer(KEY_OCTETS), ctypes.create_string_buffer(FLOW_OCTETS)
    assert library.lm_meter_peek(table._meter.handle, key, state) == 0
    return key.raw, state.raw


CONVERSATION = [
    (0.0, f.segment(f.SYN)),
    (0.1, f.segment(f.SYN | f.ACK, back=True)),
    (0.2, f.segment(f.ACK, b"x" * 10)),
    (1.5, f.segment(f.ACK, b"y" * 20, back=True)),
    (9.0, f.segment(f.ACK, b"z" * 30, back=True)),
    (9.5, f.segment(f.ACK)),
]


@pytest.mark.parametrize("cut", range(1, len(CONVERSATION)))
def test_two_drains_are_one_flow(metered: Metering, cut: int) -> None:
    """Wherever the drain falls, the merged record is that of all packets: all columns."""
    (whole,) = metered(CONVERSATION)
    with FlowTable() as table:
        for part in (CONVERSATION[:cut], CONVERSATION[cut:]):
            table.absorb(*partial(part))
        table.flush()
        assert rows(table) == [whole]


def test_two_cpus_are_one_flow() -> None:
    """Parts of one drain that overlap in time: counts, sizes and flags are exact."""
    even, odd = partial(CONVERSATION[::2]), partial(CONVERSATION[1::2])
    with FlowTable() as table:
        table.absorb(even[0], even[1] + odd[1], cpus=2)
        table.flush()
        (row,) = rows(table)
    assert (row["packet_delta_count"], row["reverse_packet_delta_count"]) == (3, 3)
    assert (row["octet_delta_count"], row["flow_duration_nanoseconds"]) == (130, 9_500_000_000)


def test_a_cpu_without_packets_adds_nothing() -> None:
    """Per-CPU maps hold a state for every CPU."""
    key, state = partial(CONVERSATION)
    with FlowTable() as table:
        table.absorb(key, bytes(FLOW_OCTETS) + state + bytes(FLOW_OCTETS), cpus=3)
        table.flush()
        assert [row["packet_delta_count"] for row in rows(table)] == [3]


def test_the_offset_moves_every_time() -> None:
    """The kernel's clock is monotonic; records have the epoch's."""
    key, state = partial(CONVERSATION)
    with FlowTable() as table:
        table.absorb(key, state, offset_ns=5 * S)
        table.flush()
        (row,) = rows(table)
    assert row["flow_start_nanoseconds"] == START + 5 * S
    assert row["flow_duration_nanoseconds"] == 9_500_000_000


def test_a_drain_after_the_idle_timeout_is_another_flow() -> None:
    """The table decides as it does for packets."""
    with FlowTable(MeterSettings(idle_s=5)) as table:
        table.absorb(*partial(CONVERSATION[:3]))
        table.absorb(*partial(CONVERSATION[4:]))
        table.flush()
        assert [row["flow_end_reason"] for row in rows(table)] == ["idle", "forced"]


def test_the_direction_survives_the_active_timeout() -> None:
    """Also when the drain after it starts with a packet of the responder."""
    with FlowTable(MeterSettings(active_s=5)) as table:
        table.absorb(*partial(CONVERSATION[:4]))
        table.absorb(*partial(CONVERSATION[4:]))
        table.flush()
        found = rows(table)
    assert [row["flow_end_reason"] for row in found] == ["active", "forced"]
    assert [row["source_ip_address"] for row in found] == [f.CLIENT, f.CLIENT]
    assert (found[1]["packet_delta_count"], found[1]["reverse_packet_delta_count"]) == (1, 1)


def test_absorbed_flows_end_by_the_clock() -> None:
    """A tick after a drain, with no more traffic."""
    with FlowTable(MeterSettings(idle_s=5)) as table:
        table.absorb(*partial(CONVERSATION))
        table.tick(START + 60 * S)
        assert [row["flow_end_reason"] for row in rows(table)] == ["idle"]


def test_odd_lengths_are_refused() -> None:
    """Before C reads a single octet."""
    with FlowTable() as table, pytest.raises(UsageError, match="do not fit"):
        table.absorb(b"x" * KEY_OCTETS, b"x" * 10)
