"""A pod that is cut off on its link: a node with a bridge, two pods as namespaces, real programs, real packets."""

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from loomidi.contracts.errors import LoomidiError
from loomidi.loom.capture import spaces
from loomidi.loom.capture.cuts import Cut, CutState
from loomidi.loom.capture.namespaces import NONE, Namespaces
from loomidi.loom.capture.podlinks import PodLinks
from loomidi.loom.capture.xdp.cutting import LinkCuts
from tests.integration.watch.rooms import NODE, POD_A, POD_B, A, B, ip, rooms

pytestmark = pytest.mark.kernel
GATE = "10.244.1.1"  # the node's address on the bridge
UID_A, UID_B = "0a1b2c3d-0000-4000-8000-00000000000a", "0a1b2c3d-0000-4000-8000-00000000000b"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture(scope="module")
def node() -> Iterator[None]:
    with rooms():
        ip("-n", NODE, "addr", "add", f"{GATE}/24", "dev", "br0")
        ways = ((POD_A, NODE, GATE), (POD_B, NODE, GATE), (POD_A, POD_B, B), (POD_B, POD_A, A), (NODE, POD_B, B))
        assert all(says(*way, patience_s=20.0) for way in ways)  # links that are new carry after a moment
        yield


@pytest.fixture
def cuts(node: None) -> Iterator[LinkCuts]:
    with spaces.inside(NODE):
        made = LinkCuts()
        made.spare([GATE])
        yield made
        with contextlib.suppress(KeyError):  # a test has cleared it
            made.clear()


def index(link: str) -> int:
    return socket.if_nametoindex(link)


def cut(link: str, ttl_s: float = 60.0, plan: str = "plan-1", address: str = B) -> Cut:
    return Cut(index(link), UID_B, plan, 7, time.time_ns() + round(ttl_s * 1e9), address)


def opened(room: str, kind: int, address: str = "", port: int = 0) -> socket.socket:
    with spaces.inside(room):
        made = socket.socket(socket.AF_INET, kind)
    made.settimeout(0.5)
    if address:
        made.bind((address, port))
        if kind == TCP:
            made.listen()
    return made


def until(cuts: LinkCuts, link: str, wanted: Callable[[CutState], bool]) -> CutState:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        state = cuts.state(index(link))
        if state is not None and wanted(state):
            return state
        time.sleep(0.002)
    raise AssertionError(f"never so: {state}")


def says(sender: str, room: str, address: str, patience_s: float = 5.0) -> bool:
    """Whether a datagram arrives; it may be long under way on a busy machine, and a new link loses the first."""
    until_s = time.monotonic() + patience_s
    with opened(room, UDP, address) as hears, opened(sender, UDP) as speaks:
        hears.settimeout(min(patience_s, 2.5))
        while True:
            speaks.sendto(b"word", hears.getsockname())
            with contextlib.suppress(TimeoutError):
                return hears.recv(10) == b"word"
            if time.monotonic() >= until_s:
                return False


def silent(sender: str, room: str, address: str) -> bool:
    """Whether one datagram from one to the other does not arrive."""
    return not says(sender, room, address, patience_s=0.12)


def test_nothing_reaches_it_and_nothing_leaves_it_while_others_go_on(cuts: LinkCuts) -> None:
    assert says(POD_A, POD_B, B)
    assert says(POD_B, POD_A, A)
    cuts.put(cut("vethb"))
    assert silent(POD_A, POD_B, B)
    assert silent(POD_B, POD_A, A)
    assert silent(POD_B, NODE, GATE)
    assert says(POD_A, NODE, GATE)
    assert says(NODE, POD_A, A)
    state = until(cuts, "vethb", lambda one: one.dropped_from >= 2 and one.dropped_to >= 1)
    assert state.cut.plan == "plan-1"
    assert state.cut.pod == UID_B
    assert 0 < state.first_hit_ns <= state.last_hit_ns
    assert state.octets >= 3 * (14 + 20 + 8 + 4)


def test_once_released_packets_flow_and_the_last_counts_are_given(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    assert silent(POD_A, POD_B, B)
    last = cuts.remove(index("vethb"))
    assert last is not None
    assert last.dropped_to == 1
    assert says(POD_A, POD_B, B)
    assert says(POD_B, POD_A, A)
    assert cuts.states() == []
    assert cuts.remove(index("vethb")) is None


def test_it_ends_on_time_when_nobody_is_left_to_end_it(cuts: LinkCuts) -> None:
    state = cuts.put(cut("vethb", ttl_s=0.6))
    cuts.close()
    assert silent(POD_A, POD_B, B)
    time.sleep(max(0.0, state.cut.expires_ns / 1e9 - time.time()) + 0.02)
    assert says(POD_A, POD_B, B)
    assert says(POD_B, POD_A, A)
    again = LinkCuts()
    assert [(one.cut.plan, one.live) for one in again.sweep()] == [("plan-1", False)]
    again.clear()


def test_the_kubelet_s_probe_is_answered_but_the_pod_cannot_call_its_node(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    with opened(POD_B, TCP, B) as server, opened(NODE, TCP) as probe:
        probe.connect(server.getsockname())
        server.accept()[0].close()
    with opened(NODE, TCP, GATE) as server, opened(POD_B, TCP) as caller, pytest.raises(TimeoutError):
        caller.connect(server.getsockname())
    assert until(cuts, "vethb", lambda one: one.spared >= 3).dropped_from >= 1


def test_addresses_that_are_made_up_open_nothing(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    sent = (
        (POD_B, datagram(GATE, A)),  # as if from the node, out of the pod
        (POD_B, arp(A, GATE)),  # as if the neighbour were here
        (POD_A, datagram(GATE, B, to="vethb")),  # as if from the node, to the pod
    )
    for room, each in sent:
        with spaces.inside(room), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            raw.send(each)
    assert until(cuts, "vethb", lambda one: one.dropped_from >= 2 and one.dropped_to >= 1).spared == 0


def test_every_packet_is_in_exactly_one_counter(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    silent(POD_A, POD_B, B), silent(POD_B, POD_A, A)
    until(cuts, "vethb", lambda one: one.dropped_from > 0 and one.dropped_to > 0)
    ip("-n", POD_B, "link", "set", "eth0", "down")  # silence, so that both are read of one moment
    state = until(cuts, "vethb", lambda _: True)
    packets = {reason: count for reason, (count, _) in cuts.counters().items()}
    ip("-n", POD_B, "link", "set", "eth0", "up")
    assert packets["from"] == state.dropped_from
    assert packets["to"] == state.dropped_to
    assert sum(packets[reason] for reason in ("answer", "local", "arp")) == state.spared
    assert packets["ended"] == packets["none"] == 0


def test_who_comes_next_finds_the_cut_and_its_counts(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    silent(POD_A, POD_B, B)
    before = until(cuts, "vethb", lambda one: one.dropped_to == 1)
    cuts.close()
    again = LinkCuts()
    assert silent(POD_A, POD_B, B)
    (state,) = again.states()
    assert (state.cut.pod, state.cut.plan, state.cut.token) == (UID_B, "plan-1", 7)
    assert state.attached
    assert state.dropped_to == before.dropped_to + 1
    again.clear()


def test_a_renewed_cut_keeps_what_it_counted_and_gets_a_new_end(cuts: LinkCuts) -> None:
    first = cuts.put(cut("vethb", ttl_s=5))
    silent(POD_A, POD_B, B)
    until(cuts, "vethb", lambda one: one.dropped_to == 1)
    second = cuts.put(cut("vethb", ttl_s=50))
    assert second.dropped_to == 1
    assert second.cut.expires_ns > first.cut.expires_ns + 40 * 10**9


def test_a_prepared_link_lets_everything_by_until_one_write_cuts_it(cuts: LinkCuts) -> None:
    assert cuts.prepare([index("vetha"), index("vethb"), 9999]) == [
        "link 9999 is not there any more: its pod has ended"
    ]
    assert says(POD_A, POD_B, B)
    assert cuts.counters()["none"][0] > 0
    cuts.put(cut("vethb"))
    assert silent(POD_A, POD_B, B)
    cuts.remove(index("vethb"))
    assert says(POD_A, POD_B, B)
    assert cuts.prepare([index("vetha")]) == []
    assert not list(Path("/sys/fs/bpf").glob(f"loomidi-cuts*/link-{index('vethb')}-*"))
    assert says(POD_B, NODE, GATE)


def test_a_link_that_is_gone_is_refused_and_swept(cuts: LinkCuts) -> None:
    ip("link", "add", "vethx", "type", "veth", "peer", "name", "vethy")
    gone = cut("vethx")
    cuts.put(gone)
    ip("link", "del", "vethx")
    assert [one.cut.ifindex for one in cuts.sweep()] == [gone.ifindex]
    with pytest.raises(LoomidiError, match="not there any more"):
        cuts.put(gone)


def test_clearing_leaves_no_program_and_no_pin(cuts: LinkCuts) -> None:
    cuts.put(cut("vethb"))
    assert [one.cut.plan for one in cuts.clear()] == ["plan-1"]
    assert says(POD_A, POD_B, B)
    assert not list(Path("/sys/fs/bpf").glob("loomidi-cuts*"))


def test_links_are_found_by_the_pod_s_cgroup_and_named_by_the_kubelet_s_folders(node: None, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / f"shop_cart-0_{UID_A}").mkdir(parents=True)
    with sleeping(POD_A) as a, sleeping(POD_B) as b, sleeping(NODE) as host, spaces.inside(NODE):
        for pid, uid in ((a, UID_A), (b, UID_B), (host, "0a1b2c3d-0000-4000-8000-00000000000c")):
            (tmp_path / "proc" / str(pid)).mkdir(parents=True)
            text = f"0::/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-1.scope\n"
            (tmp_path / "proc" / str(pid) / "cgroup").write_text(text)
        pods = PodLinks(logs, tmp_path / "proc")
        found = {one.uid: (one.namespace, one.name, one.links) for one in pods.all()}
        assert found == {UID_A: ("shop", "cart-0", (index("vetha"),)), UID_B: ("", "", (index("vethb"),))}
        assert pods.of(UID_B) is not None
        assert GATE in pods.addresses()
        (tmp_path / "proc" / str(b) / "cgroup").write_text("0::/system.slice\n")  # its number is another's now
        assert pods.of(UID_B) is None
        pods.close()


def test_ends_of_links_are_those_that_pyroute2_tells(node: None) -> None:
    with sleeping(POD_A) as a, spaces.inside(NODE), contextlib.closing(Namespaces()) as ours, IPRoute() as theirs:
        told: dict[int, set[int]] = {}
        for link in theirs.get_links():
            if (number := link.get_attr("IFLA_LINK_NETNSID")) is not None and number != NONE:
                told.setdefault(number, set()).add(link["index"])
        assert ours.ends() == told
        assert {index("vetha"), index("vethb")} <= {one for links in told.values() for one in links}
        assert ours.number(a) == theirs.get_netnsid(pid=a)["nsid"] != NONE
        assert ours.number(2**22) == NONE  # no such process


@contextlib.contextmanager
def sleeping(room: str) -> Iterator[int]:
    process = subprocess.Popen(["nsenter", f"--net=/run/netns/{room}", "sleep", "60"])
    try:
        time.sleep(0.1)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _mac(room: str, link: str) -> bytes:
    words = ["ip", "-n", room, "-o", "link", "show", link]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(text.split("link/ether ")[1].split()[0].replace(":", ""))


def datagram(source: str, target: str, to: str = "vetha") -> bytes:
    room, link = (POD_A, "eth0") if to == "vetha" else (POD_B, "eth0")
    a, b = socket.inet_aton(source), socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 32, 0, 0, 64, 17, 0) + a + b
    total = sum(struct.unpack("!10H", head))  # a bridge that filters drops wrong sums
    head = head[:10] + struct.pack("!H", 0xFFFF - (total % 0xFFFF)) + head[12:]
    return _mac(room, link) + b"\x02\0\0\0\0\x07" + b"\x08\x00" + head + struct.pack("!HHHH", 9, 9, 12, 0) + b"word"


def arp(sender: str, target: str) -> bytes:
    mac = _mac(POD_B, "eth0")
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + socket.inet_aton(sender)
    return b"\xff" * 6 + mac + b"\x08\x06" + body + b"\0" * 6 + socket.inet_aton(target)
