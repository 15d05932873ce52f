"""The fence of drivers on one machine: of two that act on one target, who began later wins, whatever is slow meanwhile.

Called by drivers, in `token`, `apply`, `extend` and `undo`. In: targets, tokens. Out: a token that is greater than all
before it, or leave for one effect; Fenced for a token that is not newer than the newest that had an effect there, or
that was taken back. `fold.operator` does the same between replicas, by the Lease of the API server, and node agents do
by `ionic.orders`. Receipts hold the tokens; the file need not outlive the machine, and is best kept in memory (/run).
"""

import fcntl
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loomidi.contracts import EnvironmentLacks, Retryable
from loomidi.ionic.errors import Fenced

SLOTS = 16384  # targets share slots by their hash: memory is bounded, and a clash only refuses what is slow
_OCTETS = 8 * (SLOTS + 1)  # a counter, then the newest token of each slot, 64 bit each
_WAIT_S, _LOOK_S = 5.0, 0.001
_OFD_SETLK = 37  # F_OFD_SETLK of Linux: a lock of the open file, so threads and processes exclude each other alike
_WHOLE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_FREE = struct.pack("hhqqi", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)


class Fence:
    """For one data plane or cluster. Without a path it is this process's."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: shared by every process that acts there. Raises EnvironmentLacks where it cannot be written."""
        self.path = path
        self.refused = 0  # effects that were not let through here
        self._lock = threading.Lock()
        self._file = -1
        if path is None:
            self._cells = memoryview(bytearray(_OCTETS)).cast("Q")
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, _OCTETS)
            self._cells = memoryview(mmap.mmap(self._file, _OCTETS)).cast("Q")
        except OSError as error:
            raise EnvironmentLacks(f"{path}: {error.strerror}; name a folder that can be written") from error

    def take(self) -> int:
        """The next token, for a lease that begins now."""
        with self._alone():
            self._cells[0] += 1
            return int(self._cells[0])

    def at_least(self, token: int) -> None:
        """Tokens to come are greater than this one, which a receipt of an earlier run holds."""
        with self._alone():
            self._cells[0] = max(self._cells[0], token)

    def newest(self, target: str) -> int:
        """The newest token that had an effect on this target, or was taken back; 0 when none did."""
        return int(self._cells[_slot(target)])

    @contextmanager
    def passing(self, target: str, token: int) -> Iterator[None]:
        """The effect happens in this block, and none on this target beside it. Raises Fenced, Retryable.

        A token opens once: what is tried again has begun again.
        """
        slot = _slot(target)
        with self._alone():
            newest = self._cells[slot]
            if token <= newest:
                self.refused += 1
                raise Fenced(target, token, int(newest))
            self._cells[slot] = token
            yield

    @contextmanager
    def closing(self, target: str, token: int) -> Iterator[None]:
        """What was begun under this token is taken back in this block, and cannot have an effect afterwards."""
        slot = _slot(target)
        with self._alone():
            self._cells[slot] = max(self._cells[slot], token)
            yield

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            if self._file < 0:
                yield
                return
            self._seize()
            try:
                yield
            finally:
                fcntl.fcntl(self._file, _OFD_SETLK, _FREE)

    def _seize(self) -> None:
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.fcntl(self._file, _OFD_SETLK, _WHOLE)
                return
            except OSError as error:
                if time.monotonic() >= until:
                    told = f"{self.path}: another process acts for longer than {_WAIT_S:g} s; try again"
                    raise Retryable(told) from error
            time.sleep(_LOOK_S)


class Tokens:
    """What a driver with a `fence` says of its tokens; it acts within `passing` and takes back within `closing`."""

    fence: Fence

    def token(self) -> int:
        """The next of the fence."""
        return self.fence.take()

    def at_least(self, token: int) -> None:
        """Tokens to come are greater."""
        self.fence.at_least(token)


def _slot(target: str) -> int:
    return 1 + zlib.crc32(target.encode()) % SLOTS
