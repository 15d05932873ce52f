"""A node and two pods as network namespaces, for the tests of live links: real veth pairs, real sockets."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from loomidi.loom.capture import spaces

NODE, POD_A, POD_B = (f"lm-w{os.getpid()}-{room}" for room in ("n", "a", "b"))
A, B = "10.244.1.5", "10.244.1.6"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def join(pod: str, link: str, address: str) -> None:
    """A pod's veth pair: `link` at the node, eth0 with the address in the pod. No IPv6: nothing speaks by itself."""
    ip("-n", NODE, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pod)
    silence(NODE, link)
    silence(pod, "eth0")
    ip("-n", NODE, "link", "set", link, "master", "br0")
    ip("-n", pod, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", NODE, "link", "set", link, "up")
    ip("-n", pod, "link", "set", "eth0", "up")


def silence(room: str, device: str) -> None:
    """No IPv6 on it, which would speak by itself."""
    with spaces.inside(room), contextlib.suppress(OSError):
        Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("1")


@contextlib.contextmanager
def rooms() -> Iterator[None]:
    """The node with a bridge and its two pods' links `vetha` and `vethb`."""
    try:
        for room in (NODE, POD_A, POD_B):
            ip("netns", "add", room)
            ip("-n", room, "link", "set", "lo", "up")
        ip("-n", NODE, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        silence(NODE, "br0")
        ip("-n", NODE, "link", "set", "br0", "up")
        join(POD_A, "vetha", A)
        join(POD_B, "vethb", B)
        yield
    finally:
        for room in (NODE, POD_A, POD_B):
            subprocess.run(["ip", "netns", "del", room], check=False, capture_output=True)


def opened(room: str, kind: int, address: str, port: int = 0) -> socket.socket:
    """A socket of a pod, bound, with a time limit."""
    with spaces.inside(room):
        made = socket.socket(socket.AF_INET, kind)
    made.settimeout(10)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    return made


def talk(times: int, port: int = 777) -> None:
    """So many datagrams from pod A to pod B, each answered."""
    with opened(POD_B, socket.SOCK_DGRAM, B, port) as server, opened(POD_A, socket.SOCK_DGRAM, A) as client:
        for _ in range(times):
            client.sendto(b"x" * 100, (B, port))
            _, who = server.recvfrom(999)
            server.sendto(b"y" * 50, who)
            client.recv(99)


def scan(ports: range) -> None:
    """Pod A tries ports of pod B, all closed."""
    for port in ports:
        with opened(POD_A, socket.SOCK_STREAM, A) as client, contextlib.suppress(OSError):
            client.connect((B, port))


def counted(room: str, link: str) -> int:
    """Packets that the interface itself has counted, both ways."""
    with spaces.inside(room):
        return spaces.packets_of(link)


def until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for it; a test fails with `what` when it never comes."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)
