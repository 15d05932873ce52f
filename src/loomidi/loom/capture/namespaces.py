"""Which network namespace the other end of a link is in, asked of rtnetlink with nothing else decoded.

Called by `podlinks`, for each order and every second. In: this network namespace. Out: numbers of namespaces as the
kernel gives them here (`ip netns list-id`). A whole list of sixty links takes pyroute2 27 ms, for it decodes forty
attributes of each; an order to cut a pod waits for it. Here one attribute is looked at: rtnetlink(7), RFC 3549.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

from loomidi.contracts.errors import Retryable

NONE = -1  # the kernel's number for a namespace that no link of ours leads to
_GETLINK, _NEWLINK, _GETNSID, _NEWNSID, _DONE, _ERROR = 18, 16, 90, 88, 3, 2
_REQUEST, _DUMP = 0x1, 0x300
_LINK_NETNSID, _EXT_MASK, _SKIP_STATS = 37, 29, 1 << 3
_NSID, _PID = 1, 2
_HEADER, _LINK, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")
_ROOM = 1 << 18  # more than the kernel ever puts into one datagram of a dump
_WAIT_S = 2.0
_TRIES = 5  # of a list that changes while it is read


class Namespaces:
    """One socket. For one thread."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_WAIT_S)
        self._socket.bind((0, 0))
        self._number = 0

    def ends(self) -> dict[int, set[int]]:
        """Number of a namespace -> indices of our links whose other end is there. Raises Retryable, OSError."""
        found: dict[int, set[int]] = {}
        for payload in self._links():
            number = _value(payload, _LINK.size, _LINK_NETNSID)
            if number is not None and number != NONE:
                found.setdefault(number, set()).add(_LINK.unpack_from(payload)[2])
        return found

    def number(self, pid: int) -> int:
        """Of the namespace that a process is in; `NONE` when it has ended or no link of ours leads there."""
        try:
            answers = list(self._asked(_GETNSID, _REQUEST, bytes(4) + _attribute(_PID, pid)))
        except ProcessLookupError:
            return NONE
        numbers = [_value(payload, 4, _NSID) for kind, payload in answers if kind == _NEWNSID]
        return NONE if not numbers or numbers[0] is None else numbers[0]

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _links(self) -> list[bytes]:
        """The whole list, asked for again when it changed on the way."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_EXT_MASK, _SKIP_STATS)
        for left in reversed(range(_TRIES)):
            try:
                return [text for kind, text in self._asked(_GETLINK, _REQUEST | _DUMP, body) if kind == _NEWLINK]
            except Retryable:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def _asked(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        """Every message of the answer. Raises OSError for the kernel's no, Retryable for a list cut short."""
        self._number += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._number, 0) + body)
        while True:
            for number, found, payload in _messages(self._socket.recv(_ROOM)):
                if number != self._number:
                    continue  # what is left of a question that was given up
                if found == _ERROR and (code := -int(struct.unpack_from("=i", payload)[0])):
                    raise OSError(code, os.strerror(code))
                if found in (_DONE, _ERROR):
                    return
                yield found, payload
                if not flags & _DUMP:
                    return


def _messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number of the question, kind, payload."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        size, kind, flags, number, _ = _HEADER.unpack_from(datagram, at)
        if size < _HEADER.size or at + size > len(datagram):
            raise OSError(errno.EBADMSG, "the kernel's answer is cut short")
        if flags & 0x10:  # NLM_F_DUMP_INTR
            raise Retryable("the links changed while they were listed; list them again")
        yield number, kind, datagram[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def _attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, kind) + struct.pack("=I", value)


def _value(payload: bytes, at: int, wanted: int) -> int | None:
    """The signed number in one attribute, None where it is not there."""
    while at + _ATTRIBUTE.size <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, at)
        if size < _ATTRIBUTE.size:
            return None
        if kind & 0x3FFF == wanted:
            return int(struct.unpack_from("=i", payload, at + _ATTRIBUTE.size)[0])
        at += (size + 3) & ~3
    return None
