"""The flow features again, in plain Python over lists: what the C code is compared with.

In: packets of one flow as records. Out: the row that docs/flow-features.md promises. Slow and simple on purpose.
"""

import dataclasses
import statistics
from typing import Any

FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One packet of a TCP flow."""

    at_ns: int
    back: bool
    flags: int
    data: int  # payload octets
    window: int


def stats(name: str, values: list[int], unit: str = "") -> dict[str, Any]:
    """min, mean, sample deviation, max; null without values, deviation 0 for one."""
    if not values:
        return {f"{name}_{stat}{unit}": None for stat in ("min", "mean", "std", "max")}
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    found = (min(values), statistics.fmean(values), deviation, max(values))
    return {f"{name}_{stat}{unit}": value for stat, value in zip(("min", "mean", "std", "max"), found, strict=True)}


def gaps(times: list[int]) -> tuple[list[int], int]:
    """Gaps to the latest time so far, and how many packets came before it."""
    found, late = [], 0
    for number, at in enumerate(times[1:], 1):
        latest = max(times[:number])
        if at >= latest:
            found.append(at - latest)
        else:
            late += 1
    return found, late


def side(prefix: str, packets: list[Seen]) -> dict[str, Any]:
    """The columns of one direction."""
    sizes = [40 + packet.data for packet in packets]
    between, late = gaps([packet.at_ns for packet in packets])
    counts = {
        "packet_delta_count": len(packets),
        "octet_delta_count": sum(sizes),
        "layer2_octet_delta_count": sum(sizes) + 14 * len(packets),
        "payload_octet_count": sum(packet.data for packet in packets),
        "header_octet_count": 40 * len(packets),
        "tcp_initial_window_size": packets[0].window if packets else None,
        "reordered_packet_count": late,
        "fragment_count": 0,
    }
    flags = {f"tcp_{flag}_total_count": sum(p.flags >> bit & 1 for p in packets) for bit, flag in enumerate(FLAGS)}
    found = counts | flags | stats("packet_size", sizes) | stats("inter_arrival", between, "_ns")
    return {prefix + name: value for name, value in found.items()}


def periods(times: list[int], activity_ns: int) -> tuple[list[int], list[int]]:
    """Activity periods and the silences between them."""
    active, idle = [], []
    start = latest = times[0]
    for at in times[1:]:
        if at - latest > activity_ns:
            active.append(latest - start)
            idle.append(at - latest)
            start = at
        latest = max(latest, at)
    return [*active, latest - start], idle


def row(packets: list[Seen], activity_ns: int) -> dict[str, Any]:
    """All columns but the key, the id and the end reason. The first packet must be the earliest."""
    times = [packet.at_ns for packet in packets]
    sizes = [40 + packet.data for packet in packets]
    duration = max(times) - times[0]
    active, idle = periods(times, activity_ns)
    first = packets[:16]
    steps = [0] + [max(0, b.at_ns - max(times[: number + 1])) for number, b in enumerate(first[1:])]
    return {
        "flow_start_nanoseconds": times[0],
        "flow_end_nanoseconds": max(times),
        "flow_duration_nanoseconds": duration,
        **side("", [packet for packet in packets if not packet.back]),
        **side("reverse_", [packet for packet in packets if packet.back]),
        **stats("flow_packet_size", sizes),
        **stats("flow_inter_arrival", gaps(times)[0], "_ns"),
        **stats("active", active, "_ns"),
        **stats("idle", idle, "_ns"),
        "packets_per_second": len(packets) * 1e9 / duration if duration else None,
        "octets_per_second": sum(sizes) * 1e9 / duration if duration else None,
        "splt_direction": [int(packet.back) for packet in first],
        "splt_packet_size": sizes[:16],
        "splt_inter_arrival_ns": steps,
    }
