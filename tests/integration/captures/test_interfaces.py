"""Metering a real interface: a veth pair in namespaces of its own, real sockets, the kernel's VLAN handling."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.loom.flows import frames as f

pytestmark = pytest.mark.kernel

SPACE = "lm-meter-test"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def space() -> Iterator[str]:
    """A namespace with `lm0` (metered) and `lm1` (sends), without addresses: silent but for the test."""
    subprocess.run(["ip", "netns", "del", SPACE], check=False, capture_output=True)
    _ip("netns", "add", SPACE)
    try:
        _ip("-n", SPACE, "link", "add", "lm0", "type", "veth", "peer", "name", "lm1")
        for device in ("lm0", "lm1"):
            subprocess.run(
                ["ip", "netns", "exec", SPACE, "sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1"],
                check=False,
                capture_output=True,
            )
            _ip("-n", SPACE, "link", "set", device, "up")
        yield SPACE
    finally:
        _ip("netns", "del", SPACE)


SEND = """
import socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("lm1", 0))
for line in sys.stdin:
    out.send(bytes.fromhex(line))
"""


def _send(frames: list[bytes]) -> None:
    text = "\n".join(frame.hex() for frame in frames)
    subprocess.run(["ip", "netns", "exec", SPACE, sys.executable, "-c", SEND], input=text, text=True, check=True)


def _metering(output: Path, *options: str) -> subprocess.Popen[str]:
    """`loomidi meter lm0`, once its socket is bound."""
    command = [sys.executable, "-m", "loomidi", "meter", "lm0", "--output", str(output), *options]
    process = subprocess.Popen(["ip", "netns", "exec", SPACE, *command], stderr=subprocess.PIPE, text=True)
    for _ in range(500):
        table = subprocess.run(
            ["ip", "netns", "exec", SPACE, "cat", "/proc/net/packet"], capture_output=True, text=True, check=True
        )
        if any(line.split()[4] != "0" for line in table.stdout.splitlines()[1:]):  # the interface it is bound to
            return process
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"loomidi meter did not start: {process.communicate()[1]}")


def _ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    return told


def test_frames_of_an_interface_become_flows(space: str, tmp_path: Path) -> None:
    """Both directions, until Ctrl-C; the balance line adds up and the file is complete."""
    process = _metering(tmp_path / "flows.jsonl")
    _send([f.segment(f.SYN), f.segment(f.SYN | f.ACK, back=True), f.segment(f.ACK)] * 10)
    time.sleep(0.5)
    assert "30 packets = 30 accounted in 1 flows" in _ended(process)
    (row,) = [json.loads(line) for line in (tmp_path / "flows.jsonl").read_text().splitlines()]
    assert (row["packet_delta_count"], row["reverse_packet_delta_count"]) == (20, 10)
    assert abs(row["flow_start_nanoseconds"] / 1e9 - time.time()) < 60


def test_vlan_tags_are_put_back(space: str, tmp_path: Path) -> None:
    """The kernel takes the outer tag off before AF_PACKET sees the frame."""
    packet = f.ip(f.CLIENT, f.SERVER, 17, f.udp(1, 2, b"x" * 20))
    process = _metering(tmp_path / "flows.jsonl")
    _send([f.ethernet(packet, tags=(5,)), f.ethernet(packet, tags=(6, 7)), f.ethernet(packet)])
    time.sleep(0.5)
    _ended(process)
    rows = [json.loads(line) for line in (tmp_path / "flows.jsonl").read_text().splitlines()]
    assert sorted((row["dot1q_vlan_id"], row["dot1q_customer_vlan_id"]) for row in rows) == [(0, 0), (5, 0), (6, 7)]
    assert {row["layer2_octet_delta_count"] for row in rows} == {62, 66, 70}


def test_duration_ends_it(space: str, tmp_path: Path) -> None:
    """Without a signal."""
    process = _metering(tmp_path / "flows.csv", "--duration", "1")
    _send([f.datagram()])
    _, told = process.communicate(timeout=20)
    assert (process.returncode, "1 packets = 1 accounted in 1 flows" in told) == (0, True)


def test_an_interface_that_vanishes_is_a_problem(space: str, tmp_path: Path) -> None:
    """What was seen is written; one line says what happened; exit code 2."""
    process = _metering(tmp_path / "flows.csv")
    _send([f.datagram()])
    time.sleep(0.5)
    _ip("-n", SPACE, "link", "del", "lm0")
    _, told = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "1 packets = 1 accounted" in told
    assert "loomidi: lm0: " in told


def test_loopback_counts_a_packet_once(tmp_path: Path) -> None:
    """It passes a loopback device twice, on its way out and in."""
    subprocess.run(["ip", "netns", "del", SPACE], check=False, capture_output=True)
    _ip("netns", "add", SPACE)
    try:
        _ip("-n", SPACE, "link", "set", "lo", "up")
        command = [sys.executable, "-c", LOOPBACK, str(tmp_path / "flows.jsonl")]
        subprocess.run(["ip", "netns", "exec", SPACE, *command], check=True)
        rows = [json.loads(line) for line in (tmp_path / "flows.jsonl").read_text().splitlines()]
        sent = [row for row in rows if row["destination_transport_port"] == 9]
        assert [row["packet_delta_count"] for row in sent] == [5]
    finally:
        _ip("netns", "del", SPACE)


LOOPBACK = """
import socket, sys
from loomidi.loom.flows import meter
from loomidi.loom.flows.writing import writing
with meter(["lo"], duration_s=1) as stream, writing(sys.argv[1]) as write:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(5):
        out.sendto(b"x", ("127.0.0.1", 9))
    for batch in stream:
        write(batch)
"""


def test_an_interface_needs_the_right_to_capture() -> None:
    """The first thing that opening needs is there for root; names that are none are refused."""
    assert socket.if_nameindex()
    done = subprocess.run(
        [sys.executable, "-m", "loomidi", "meter", "lm-none9"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
