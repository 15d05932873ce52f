"""A text file that grows, line by line, also when it is renamed, removed or cut.

Called by `auditing` and `tailing`. In: a path. Out: whole lines as bytes. The open file is kept until it has been read
to its end, so lines written before a file vanished are not lost.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 18
LINE_MOST = 1 << 20  # what is longer is handed out in pieces


class Tail:
    """Reads on where it stopped."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        self._fd = -1
        self._rest = b""
        self._open()
        if from_end and self._fd >= 0:
            os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> Iterator[bytes]:
        """The whole lines that came since; goes over to a new file of the same name at the end of the old one."""
        if self._fd < 0:
            self._open()
        while self._fd >= 0:
            yield from self._read()
            if not self._moved():
                return
            yield from self._read()  # what came between reading and looking
            self.close()
            self._open()

    @property
    def gone(self) -> bool:
        """Nothing has that name any more."""
        return not self.path.exists()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def rest(self) -> bytes:
        """A last line without an end, when nothing more will come."""
        rest, self._rest = self._rest, b""
        return rest

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def _moved(self) -> bool:
        try:
            return self.path.stat().st_ino != os.fstat(self._fd).st_ino
        except OSError:
            return False  # removed: the open file is all there will be

    def _read(self) -> Iterator[bytes]:
        while chunk := os.read(self._fd, _CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from lines
            if len(self._rest) > LINE_MOST:
                yield self.rest()
