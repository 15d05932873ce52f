"""When the first packet of an attack was on the link, and how many there were at which moment.

Called by `carrying`. In: the room and the link of the bridge to which the attacker is plugged in: before the shield, so
that what the shield drops is seen as well. Out: the kernel's time of the first frame, ns since the epoch, and samples
of the link's own counter. Frames that belong to no attack (neighbour discovery, router solicitation) are left out.
"""

import bisect
import contextlib
import mmap
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from loomidi.services.demo.testbed import Network

_ALL, _OUTGOING = 0x0003, 4
_ARP, _IP4, _IP6 = 0x0806, 0x0800, 0x86DD
_SOL_PACKET, _VERSION, _RX_RING = 263, 10, 5  # linux/if_packet.h
_BLOCK, _BLOCKS, _SLOT, _SLOTS = 1 << 16, 16, 2048, 512
_ADDRESS = 32  # of the sender within a slot: after the aligned header
_NEIGHBOURS = range(130, 138)  # ICMPv6: listeners, routers, neighbours
_SAMPLE_S = 0.05


class Ring:
    """Frames of one link with the time at which each passed, from a ring that the kernel writes (packet(7), version 2).

    The kernel stamps a frame as it passes; a time asked for when a busy machine gets round to reading would be late.
    """

    def __init__(self, link: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        self._socket.setsockopt(_SOL_PACKET, _VERSION, 1)
        self._socket.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("@IIII", _BLOCK, _BLOCKS, _SLOT, _SLOTS))
        self._slots = mmap.mmap(self._socket.fileno(), _BLOCK * _BLOCKS)
        self._socket.bind((link, _ALL))
        self._next = 0

    def frames(self, wait_s: float) -> Iterator[tuple[int, bytes]]:
        """(ns since the epoch, frame) of what has come in, waiting a little for the first; own frames are left out."""
        if not select.select([self._socket], [], [], wait_s)[0]:
            return
        for _ in range(_SLOTS):
            base = self._next * _SLOT
            status, _, kept, start, _, seconds, nanoseconds = struct.unpack_from("@IIIHHII", self._slots, base)
            if not status & 1:
                return
            direction = self._slots[base + _ADDRESS + 10]
            frame = self._slots[base + start : base + start + kept]
            struct.pack_into("@I", self._slots, base, 0)  # the kernel may have it again
            self._next = (self._next + 1) % _SLOTS
            if direction != _OUTGOING:
                yield seconds * 1_000_000_000 + nanoseconds, frame

    def close(self) -> None:
        """Let go of ring and socket."""
        self._slots.close()
        self._socket.close()


class Tap(threading.Thread):
    """Looks at one link until `finish`."""

    def __init__(self, network: Network, link: str, wanted: Callable[[bytes], bool]) -> None:
        super().__init__(daemon=True)
        self._network, self._link, self._wanted = network, link, wanted
        self._stop_asked, self._ready = threading.Event(), threading.Event()
        self.first_ns = 0
        self.samples: list[tuple[int, int]] = []  # (ns since the epoch, packets from the attacker so far)

    def start(self) -> None:
        """Begin, and return when it listens."""
        super().start()
        self._ready.wait(10.0)

    def run(self) -> None:
        """In the wire's room: look for the first frame, sample the counter all the time."""
        from pyroute2 import IPRoute

        with self._network.inside("wire"), IPRoute() as netlink, contextlib.closing(Ring(self._link)) as ring:
            index = netlink.link_lookup(ifname=self._link)[0]
            self._ready.set()
            while not self._stop_asked.is_set():
                self.samples.append((time.time_ns(), _received(netlink, index)))
                if self.first_ns:
                    self._stop_asked.wait(_SAMPLE_S)
                else:
                    self.first_ns = next((at for at, frame in ring.frames(_SAMPLE_S) if self._wanted(frame)), 0)
            self.samples.append((time.time_ns(), _received(netlink, index)))

    def finish(self) -> None:
        """Stop; the last sample is taken now."""
        self._stop_asked.set()
        self.join(5.0)


def count_at(samples: list[tuple[int, int]], at_ns: int) -> int:
    """The counter at a moment: before the first sample its value, after the last its value, else in proportion."""
    if not samples:
        return 0
    index = bisect.bisect_left(samples, (at_ns, 0))
    if index == 0 or index == len(samples):
        return samples[min(index, len(samples) - 1)][1]
    (before, low), (after, high) = samples[index - 1], samples[index]
    return low + (high - low) * (at_ns - before) // max(after - before, 1)


def is_packet(frame: bytes) -> bool:
    """Whether a frame is an IP packet that is not neighbour discovery."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _IP4:
        return True
    options = frame[20:21] == b"\x00"  # hop-by-hop options stand before a listener's report
    return kind == _IP6 and not options and not (frame[20:21] == b"\x3a" and frame[54] in _NEIGHBOURS)


def is_neighbour(frame: bytes) -> bool:
    """Whether a frame is an ARP answer or a neighbour advertisement."""
    kind = int.from_bytes(frame[12:14], "big")
    answer = kind == _ARP and frame[20:22] == b"\x00\x02"
    return answer or (kind == _IP6 and b"\x88\x00" in frame[54:80])


def is_no_page(frame: bytes) -> bool:
    """Whether a frame is a packet of anything but a web request: somebody honest shares the link."""
    web = frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x06" and frame[36:38] == b"\x00\x50"
    return is_packet(frame) and not web


def _received(netlink: Any, index: int) -> int:
    found = netlink.get_links(index)[0].get_attr("IFLA_STATS64")
    return int(dict(found)["rx_packets"])
