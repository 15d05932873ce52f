"""What one packet costs in the shield, beside xdp-filter loaded in the same run.

Run by `make bench` as root. BPF_PROG_TEST_RUN, minimum of `--rounds` times `--repeat` repetitions, minus a bare-drop
program measured the same way. A row with a peer and its peer take turns, each loaded anew for every round, so that a
slow second of the machine or an unlucky page falls on both. In: nothing. Out: a table on standard output, `--json
FILE`. Rows whose target is missed are marked; the exit code is 1 when there is one. Without xdp-filter's objects its
rows are left out, and it is said.
"""

import argparse
import contextlib
import dataclasses
import ipaddress
import json
import statistics
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.capture import layouts, native, verdicts
from loomidi.loom.capture.shielding import TableShield
from loomidi.loom.capture.xdp import bpf, libbpf, loading
from loomidi.loom.capture.xdp.attaching import Attached
from loomidi.loom.capture.xdp.kernel import KernelShield
from loomidi.loom.capture.xdp.loading import ShieldSettings

HOSTS, PREFIXES = 60_000, 20_000
XDP_PASS = 2
SOURCE, TARGET = "10.1.2.3", "192.0.2.1"
_IP = ("xdp_stats_map", "filter_ipv4", "filter_ipv6")
MAPS_OF_PEER = {"xdpfilt_alw_ip": _IP, "xdpfilt_alw_all": (*_IP, "filter_ethernet", "filter_ports")}


def frame(source: str = SOURCE, target: str = TARGET, port: int = 40000, size: int = 64) -> bytes:
    """UDP in Ethernet, padded to `size` octets."""
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(target)
    head = 40 if a.version == 6 else 20
    payload = b"\0" * max(0, size - 14 - head - 8)
    udp = struct.pack("!HHHH", port, 53, 8 + len(payload), 0) + payload
    ethernet = b"\2\0\0\0\0\1\2\0\0\0\0\2" + (b"\x86\xdd" if a.version == 6 else b"\x08\x00")
    if a.version == 6:
        return ethernet + struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + a.packed + b.packed + udp
    return ethernet + struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + a.packed + b.packed + udp


@dataclasses.dataclass
class Row:
    """One line of the table."""

    name: str
    each_ns: float
    verdict: int
    peer: str = ""
    peer_ns: float | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        return None if self.peer_ns is None else self.each_ns <= self.peer_ns


Load = Callable[[], contextlib.AbstractContextManager[int]]


def plain(name: str) -> int:
    """One program of generate.bpf.o, alone."""
    with libbpf.Object(str(native.FOLDER / "generate.bpf.o")) as opened:
        opened.only(name)
        opened.load()
        return opened.program(name)


class Bench:
    """Runs programs. The bare drop, which every row has in it, is the fastest seen in the whole run."""

    def __init__(self, rounds: int, repeat: int) -> None:
        self.rounds, self.repeat = rounds, repeat
        self.bare_program, self.clock_program = plain("lm_bare_drop"), plain("lm_bare_clock")
        self.bare, _ = self._time(self.bare_program, frame())

    def _time(self, program: int, data: bytes) -> tuple[float, int]:
        runs = [bpf.try_out(program, data, repeat=self.repeat) for _ in range(self.rounds)]
        return min(run.each_ns for run in runs), runs[0].verdict

    def best(self, load: Load, data: bytes) -> tuple[float, int]:
        """One round of a program that is loaded for it: ns with the bare drop in it, and the verdict."""
        self.bare = min(self.bare, bpf.try_out(self.bare_program, data, repeat=self.repeat).each_ns)
        with load() as program:
            run = bpf.try_out(program, data, repeat=self.repeat)
        return run.each_ns, run.verdict

    def row(self, name: str, program: int, data: bytes) -> Row:
        """Measure one case."""
        each, verdict = self._time(program, data)
        return Row(name, each, verdict)


@contextlib.contextmanager
def shield(settings: ShieldSettings) -> Iterator[KernelShield]:
    """Loaded, attached nowhere."""
    loaded = loading.load(loading.XDP, settings)
    made = KernelShield(Attached("bench", 0, "xdp-native", loaded), settings)
    try:
        yield made
    finally:
        made.close()


def many_hosts(made: TableShield, count: int) -> None:
    """Deny that many addresses, and SOURCE."""
    hosts = made.tables.loaded.maps[layouts.HOSTS]  # type: ignore[attr-defined]
    addresses = [ipaddress.ip_address(int(ipaddress.ip_address("172.16.0.0")) + i) for i in range(count - 1)]
    deny = Deny(Match(source=SOURCE), "drop", 86_400)
    entry = bytes(verdicts.verdict_of(deny, layouts.HOSTS, b"", made.tables.now_ns(), 1))
    keys = b"".join(verdicts.address_of(str(address)) for address in addresses)
    hosts.update_batch(keys, entry * len(addresses), len(addresses))
    made.deny(deny)


def many_prefixes(made: TableShield, count: int) -> None:
    """Deny that many /24, and the one of SOURCE."""
    for i in range(count - 1):
        made.deny(Deny(Match(source=f"{100 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.0/24"), "drop", 86_400))
    made.deny(Deny(Match(source="10.1.2.0/24"), "drop", 86_400))


def quiet(**more: object) -> ShieldSettings:
    """Verdicts only: as xdp-filter, which keeps no flows."""
    return ShieldSettings(accounting=False, watch=None, max_flows=1, **more)  # type: ignore[arg-type]


def verdict_rows(bench: Bench) -> list[Row]:
    """Deny hits."""
    rows = []
    with shield(quiet()) as made:
        many_hosts(made, HOSTS)
        program = made.attached.loaded.program
        rows.append(bench.row("no hit, host among 60,000", program, frame("10.9.9.9")))
        made.deny(Deny(Match(source="2001:db8::7"), "drop", 86_400))
        rows.append(bench.row("deny hit, IPv6 host", program, frame("2001:db8::7", "2001:db8::1")))
    with shield(quiet()) as made:
        made.deny(Deny(Match(SOURCE, TARGET, 40000, 53, 17), "drop", 86_400))
        rows.append(bench.row("deny hit, 5-tuple", made.attached.loaded.program, frame()))
    with shield(quiet()) as made:
        many_prefixes(made, PREFIXES)
        rows.append(bench.row(f"deny hit, CIDR among {PREFIXES:,}", made.attached.loaded.program, frame()))
    with shield(quiet()) as made:
        made.deny(Deny(Match(source=SOURCE), "rate", 86_400, rate_pps=10**9, burst=10**9))
        rows.append(bench.row("rate hit, host", made.attached.loaded.program, frame()))
    return rows


def accounting_rows(bench: Bench) -> list[Row]:
    """Passing packets with full flow records."""
    rows = []
    full = ShieldSettings(watch=None)
    with shield(full) as made:
        rows.append(bench.row("known flow, IPv6", made.attached.loaded.program, frame("2001:db8::7", "2001:db8::1")))
    with shield(ShieldSettings()) as made:
        rows.append(bench.row("known flow, and source counters", made.attached.loaded.program, frame()))
    with shield(dataclasses.replace(full, max_flows=1)) as made:
        fill = frame("10.7.7.7")
        for _ in range(200):
            bpf.try_out(made.attached.loaded.program, fill)
        for port in range(4096):
            bpf.try_out(made.attached.loaded.program, frame(port=port))
        rows.append(bench.row("table full, ring full", made.attached.loaded.program, frame("10.8.8.8")))
    return rows


def new_flow_row(bench: Bench) -> Row:
    """Every packet opens a flow, so each is a test run of its own: medians, of cold runs, minus the bare drop's."""
    frames = [frame(f"10.4.{i >> 8}.{i & 255}") for i in range(20_000)]
    bare = statistics.median(bpf.try_out(bench.bare_program, each).each_ns for each in frames)
    with shield(ShieldSettings(watch=None)) as made:
        program = made.attached.loaded.program
        each_ns = statistics.median(bpf.try_out(program, each).each_ns for each in frames)
        assert made.counters()["accounted"][0] == len(frames), "a flow did not fit"
    return Row("new flow (single runs, median)", each_ns - bare + bench.bare, XDP_PASS)


@contextlib.contextmanager
def denying(repeat: int) -> Iterator[int]:
    """Our program with HOSTS denied sources; after the round every hit must have been counted."""
    with shield(quiet()) as made:
        many_hosts(made, HOSTS)
        yield made.attached.loaded.program
        hits = next(e for e in made.entries() if e.deny.match.source == SOURCE)
        assert hits.hits == repeat, f"counted {hits.hits} hits"


@contextlib.contextmanager
def accounting() -> Iterator[int]:
    """Our program with full flow records and no verdict entry."""
    with shield(ShieldSettings(watch=None)) as made:
        yield made.attached.loaded.program


def peer_path(name: str) -> Path:
    """Where Debian's xdp-tools put an object of xdp-filter."""
    return next(iter(Path("/usr/lib").glob(f"*/bpf/{name}.o")), Path("/usr/lib/bpf") / f"{name}.o")


@contextlib.contextmanager
def peer(name: str, entries: int) -> Iterator[int]:
    """xdp-filter's object with as many denied sources."""
    with libbpf.Object(str(peer_path(name))) as opened:
        opened.unpin(MAPS_OF_PEER[name])
        opened.resize({"filter_ipv4": max(entries, 1)})
        opened.load()
        program = opened.program(name)
        table = loading.wrap(opened.maps(["filter_ipv4"])["filter_ipv4"])
    flag = struct.pack("=Q", 1) * loading.possible_cpus()
    base = int(ipaddress.ip_address("172.16.0.0"))
    for i in range(entries - 1):
        table.update(ipaddress.ip_address(base + i).packed, flag)
    if entries:
        table.update(ipaddress.ip_address(SOURCE).packed, flag)
    yield program


def race(bench: Bench, name: str, load: Load, rival: str, entries: int) -> Row:
    """A row beside its peer, in turns."""
    there = peer_path(rival).exists()
    if not there:
        print(f"{rival}: not installed (package xdp-tools); its figure is left out")
    ours, theirs = [], []
    for _ in range(bench.rounds):
        ours.append(bench.best(load, frame()))
        theirs += [bench.best(lambda: peer(rival, entries), frame())] if there else []
    assert {verdict for _, verdict in theirs} <= {ours[0][1]}, "the peer gives another verdict"
    row = Row(name, min(ours)[0], ours[0][1], rival.replace("xdpfilt_", "xdp-filter "))
    row.peer_ns = min(theirs)[0] if theirs else None
    return row


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3_000_000)
    options = parser.parse_args()
    bench = Bench(options.rounds, options.repeat)
    rows = [
        race(bench, f"deny hit, host among {HOSTS:,}", lambda: denying(options.repeat), "xdpfilt_alw_ip", HOSTS),
        race(bench, "known flow, full accounting", accounting, "xdpfilt_alw_all", 0),
        bench.row("of that: bpf_ktime_get_ns alone", bench.clock_program, frame()),
        *verdict_rows(bench),
        *accounting_rows(bench),
        new_flow_row(bench),
    ]
    for row in rows:
        row.each_ns -= bench.bare
        row.peer_ns = None if row.peer_ns is None else row.peer_ns - bench.bare
    print(f"bare drop {bench.bare:.0f} ns, subtracted; minimum of {options.rounds} x {options.repeat:,}")
    for row in rows:
        beside = "" if row.peer_ns is None else f"  {row.peer} {row.peer_ns:.0f} ns: {'met' if row.met else 'MISSED'}"
        print(f"{row.name:34} {row.each_ns:6.0f} ns{beside}")
    if options.json:
        document = {"bare_ns": bench.bare, "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
