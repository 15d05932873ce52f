"""Three rungs behind one face, so that one table of packets runs on all: the twin, XDP and tc.

XDP and tc run by BPF_PROG_TEST_RUN with `clock_from_meta`: every frame brings its own time, as it does in the twin.
"""

import ipaddress
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from loomidi.loom.capture import layouts
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.loom.capture.xdp import bpf, loading
from loomidi.loom.capture.xdp.attaching import Attached
from loomidi.loom.capture.xdp.kernel import KernelShield
from loomidi.loom.capture.xdp.loading import ShieldSettings

SECOND = 10**9
START = 1_000 * SECOND
_XDP_DROP, _XDP_PASS = 1, 2
_TC_DROP, _TC_NEXT = 2, 2**32 - 1


class Twin:
    """The reference."""

    def __init__(self, **settings: Any) -> None:
        self.shield: TableShield = TwinShield(settings=TwinSettings(**settings))
        self.shield.move_to(START)

    def send(self, frame: bytes, at_ns: int = START, wire: int = 0) -> str:
        return self.shield.process(frame, at_ns, wire or len(frame))

    def close(self) -> None:
        self.shield.close()


class Kernel:
    """One program, loaded and attached nowhere, with the packets' own clock."""

    def __init__(self, program: str, **settings: Any) -> None:
        chosen = ShieldSettings(clock_from_meta=True, **settings)
        self._loaded = loading.load(program, chosen)
        rung = "tc" if program == loading.TC else "xdp-native"
        self.shield: TableShield = KernelShield(Attached("test", 0, rung, self._loaded), chosen)
        self.shield.offset_ns = 0
        self._now = START
        self.shield.tables.clock = lambda: self._now

    def send(self, frame: bytes, at_ns: int = START, wire: int = 0) -> str:
        self._now = max(self._now, at_ns)
        verdict = self.run(frame, at_ns, wire or len(frame))
        return {_XDP_DROP: "drop", _XDP_PASS: "pass", _TC_NEXT: "pass"}[verdict]

    def run(self, frame: bytes, at_ns: int, wire: int) -> int:
        meta = bytes(layouts.Meta(at_ns, wire))
        context = struct.pack("=6I", len(meta), len(meta) + len(frame), 0, 0, 0, 0)
        return bpf.try_out(self._loaded.program, meta + frame, context).verdict

    def close(self) -> None:
        self.shield.close()


class Traffic(Kernel):
    """As `Kernel`, for tc: time and length are fields of the __sk_buff."""

    def run(self, frame: bytes, at_ns: int, wire: int) -> int:
        context = bytearray(192)
        struct.pack_into("=Q", context, 152, at_ns)
        struct.pack_into("=I", context, 160, wire)
        verdict = bpf.try_out(self._loaded.program, frame, bytes(context)).verdict
        return _XDP_DROP if verdict == _TC_DROP else verdict


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Test runs happen on the caller's CPU; the parts of a flow that changes CPU know no common gaps."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


RUNGS = {
    "twin": Twin,
    "xdp": lambda **settings: Kernel(loading.XDP, **settings),
    "tc": lambda **settings: Traffic(loading.TC, **settings),
}


@pytest.fixture(params=["twin", "xdp", "tc"])
def rung(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of the three in turn."""
    made = RUNGS[request.param]()
    yield made
    made.close()


def frame(
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    *,
    ports: tuple[int, int] = (40_000, 80),
    protocol: int = 6,
    flags: int = 0x10,
    payload: int = 10,
    tags: tuple[int, ...] = (),
) -> bytes:
    """One Ethernet frame: IPv4 or IPv6, TCP, UDP, SCTP or ICMP, with VLAN tags."""
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(target)
    bodies = {
        6: struct.pack("!HHIIBBHHH", *ports, 1, 1, 0x50, flags, 1000, 0, 0),
        17: struct.pack("!HHHH", *ports, 8 + payload, 0),
        132: struct.pack("!HHII", *ports, 1, 0),
        1: struct.pack("!BBHI", 8, 0, 0, 1),
        58: struct.pack("!BBHI", 128, 0, 0, 1),
    }
    body = bodies.get(protocol, b"") + b"x" * payload
    if a.version == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + a.packed + b.packed
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + a.packed + b.packed
    kind = b"\x08\x00" if a.version == 4 else b"\x86\xdd"
    shims = b"".join(b"\x81\x00" + struct.pack("!H", tag) for tag in tags)
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + shims + kind + ip + body
