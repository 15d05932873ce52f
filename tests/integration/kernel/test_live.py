"""On a real interface: who holds it, who dies, what vanishes, what fills up, what draining under traffic loses."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import Conflict, EnvironmentLacks, InputError, Refused, Retryable, UsageError
from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.capture import ShieldSettings, attach, detach, open_shield, probe, reopen
from loomidi.loom.capture.verdicts import Limits, Watch
from loomidi.loom.capture.xdp import attaching
from loomidi.loom.capture.xdp.kernel import KernelShield
from tests.integration.kernel.conftest import frame

pytestmark = pytest.mark.kernel

NAME, PEER = "lmtest0", "lmtest1"
SMALL = ShieldSettings(max_flows=512, max_entries=8, max_watched=64, record_ring=4096)
MATCH = Match("10.0.0.1")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def veth() -> Iterator[str]:
    """A pair, up, silent: no IPv6 of its own."""
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", PEER)
    for each in (NAME, PEER):
        Path(f"/proc/sys/net/ipv6/conf/{each}/disable_ipv6").write_text("1")
        run("ip", "link", "set", each, "up")
    yield NAME
    detach(NAME)
    subprocess.run(("ip", "link", "del", NAME), check=False, capture_output=True)


def send(frames: list[bytes]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((PEER, 0))
        for each in frames:
            sock.send(each)


def counted(shield: KernelShield, expected: int) -> dict[str, int]:
    """Reason -> packets, once that many have come through the softirq."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        counts = {name: packets for name, (packets, _) in shield.counters().items() if packets}
        if sum(counts.values()) >= expected:
            return counts
        time.sleep(0.001)
    raise AssertionError(f"{counts} instead of {expected} packets")


@pytest.mark.parametrize("mode", ["native", "generic", "tc"])
def test_each_rung_drops_real_frames(veth: str, mode: str) -> None:
    with open_shield(veth, mode, SMALL) as shield:
        shield.deny(Deny(MATCH, "drop", 60))
        send([frame(), frame("10.0.0.9"), frame(tags=(7,)), frame("10.0.0.9", tags=(7, 8))])
        assert counted(shield, 4) == {"drop_host": 2, "accounted": 2}
        flows = [
            row
            for batch in shield.flush()
            for row in batch.select(["dot1q_vlan_id", "dot1q_customer_vlan_id"]).to_pylist()
        ]
        assert sorted(tuple(row.values()) for row in flows) == [(0, 0), (7, 8)]


def test_a_second_agent_is_told_who_was_first(veth: str) -> None:
    with open_shield(veth, "native", SMALL):
        for mode in ("auto", "native", "generic", "tc"):
            with pytest.raises(Conflict, match="has a shield already"):
                open_shield(veth, mode, SMALL)
    open_shield(veth, "native", SMALL).close()


def test_a_foreign_xdp_program_is_left_alone_and_tc_is_taken(veth: str) -> None:
    run("ip", "link", "set", NAME, "xdp", "obj", _foreign(), "sec", "xdp")
    with pytest.raises(Conflict, match="is taken by"):
        open_shield(veth, "native", SMALL)
    with open_shield(veth, "auto", SMALL) as shield:
        assert shield.rung == "tc"
        assert [rung for rung, _ in shield.attached.tried] == ["xdp-native", "xdp-generic"]


def _foreign() -> str:
    from loomidi.loom.capture import native

    return str(native.FOLDER / "generate.bpf.o")


def test_an_interface_that_vanishes_is_noticed_and_told(veth: str) -> None:
    with open_shield(veth, "native", SMALL) as shield:
        run("ip", "link", "del", NAME)
        with pytest.raises(EnvironmentLacks, match="has gone"):
            shield.suspects(5)


def test_pins_of_a_vanished_interface_are_cleaned_by_detach_and_by_attach(veth: str) -> None:
    attach(veth, "native", SMALL).close()
    run("ip", "link", "del", NAME)
    with pytest.raises((EnvironmentLacks, InputError)):
        reopen(NAME)
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", PEER)
    with pytest.raises(EnvironmentLacks, match="has gone"):
        reopen(NAME)
    attach(NAME, "native", SMALL).close()
    assert [detach(NAME) for _ in range(2)] == [True, False]
    assert not attaching.pins_of(NAME).exists()


_AGENT = """
import sys, time
from loomidi.contracts.ports import Deny
from loomidi.contracts.records import Match
from loomidi.loom.capture import ShieldSettings, attach
shield = attach("lmtest0", "native", ShieldSettings(max_flows=512, max_entries=8, max_watched=64))
shield.deny(Deny(Match("10.0.0.1"), "drop", 1.0))
print("ready", flush=True)
time.sleep(60)
"""


def test_a_killed_agent_leaves_entries_that_end_on_time_and_a_shield_that_detaches(veth: str) -> None:
    agent = subprocess.Popen([sys.executable, "-c", _AGENT], stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    assert agent.stdout.readline() == "ready\n"
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    agent.stdout.close()
    with reopen(veth) as shield:
        entry = shield.entry(MATCH)
        assert entry is not None
        assert entry.live
        send([frame()])
        assert counted(shield, 1) == {"drop_host": 1}
        until_ns = entry.expires_ns + 20_000_000  # a tick of the coarse clock
        time.sleep(max(0, until_ns - time.time_ns()) / 1e9)
        send([frame()])
        assert counted(shield, 2) == {"drop_host": 1, "accounted": 1}
        assert not shield.entry(MATCH).live
    assert detach(veth)
    assert attaching.xdp_program(attaching.index_of(NAME)) == 0


def test_an_agent_that_never_pinned_leaves_nothing(veth: str) -> None:
    open_shield(veth, "native", SMALL).close()
    assert attaching.xdp_program(attaching.index_of(NAME)) == 0


def test_a_crash_between_pins_and_link_is_swept(veth: str) -> None:
    attach(veth, "native", SMALL).close()
    (attaching.pins_of(veth) / "link").unlink()
    attach(veth, "native", SMALL).close()
    assert attaching.pins_of(veth).joinpath("link").exists()


def test_a_full_table_of_live_entries_refuses_and_one_of_dead_ones_makes_room(veth: str) -> None:
    with open_shield(veth, "native", SMALL) as shield:
        for i in range(8):
            shield.deny(Deny(Match(f"10.1.0.{i}"), "drop", 60))
        with pytest.raises(Retryable, match="full of live entries"):
            shield.deny(Deny(MATCH, "drop", 60))
        shield.disarm()
        shield.deny(Deny(MATCH, "drop", 60))
        assert [state.deny.match.source for state in shield.entries()] == ["10.0.0.1"]


def test_full_flow_table_and_full_ring_are_counted_to_the_packet(veth: str) -> None:
    with open_shield(veth, "native", ShieldSettings(max_flows=1, record_ring=4096, watch=None)) as shield:
        send([frame(ports=(1000 + i, 80)) for i in range(400)])
        counts = counted(shield, 400)
        assert sum(counts.values()) == 400
        assert {"overflowed", "overflow_lost"} < set(counts)
        rows = sum(batch.num_rows for batch in shield.flush())
        assert rows == counts["accounted"] + counts["overflowed"]


def test_suspects_that_find_the_ring_full_are_counted(veth: str) -> None:
    watch = Watch(source=Limits(packets=1), service=Limits())
    with open_shield(veth, "native", ShieldSettings(event_ring=4096, watch=watch)) as shield:
        send([frame(source=f"10.9.0.{i}") for i in range(200)])
        counted(shield, 200)
        told = len(shield.suspects(0))
        assert 0 < told < 200
        assert shield.untold() == 200 - told


def test_disarmed_for_good_refuses_until_armed(veth: str) -> None:
    with open_shield(veth, "native", SMALL) as shield:
        shield.deny(Deny(MATCH, "drop", 60))
        shield.disarm(for_good=True)
        with pytest.raises(Refused, match="disarmed"):
            shield.deny(Deny(MATCH, "drop", 60))
        shield.arm()
        assert not shield.entry(MATCH).live
        shield.deny(Deny(MATCH, "drop", 60))
        send([frame()])
        assert counted(shield, 1) == {"drop_host": 1}


def test_draining_while_traffic_runs_loses_no_packet(veth: str) -> None:
    total, packets = 60_000, 0
    with open_shield(veth, "native", ShieldSettings(watch=None)) as shield:
        frames = [frame(f"10.2.{i >> 8}.{i & 255}", ports=(i, 80), flags=0x10) for i in range(1, 301)]
        sender = threading.Thread(target=send, args=(frames * (total // len(frames)),))
        sender.start()
        while sender.is_alive():
            packets += _packets(shield.drain())
        assert counted(shield, total) == {"accounted": total}
        packets += _packets(shield.flush())
    assert packets == total


def _packets(batches: Iterator[object]) -> int:
    both = ("packet_delta_count", "reverse_packet_delta_count")
    return sum(sum(batch.column(name).to_pylist()) for batch in batches for name in both)


def test_a_suspect_wakes_its_reader(veth: str) -> None:
    with open_shield(veth, "native", SMALL) as shield:
        sender = threading.Timer(0.2, send, ([frame(ports=(40_000, 1 + i), flags=2) for i in range(30)],))
        sender.start()
        told = shield.suspects(5)
        sender.join()
        assert [(s.kind, s.source, s.reasons) for s in told][:1] == [("source", "10.0.0.1", ("ports",))]


def _interfaces() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def test_the_probe_leaves_no_trace() -> None:
    before = _interfaces()
    found = probe()
    assert found.shields
    assert found.rungs[-1].name == "pcap"
    assert _interfaces() == before


@pytest.mark.parametrize(("interface", "mode", "error"), [("nosuch0", "auto", InputError), ("lo", "warp", UsageError)])
def test_mistakes_are_told_in_one_line(interface: str, mode: str, error: type[Exception]) -> None:
    with pytest.raises(error) as told:
        open_shield(interface, mode, SMALL)
    assert "\n" not in str(told.value)
