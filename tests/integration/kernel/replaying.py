"""Replays a capture through a rung and through the user-space meter, and compares the flow records.

Called by test_replay. Frames of other link types get an Ethernet header in front of their IP packet; what
BPF_PROG_TEST_RUN cannot carry is left out on both sides, and counted with its reason.
"""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from loomidi.contracts.schemas import FLOWS
from loomidi.loom.capture.frames import Frame
from loomidi.loom.capture.twin import frames
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.flows.tables import FlowTable

ETHERNET, LEAST, MOST = 1, 14, 60_000
IP_AT = {101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 113: 16, 276: 20, 0: 4, 108: 4}
OUTER = MeterSettings(inner=False, seed=1)


def carried(frame: Frame) -> tuple[bytes, int] | str:
    """(Ethernet frame, octets on the wire), or why not."""
    octets, wire = frame.octets, frame.wire_octets
    if frame.link != ETHERNET:
        at = IP_AT.get(frame.link)
        if at is None:
            return f"link type {frame.link} is not wrapped"
        body = octets[at:]
        kind = {4: b"\x08\x00", 6: b"\x86\xdd"}.get(body[0] >> 4 if body else 0)
        if kind is None:
            return "not IP behind its link layer"
        octets, wire = b"\2" * 12 + kind + body, wire - at + 14
    if len(octets) < LEAST:
        return "shorter than an Ethernet header"
    if len(octets) > MOST:
        return "longer than a test run carries"
    return octets, max(wire, len(octets))


def wrapped(capture: Path, skipped: collections.Counter[str]) -> Iterator[tuple[bytes, int, int]]:
    """(frame, octets on the wire, time) of all that can be carried."""
    for frame in frames(capture):
        fit = carried(frame)
        if isinstance(fit, str):
            skipped[fit] += 1
        else:
            yield *fit, frame.at_ns


def by_meter(packets: list[tuple[bytes, int, int]]) -> pa.Table:
    """What the user-space meter makes of them."""
    with FlowTable(OUTER) as table:
        for octets, wire, at_ns in packets:
            table.frame(octets, at_ns, wire)
        table.tick(max((at_ns for *_, at_ns in packets), default=0))
        ended = list(table.drain())
        table.flush()
        return in_order([*ended, *table.drain()])


def by_rung(rung: Any, packets: list[tuple[bytes, int, int]]) -> pa.Table:
    """What a shield makes of them, drained once."""
    for octets, wire, at_ns in packets:
        rung.send(octets, at_ns, wire)
    return in_order([*rung.shield.drain(), *rung.shield.flush()])


def goes_back(packets: list[tuple[bytes, int, int]]) -> bool:
    """Whether the capture's clock steps back by more than the idle timeout. User space then has ended flows by the
    later
    clock; the kernel, which judges a flow by its own times only, goes on with them."""
    newest = 0
    for *_, at_ns in packets:
        if at_ns < newest - OUTER.idle_s * 1e9:
            return True
        newest = max(newest, at_ns)
    return False


def totals(table: pa.Table) -> tuple[int, ...]:
    """Packets and octets, both directions together."""
    columns = ("packet_delta_count", "octet_delta_count", "reverse_packet_delta_count", "reverse_octet_delta_count")
    forward, octets, reverse, reverse_octets = (sum(table[name].to_pylist()) for name in columns)
    return forward + reverse, octets + reverse_octets


def in_order(batches: list[pa.RecordBatch]) -> pa.Table:
    """Sorted by start, then id: the order of the hash tables differs."""
    table = pa.Table.from_batches(batches, schema=FLOWS)
    return table.sort_by([("flow_start_nanoseconds", "ascending"), ("flow_id", "ascending")])
