"""Network namespaces by name: entered by one thread, identified, and what links there are inside.

Called by `loom.flows.links`. In: the name of a namespace under /run/netns, "" for that of this process. Out: a context
in which sockets are opened there, the links and what they have counted. Leaves making of namespaces to others.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks, InputError

FOLDER = Path("/run/netns")
_OWN = Path("/proc/thread-self/ns/net")
_COUNTERS = Path("/proc/thread-self/net/dev")  # of the thread's namespace, whatever /sys is mounted
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One link as its namespace shows it."""

    name: str
    index: int
    up: bool


def identity(netns: str) -> tuple[int, int] | None:
    """Device and inode: a namespace that was removed and made anew under the same name is another. None: not there."""
    try:
        found = (FOLDER / netns if netns else _OWN).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread is in the namespace meanwhile; what it opens stays there, the thread comes back.

    Raises InputError when there is none of that name, EnvironmentLacks without the right to enter.
    """
    if not netns:
        yield
        return
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter_named(netns)
        try:
            yield
        finally:
            _enter(home, "our own")
    finally:
        os.close(home)


def links() -> list[Seen]:
    """The links of the namespace that this thread is in."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        for name in _counters():
            with contextlib.suppress(OSError):  # gone since the list was read
                found.append(_seen(asked, name))
    return found


def packets_of(name: str) -> int:
    """What a link of this thread's namespace has received and sent since it was made; 0 when it is gone."""
    return _counters().get(name, 0)


def _counters() -> dict[str, int]:
    found = {}
    for line in _COUNTERS.read_text(encoding="ascii").splitlines()[2:]:
        name, _, counters = line.partition(":")
        fields = counters.split()
        found[name.strip()] = int(fields[1]) + int(fields[9])
    return found


def _seen(asked: socket.socket, name: str) -> Seen:
    request = struct.pack("16sH22x", name.encode(), 0)
    (flags,) = struct.unpack("16xH22x", fcntl.ioctl(asked, _SIOCGIFFLAGS, request))
    return Seen(name, socket.if_nametoindex(name), bool(flags & _IFF_UP))


def _enter_named(netns: str) -> None:
    try:
        there = os.open(FOLDER / netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InputError(f"{netns}: no such network namespace; `ip netns` lists them") from error
    try:
        _enter(there, netns)
    finally:
        os.close(there)


def _enter(descriptor: int, name: str) -> None:
    """setns(2); Python has it from 3.12 only."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise EnvironmentLacks(f"cannot enter the network namespace {name} ({reason}); run as root")
