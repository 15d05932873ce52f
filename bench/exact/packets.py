"""Packets that arrive at pods and at the outside, by flow: a packet socket in each of their networks, nothing of ours.

Called by `bench.fold_exact`. In: files of network namespaces. Out: counts by flow, direction and
the kernel's own time of arrival. A socket for IPv4 sees what comes in and not what goes out, so that a packet counts
where it was delivered. What a socket could not hold is counted by the kernel and told.
"""

import bisect
import ctypes
import os
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from bench.exact.comparing import Flow, Way

_IPV4, _NEWNET, _SOL_PACKET, _STATISTICS = 0x0800, 0x40000000, 263, 6
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33  # Python does not name them
_PORTED = frozenset({6, 17})
_SKEW_NS = 10**9  # sockets are read in turn, so times are in order but for this
Attribute = Callable[[Flow], Flow | None]


class Packets:
    """Counts until it is closed."""

    def __init__(
        self, networks: Iterable[str], served: Container[int] = (), attribute: Attribute = lambda flow: flow
    ) -> None:
        """`networks`: files of network namespaces. `served`: ports that tell the server. `attribute`: a flow as its
        sender knows it, for addresses that the network rewrites; None for one that does not count."""
        self._served, self._attribute = served, attribute
        self._times: list[int] = []
        self._ways: list[Way] = []
        self._lock, self._ended = threading.Lock(), False
        with ThreadPoolExecutor(1) as aside:  # that thread's network is another's then, and it ends
            self._sockets = [aside.submit(_opened, path).result() for path in networks]
        self._thread = threading.Thread(target=self._read, name="packets", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        for one in self._sockets:
            one.close()

    def since(self, from_ns: int, until_ns: int = 1 << 63) -> Counter[Way]:
        """What arrived in that time."""
        with self._lock:
            first = bisect.bisect_left(self._times, from_ns - _SKEW_NS)
            pairs = list(zip(self._times[first:], self._ways[first:], strict=True))
        return Counter(way for at_ns, way in pairs if from_ns <= at_ns < until_ns)

    def forget(self, before_ns: int) -> None:
        """Let go of what is older."""
        with self._lock:
            first = bisect.bisect_left(self._times, before_ns)
            del self._times[:first], self._ways[:first]

    def lost(self) -> int:
        """Packets that did not fit into a socket since this was last asked."""
        asked = (one.getsockopt(_SOL_PACKET, _STATISTICS, 8) for one in self._sockets)
        return sum(struct.unpack("II", told)[1] for told in asked)

    def _read(self) -> None:
        with selectors.DefaultSelector() as ready:
            for one in self._sockets:
                ready.register(one, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in ready.select(0.1):
                    self._drain(key.fileobj)

    def _drain(self, one: socket.socket) -> None:
        times, ways = [], []
        for _ in range(64):
            try:
                data, told, _, _ = one.recvmsg(64, 64)
            except BlockingIOError:
                break
            if (way := way_of(data, self._served, self._attribute)) is not None:
                seconds, rest = struct.unpack("qq", told[0][2][:16])
                times.append(seconds * 10**9 + rest)
                ways.append(way)
        with self._lock:
            self._times += times
            self._ways += ways


def _opened(path: str) -> socket.socket:
    """In that network; this thread stays there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(descriptor)
    one = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4))
    one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
    one.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    one.bind(("eth0", _IPV4))
    one.setblocking(False)
    return one


def way_of(data: bytes, served: Container[int], attribute: Attribute) -> Way | None:
    """The flow of an IPv4 packet, and whether it goes towards the server: the end with a port that is served.

    Else the lower one. Where two flows would be the same behind a Service, the kernel gives one a client's port from
    1024 on, so the lower port alone does not tell.
    """
    start = (data[0] & 15) * 4
    protocol, source, target = data[9], socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    from_port, to_port = struct.unpack_from("!HH", data, start) if protocol in _PORTED else (0, 0)
    towards = (to_port in served, from_port) >= (from_port in served, to_port)
    flow = attribute(Flow(source, target, to_port, protocol) if towards else Flow(target, source, from_port, protocol))
    return None if flow is None else (flow, towards)
