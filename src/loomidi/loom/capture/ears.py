"""What is delivered over a link and what comes in by it, by the address at the other end: a socket beside all programs.

Called by `services.agents.listening`. In: names of links, whom to listen for. Out: counts of packets by address and
direction since they were asked last. A packet socket sees what leaves by a link behind every program and policy there,
and what comes in before any. The kernel's own word says which is which, so no address that a packet claims can turn it.
Whom not to listen for is left out by a filter in the kernel; what did not fit meanwhile is counted as lost. For one
thread.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from loomidi.contracts.errors import EnvironmentLacks, Refused
from loomidi.loom.capture import packet_sockets
from loomidi.loom.capture.packet_sockets import Instruction

_SNAP, _ROOM = 64, 4 << 20  # octets kept of a packet, and that wait in the kernel
_MOST = 20_000  # packets read at once: of who talks more than that, it is known that it talks
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_OUTGOING = 4
_PROTOCOL, _KIND = 0xFFFFF000, 0xFFFFF004  # what a filter reads of the kernel's own: ethertype, direction
_LOAD, _LOAD_HALF, _LOAD_BYTE, _AND, _EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
_SOURCE = {4: 12, 6: 8}  # IP version -> where the source address lies; the destination's follows it
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Packets(NamedTuple):
    """By the address at the other end, or the ethertype of what has none; ARP is not counted."""

    out: dict[str, int]  # delivered over the link
    come: dict[str, int]  # come in by it
    lost: int


class Ear:
    """On some links."""

    def __init__(self, links: Iterable[str], networks: Sequence[Network] = (), *, only_out: bool = False) -> None:
        """`networks`: whom to listen for; none: everybody. Raises EnvironmentLacks without the right, Refused for a
        link that is not there."""
        self._sockets: list[socket.socket] = []
        program = assembled(networks, only_out=only_out)
        for name in links:
            try:
                self._sockets.append(packet_sockets.opened(name, program, kind=socket.SOCK_DGRAM, room=_ROOM))
            except (EnvironmentLacks, Refused):
                self.close()
                raise

    def heard(self) -> Packets:
        """Since the last time."""
        found = Packets({}, {}, sum(map(packet_sockets.lost, self._sockets)))
        left = 0
        for each in self._sockets:
            for number, (data, about) in enumerate(_waiting(each)):
                out = about[2] == _OUTGOING
                if (peer := _peer(data, about[1], out=out)) is not None:
                    side = found.out if out else found.come
                    side[peer] = side.get(peer, 0) + 1
                left += number == _MOST - 1
        return found._replace(lost=found.lost + left)

    def close(self) -> None:
        """End."""
        for each in self._sockets:
            each.close()


def assembled(networks: Sequence[Network], *, only_out: bool) -> list[Instruction]:
    """The filter as classic BPF: which packets are kept, and that little of each is."""
    keep: Instruction = (_RETURN, 0, 0, _SNAP)
    drop: Instruction = (_RETURN, 0, 0, 0)
    gate: list[Instruction] = [(_LOAD_BYTE, 0, 0, _KIND), (_EQUAL, 1, 0, _OUTGOING), drop] if only_out else []
    if not networks:
        return [*gate, keep]
    tests = [one for network in networks for field in (0, 1) for one in _tested(network, field, keep)]
    return [*gate, *tests, drop]


def _tested(network: Network, field: int, keep: Instruction) -> list[Instruction]:
    """Kept when its source (0) or destination (1) is in this network; else what follows decides."""
    octets, masks = network.network_address.packed, network.netmask.packed
    at = _SOURCE[network.version] + field * len(octets)
    count = len(octets) // 4
    words = zip(struct.unpack(f">{count}I", octets), struct.unpack(f">{count}I", masks), strict=True)
    pairs = [(at + 4 * index, value, mask) for index, (value, mask) in enumerate(words) if mask]
    steps: list[Instruction] = []
    for number, (offset, value, mask) in enumerate(pairs):
        over = 3 * (len(pairs) - number - 1) + 1
        steps += [(_LOAD, 0, 0, offset), (_AND, 0, 0, mask), (_EQUAL, 0, over, value)]
    ethertype = _IPV4 if network.version == 4 else _IPV6
    return [(_LOAD_HALF, 0, 0, _PROTOCOL), (_EQUAL, 0, len(steps) + 1, ethertype), *steps, keep]


def _waiting(each: socket.socket) -> Iterator[tuple[bytes, tuple[str, int, int, int, bytes]]]:
    for _ in range(_MOST):
        try:
            yield each.recvfrom(_SNAP)
        except BlockingIOError:
            return
        except OSError:  # the link has gone
            return


def _peer(data: bytes, ethertype: int, *, out: bool) -> str | None:
    """The other end's address: of what is delivered the source, of what comes in the destination."""
    if ethertype == _ARP:
        return None
    version = {_IPV4: 4, _IPV6: 6}.get(ethertype)
    size = 4 if version == 4 else 16
    if version is None or len(data) < _SOURCE[version] + 2 * size:
        return f"ethertype 0x{ethertype:04x}"
    at = _SOURCE[version] + (0 if out else size)
    return str(ipaddress.ip_address(data[at : at + size]))
