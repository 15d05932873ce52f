"""The kernel's word that links came or went, so that a new one is metered from its first packets.

Called by `links`. In: namespaces to listen in, by a thread that is inside. Out: waiting that ends early when there is
news. A hint only: what is there is read by the caller, and a kernel that tells nothing costs a later look.
"""

import contextlib
import os
import select
import socket

_GROUP_LINK = 1  # RTMGRP_LINK


class Tidings:
    """One netlink socket for each namespace, and a pipe to be woken by."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def listen(self, netns: str) -> None:
        """Open a socket in the namespace that this thread is in."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        told = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        told.bind((0, _GROUP_LINK))
        self._sockets[netns] = told

    def forget(self, netns: str) -> None:
        """Close the namespace's socket, which would keep the namespace alive."""
        with contextlib.suppress(KeyError):
            self._sockets.pop(netns).close()

    def wake(self) -> None:
        """End a wait. From any thread or signal handler."""
        with contextlib.suppress(OSError):  # full or closed: nobody waits
            os.write(self._waker, b".")

    def wait(self, seconds: float) -> None:
        """Until there is news, or for that long."""
        poll, by_number = select.poll(), {told.fileno(): told for told in self._sockets.values()}
        for number in (self._woken, *by_number):
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(seconds * 1000):
            with contextlib.suppress(OSError):  # what did not fit is lost; that there is news is not
                while by_number[number].recv(65536) if number in by_number else os.read(number, 65536):
                    pass

    def close(self) -> None:
        """Close everything. No wait may be in progress."""
        for netns in list(self._sockets):
            self.forget(netns)
        ends, self._woken, self._waker = (self._woken, self._waker), -1, -1
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)
