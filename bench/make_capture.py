"""Make the capture that the meter's benchmarks read: 1 M packets of 20 k flows, the same octets every time.

Called by bench scripts (`capture()`) and by hand (`python bench/make_capture.py`). In: nothing but the fixed seed. Out:
one pcap in the cache folder, made once. TCP conversations from handshake to FIN with data both ways, DNS-like UDP
exchanges and pings, interleaved in time over 250 s; every flow ends within 55 s, a FIN and what follows it come within
milliseconds, and no tuple comes twice, so that meters with other timeouts count the same flows.
"""

import argparse
import struct
from pathlib import Path
from typing import Any

import numpy as np

PACKETS = 1_000_000
FLOWS = 20_000
SEED = 20260117
FOLDER = Path.home() / ".cache" / "loomidi" / "bench"
_UDP, _PING = 8_000, 1_000  # flows; the rest is TCP
_START_S = 1_700_000_000


def capture(packets: int = PACKETS, flows: int = FLOWS, folder: Path = FOLDER) -> Path:
    """Path of the capture, made when it is not there yet."""
    path = folder / f"mix-{packets}-{flows}-v2.pcap"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{packets}.part")
    with partial.open("wb") as out:
        _write(out, packets, flows)
    partial.rename(path)
    return path


def _lengths(packets: int, flows: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Packets and protocol of each flow: heavy-tailed TCP, UDP of 2, pings of 8, in sum exactly `packets`."""
    udp, ping = flows * _UDP // FLOWS, flows * _PING // FLOWS
    tcp = flows - udp - ping
    protocols = np.concatenate([np.full(tcp, 6), np.full(udp, 17), np.full(ping, 1)])
    left = packets - 2 * udp - 8 * ping
    weights = np.clip(chance.lognormal(0, 1, tcp), 0.05, 40)
    lengths = np.maximum(8, (weights / weights.sum() * left).astype(np.int64))
    lengths[np.argmax(lengths)] += left - lengths.sum()
    return np.concatenate([lengths, np.full(udp, 2), np.full(ping, 8)]), protocols


def _times(lengths: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """us since the start, ascending within each flow, at most 55 s long; the last four packets 1 ms apart."""
    starts = chance.integers(0, 200_000_000, len(lengths))
    spans = chance.integers(1_000, 54_000_000, len(lengths))
    flow = np.repeat(np.arange(len(lengths)), lengths)
    offsets = chance.random(len(flow)) * spans[flow]
    order = np.lexsort((offsets, flow))
    times = (starts[flow] + offsets[order]).astype(np.int64)
    ends = np.cumsum(lengths)[lengths >= 8]
    for back in (3, 2, 1):
        times[ends - back] = times[ends - 4] + (4 - back) * 1000
    return times


def _tcp_step(place: int, length: int, size: int) -> tuple[bool, int, int]:
    """From the initiator?, flags and payload of packet `place` of a conversation of `length`."""
    if place < 3:
        return place != 1, (0x02, 0x12, 0x10)[place], 0
    if place >= length - 4:
        step = place - (length - 4)
        return step in (0, 3), (0x11, 0x10, 0x11, 0x10)[step], 0
    if place % 3 == 2:
        return True, 0x10, 0  # acknowledges the two before
    return place == 3 or place % 17 == 0, 0x18, size


def _frame(flow: int, protocol: int, forward: bool, flags: int, payload: bytes, place: int) -> bytes:
    """Ethernet, IPv4 and the transport header; ports and addresses follow from the number of the flow."""
    client, server = struct.pack("!I", 0x0A000000 + flow % 60_000 + 1), struct.pack("!I", 0xC0A80000 + flow % 997 + 1)
    ports = (32768 + flow % 28_000, 443 if protocol == 6 else 53)
    source, target = (client, server) if forward else (server, client)
    low, high = ports if forward else ports[::-1]
    if protocol == 6:
        head = struct.pack("!HHIIBBHHH", low, high, place * 1000, place, 5 << 4, flags, 64240, 0, 0)
    elif protocol == 17:
        head = struct.pack("!HHHH", low, high, 8 + len(payload), 0)
    else:
        head = struct.pack("!BBHHH", 8 if forward else 0, 0, 0, flow & 0xFFFF, place)
    total = 20 + len(head) + len(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, total, place & 0xFFFF, 0x4000, 64, protocol, 0, source, target)
    frame = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0" + ip + head + payload
    return frame.ljust(60, b"\0")


def _write(out: Any, packets: int, flows: int) -> None:
    chance = np.random.default_rng(SEED)
    lengths, protocols = _lengths(packets, flows, chance)
    times = _times(lengths, chance)
    flow_of = np.repeat(np.arange(flows), lengths)
    place_of = np.arange(packets) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = np.argsort(times, kind="stable")
    sizes = chance.choice([120, 350, 900, 1400], packets, p=[0.35, 0.3, 0.15, 0.2]).tolist()
    noise = chance.bytes(4096)
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    rows = zip(order.tolist(), flow_of[order].tolist(), place_of[order].tolist(), times[order].tolist(), strict=True)
    for number, flow, place, at_us in rows:
        protocol = int(protocols[flow])
        forward, flags, size = place % 2 == 0, 0, 64
        if protocol == 6:
            forward, flags, size = _tcp_step(place, int(lengths[flow]), sizes[number])
        at = number % 2600
        frame = _frame(flow, protocol, forward, flags, noise[at : at + size], place)
        seconds, fraction = divmod(at_us, 1_000_000)
        out.write(struct.pack("<IIII", _START_S + seconds, fraction, len(frame), len(frame)) + frame)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--packets", type=int, default=PACKETS)
    arguments.add_argument("--flows", type=int, default=FLOWS)
    given = arguments.parse_args()
    print(capture(given.packets, given.flows))
