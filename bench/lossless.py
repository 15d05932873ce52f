"""No packet is lost on the way to the flow records: live frames at the generator's full rate, added up to the packet.

Run by `make bench` as root. A program run by BPF_PROG_TEST_RUN with live frames redirects them into a veth pair; the
shield on its other end accounts them while its tables are drained every interval. Floor: the same generator against a
bare
drop. The balance: generator = interface = counters = flow records + overflow. In: nothing. Out: a table, `--json FILE`,
exit 1 when it does not add up.
"""

import argparse
import contextlib
import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loomidi.loom.capture import ShieldSettings, native, open_shield
from loomidi.loom.capture.xdp import bpf, libbpf, loading
from loomidi.loom.capture.xdp.attaching import index_of
from loomidi.loom.flows.settings import MeterSettings

INTO, AT = "lmgen0", "lmgen1"
BATCH = 1 << 16  # frames of one system call
FRAME = (
    bytes.fromhex("020000000001020000000002")
    + b"\x08\x00"
    + struct.pack("!BBHHHBBH4s4sHHHH", 0x45, 0, 46, 0, 0, 64, 17, 0, b"\x0a\0\0\0", b"\xc0\0\2\1", 1024, 53, 26, 0)
    + b"\0" * 18
)


@contextlib.contextmanager
def veth() -> Iterator[None]:
    """Two ends, up, silent."""
    add = ("ip", "link", "add", INTO, "type", "veth", "peer", "name", AT)
    subprocess.run(add, check=True)
    try:
        for each in (INTO, AT):
            Path(f"/proc/sys/net/ipv6/conf/{each}/disable_ipv6").write_text("1", encoding="ascii")
            subprocess.run(("ip", "link", "set", each, "up"), check=True)
        yield
    finally:
        subprocess.run(("ip", "link", "del", INTO), check=True)


class Generator:
    """Sends as fast as it can, on a thread of its own."""

    def __init__(self, flows: int) -> None:
        with libbpf.Object(str(native.FOLDER / "generate.bpf.o")) as opened:
            opened.only("lm_generate")
            opened.constants(struct.pack("=II", index_of(INTO), flows))
            opened.load()
            self._program = opened.program("lm_generate")
            self._sent = loading.wrap(opened.maps(["lm_sent"])["lm_sent"])

    @property
    def sent(self) -> int:
        """Frames that went through the program."""
        value = self._sent.lookup(b"\0\0\0\0") or b""
        return sum(struct.unpack(f"={len(value) // 8}Q", value))

    def run(self, seconds: float) -> None:
        """Until the time is up."""
        until = time.monotonic() + seconds
        context = struct.pack("=6I", 0, len(FRAME), 0, 0, 0, 0)
        while time.monotonic() < until:
            bpf.try_out(self._program, FRAME, context, repeat=BATCH, flags=bpf.TEST_XDP_LIVE_FRAMES)

    def close(self) -> None:
        """Unload."""
        os.close(self._program)
        self._sent.close()


def received() -> int:
    """Of the receiving end, as the interface counts them."""
    return int(Path(f"/sys/class/net/{AT}/statistics/rx_packets").read_text(encoding="ascii"))


def settled(read: Callable[[], int]) -> int:
    """A counter, once it stands still."""
    before = -1
    while (now := read()) != before:
        before = now
        time.sleep(0.2)
    return now


def floor(seconds: float, flows: int) -> dict[str, Any]:
    """A bare drop at the other end."""
    with veth(), libbpf.Object(str(native.FOLDER / "generate.bpf.o")) as opened:
        opened.only("lm_bare_drop")
        opened.load()
        link = bpf.link(opened.program("lm_bare_drop"), index_of(AT), bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV)
        generator = Generator(flows)
        generator.run(seconds)
        sent, seen = generator.sent, settled(received)
        generator.close()
        os.close(link)
    return {"sent": sent, "received": seen, "packets_per_second": round(sent / seconds)}


def shielded(seconds: float, flows: int, interval: float) -> dict[str, Any]:
    """The shield at the other end, drained all the while."""
    settings = ShieldSettings(max_flows=4 * flows, watch=None, flows=MeterSettings(max_flows=4 * flows))
    with veth(), open_shield(AT, "native", settings) as shield:
        generator = Generator(flows)
        thread = threading.Thread(target=generator.run, args=(seconds,))
        thread.start()
        in_flows = drains = 0
        while thread.is_alive():
            time.sleep(interval)
            in_flows += packets_of(shield.drain())
            drains += 1
        sent = generator.sent
        counted = settled(lambda: sum(packets for packets, _ in shield.counters().values()))
        in_flows += packets_of(shield.flush())
        counters = {name: packets for name, (packets, _) in shield.counters().items() if packets}
        result = {"sent": sent, "received": received(), "counted": counted, "in_flow_records": in_flows}
        generator.close()
    result |= {"counters": counters, "drains": drains, "packets_per_second": round(sent / seconds)}
    return result


def packets_of(batches: Iterator[Any]) -> int:
    """Packets in flow records, both directions."""
    import pyarrow.compute as pc

    names = ("packet_delta_count", "reverse_packet_delta_count")
    return sum(pc.sum(batch.column(name)).as_py() or 0 for batch in batches for name in names)


def adds_up(result: dict[str, Any]) -> bool:
    """Generator = interface = counters; what passed = flow records + what only a counter knows."""
    lost = result["counters"].get("overflow_lost", 0)
    same = result["sent"] == result["received"] == result["counted"]
    return bool(same and result["counted"] == result["in_flow_records"] + lost)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--flows", type=int, default=8192, help="a power of two")
    parser.add_argument("--interval", type=float, default=0.5, help="between drains, s")
    options = parser.parse_args()
    bare = floor(options.seconds, options.flows)
    result = shielded(options.seconds, options.flows, options.interval)
    holds = adds_up(result)
    print(f"floor, bare drop     {bare['packets_per_second']:>12,} packets/s")
    print(f"shield, {options.flows:,} flows  {result['packets_per_second']:>12,} packets/s, {result['drains']} drains")
    for name in ("sent", "received", "counted", "in_flow_records"):
        print(f"{name:20} {result[name]:>12,}")
    print(f"counters             {result['counters']}")
    print("adds up to the packet" if holds else "DOES NOT ADD UP")
    if options.json:
        document = {"floor": bare, "shield": result, "adds_up": holds}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
