"""A small network of Linux namespaces: attacker and clients -> wire -> node with the shield -> two services.

Called by the demo, the latency bench and the kernel tests; needs root. In: nothing but a name for the run. Out: a
`Network` whose rooms can be entered (`inside`) and given processes (`spawn`). Every address is from a documentation or
benchmarking range (RFC 5737, RFC 3849, RFC 2544) and exists inside the rooms only. Whatever ends the run, `close`
removes the rooms; what a killed run left behind is removed by the next one (`sweep`). Leaves traffic to `traffic`.

    attacker --+                                   +-- web  198.51.100.10  2001:db8:2::10
               +-- wire (bridge) -- [shield] node -+
    client   --+                                   +-- login 198.51.101.20  2001:db8:3::20
"""

import contextlib
import errno
import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loomidi.contracts.errors import EnvironmentLacks

ROOMS = ("wire", "node", "web", "login", "client", "attacker")
WEB, WEB6 = "198.51.100.10", "2001:db8:2::10"
LOGIN, LOGIN6 = "198.51.101.20", "2001:db8:3::20"
GATEWAY, GATEWAY6 = "192.0.2.1", "2001:db8:1::1"  # the node as the clients see it
CLIENTS = tuple(f"192.0.2.{host}" for host in range(11, 19))
CLIENTS6 = tuple(f"2001:db8:1::{host}" for host in range(11, 15))
ATTACKERS = tuple(f"203.0.113.{host}" for host in range(11, 31))
SPOOFED = "198.18.0.0/15"  # addresses that only forged frames carry; answers to them end in the attacker's room
FORGED, TRIALS = "198.18.0.0/16", "198.19.0.0/16"  # its halves: the flood at random, and one address per trial
SHIELD_MAC, ATTACKER_MAC, CLIENT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:66", "02:00:00:00:00:02"
GRACE_S = 2.0  # what a child gets between being asked and being killed

_NETNS = Path("/run/netns")
_NAME = re.compile(rf"loomidi-(\d+)-\d+-(?:{'|'.join(ROOMS)})")
_runs = itertools.count()


def sweep() -> list[str]:
    """Remove the rooms of runs whose process is gone. Returns their names."""
    from pyroute2 import netns

    left = [entry.name for entry in _NETNS.glob("loomidi-*")] if _NETNS.is_dir() else []
    dead = [name for name in left if (found := _NAME.fullmatch(name)) and not Path(f"/proc/{found[1]}").exists()]
    for name in dead:
        with contextlib.suppress(OSError):  # another run sweeps at the same moment
            netns.remove(name)
    return dead


class Network:
    """The rooms of one run. A context manager; `interface` in the room `node` is where the shield goes."""

    def __init__(self) -> None:
        run = next(_runs)
        self.prefix = f"loomidi-{os.getpid()}-{run}"
        self.interface = f"lm{os.getpid()}u{run}"  # unique on the machine: what is pinned carries its name
        self._children: list[subprocess.Popen[str]] = []
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) or type(error).__module__.startswith("pyroute2"):
                raise EnvironmentLacks(
                    f"cannot build network namespaces here ({error}); see `loomidi doctor`"
                ) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def inside(self, room: str) -> Iterator[None]:
        """This thread is in that room meanwhile: sockets and processes made here stay there."""
        from pyroute2 import netns

        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        netns.setns(self.name_of(room))
        try:
            yield
        finally:
            netns.setns(before)
            os.close(before)

    def name_of(self, room: str) -> str:
        """The room's name as `ip netns` shows it."""
        return f"{self.prefix}-{room}"

    def spawn(self, room: str, command: Sequence[str], *, quiet: bool = False) -> "subprocess.Popen[str]":
        """Start a process in a room, text pipes on stdin and stdout. It ends with the network at the latest.

        `quiet`: what it writes to standard error is thrown away. Ctrl-C reaches us only; we end the children.
        """
        pipe, errors = subprocess.PIPE, subprocess.DEVNULL if quiet else None
        with self.inside(room):
            child = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, text=True, bufsize=1, start_new_session=True
            )
        self._children.append(child)
        return child

    def received(self) -> tuple[int, int, int]:
        """Packets and octets that arrived at the shielded interface, and packets lost on the wire before it."""
        with self.inside("node"):
            arrived = _statistics(self.interface)
        with self.inside("wire"):
            before = _statistics("to-node")
        return arrived["rx_packets"], arrived["rx_bytes"], before["tx_dropped"]

    def forget(self, address: str) -> None:
        """The node no longer knows at which link address an address is."""
        from pyroute2.netlink.exceptions import NetlinkError

        with self.inside("node"), _netlink() as link:
            index = link.link_lookup(ifname=self.interface)[0]
            try:
                link.neigh("del", dst=address, ifindex=index)
            except NetlinkError as error:
                if error.code != errno.ENOENT:  # it has not known it
                    raise

    def close(self) -> None:
        """End the children, remove the rooms. Safe to call twice and from a half-built state."""
        from pyroute2 import netns

        for child in self._children:
            _ask_to_end(child)
        for child in self._children:
            _end(child)
        self._children.clear()
        with contextlib.suppress(OSError):
            netns.setns(self._home)
        for room in ROOMS:
            if (_NETNS / self.name_of(room)).exists():
                with contextlib.suppress(OSError):
                    netns.remove(self.name_of(room))

    def _build(self) -> None:
        """Rooms, links, addresses, routes; in this order."""
        from pyroute2 import netns

        for room in ROOMS:
            netns.create(self.name_of(room))
            with self.inside(room):
                _sysctl("net.ipv6.conf.default.accept_dad", "0")
                _sysctl("net.ipv4.conf.default.rp_filter", "0")
                _sysctl("net.ipv4.conf.all.rp_filter", "0")
        self._link_wire()
        self._link_services()
        self._link_people()

    def _link_wire(self) -> None:
        """The bridge, and the node's uplink where the shield will sit."""
        with self.inside("wire"), _netlink() as link:
            link.link("add", ifname="bridge", kind="bridge", br_mcast_snooping=0)
            _up(link, "lo")
            _up(link, "bridge")
            peer = {"ifname": self.interface, "net_ns_fd": self.name_of("node"), "address": SHIELD_MAC}
            link.link("add", ifname="to-node", kind="veth", peer=peer)
            _up(link, "to-node", master="bridge")
        with self.inside("node"), _netlink() as link:
            _sysctl("net.ipv4.ip_forward", "1")
            _sysctl("net.ipv6.conf.all.forwarding", "1")
            _up(link, "lo")
            _up(link, self.interface)
            _address(link, self.interface, f"{GATEWAY}/24", "203.0.113.1/24", "2001:db8:1::1/64", "2001:db8:66::1/64")
            index = link.link_lookup(ifname=self.interface)[0]
            link.route("add", dst=SPOOFED, gateway=ATTACKERS[0], oif=index)

    def _link_services(self) -> None:
        for room, net, host in (("web", "198.51.100", 10), ("login", "198.51.101", 20)):
            net6 = "2001:db8:2:" if room == "web" else "2001:db8:3:"
            with self.inside("node"), _netlink() as link:
                peer = {"ifname": "eth0", "net_ns_fd": self.name_of(room)}
                link.link("add", ifname=room, kind="veth", peer=peer)
                _up(link, room)
                _address(link, room, f"{net}.1/24", f"{net6}:1/64")
            with self.inside(room), _netlink() as link:
                _plug(link, (f"{net}.{host}/24", f"{net6}:{host}/64"), (f"{net}.1", f"{net6}:1"))
                _sysctl("net.core.somaxconn", "4096")

    def _link_people(self) -> None:
        for room, mac, addresses, gateways in (
            ("client", CLIENT_MAC, (*CLIENTS, *CLIENTS6), (GATEWAY, "2001:db8:1::1")),
            ("attacker", ATTACKER_MAC, (*ATTACKERS, "2001:db8:66::66"), ("203.0.113.1", "2001:db8:66::1")),
        ):
            with self.inside("wire"), _netlink() as link:
                peer = {"ifname": "eth0", "net_ns_fd": self.name_of(room), "address": mac}
                link.link("add", ifname=room, kind="veth", peer=peer)
                _up(link, room, master="bridge")
            with self.inside(room), _netlink() as link:
                _plug(link, [f"{a}/{64 if ':' in a else 24}" for a in addresses], gateways)


def _netlink() -> Any:
    from pyroute2 import IPRoute

    return IPRoute()


def _up(link: Any, name: str, master: str = "") -> None:
    index = link.link_lookup(ifname=name)[0]
    if master:
        link.link("set", index=index, master=link.link_lookup(ifname=master)[0])
    link.link("set", index=index, state="up")


def _address(link: Any, name: str, *prefixes: str) -> None:
    index = link.link_lookup(ifname=name)[0]
    for prefix in prefixes:
        address, _, bits = prefix.partition("/")
        link.addr("add", index=index, address=address, prefixlen=int(bits))


def _plug(link: Any, prefixes: Sequence[str], gateways: Sequence[str]) -> None:
    """One end host: loopback, eth0 with its addresses, a default route per family."""
    _up(link, "lo")
    _up(link, "eth0")
    _address(link, "eth0", *prefixes)
    for gateway in gateways:
        link.route("add", dst="::/0" if ":" in gateway else "0.0.0.0/0", gateway=gateway)


def _sysctl(name: str, value: str) -> None:
    """Set one in this thread's room; a setting that the kernel does not have per room stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys", *name.split(".")).write_text(value)


def _statistics(name: str) -> dict[str, int]:
    """The link's own counters, by netlink: what sysfs shows belongs to another namespace."""
    with _netlink() as link:
        found = link.get_links(link.link_lookup(ifname=name)[0])[0].get_attr("IFLA_STATS64")
    return {key: int(value) for key, value in dict(found).items()}


def _ask_to_end(child: "subprocess.Popen[str]") -> None:
    if child.poll() is None:
        child.terminate()
    if child.stdin:
        with contextlib.suppress(OSError):
            child.stdin.close()


def _end(child: "subprocess.Popen[str]") -> None:
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()
