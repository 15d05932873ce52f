"""Events in a file of JSON lines that is put aside when it is large or old.

Called by `services.events`. In: letters. Out: lines; with `fsync` they are on the disk when `send` returns. A batch
that could not be written whole is taken back; a line that a crash has torn is ended, so that it spoils no other.
Removing files that were put aside is left to whoever keeps the machine.
"""

import datetime
import os
import time
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path

from loomidi.loom.sinks.letters import Away, Letter
from loomidi.loom.sinks.settings import FileSettings


class FileSink:
    """One path, one writer."""

    name = "file"
    most = 256

    def __init__(self, settings: FileSettings) -> None:
        self._settings, self._path = settings, Path(settings.path).expanduser()
        self._file: BufferedRandom | None = None
        self._began_s = 0.0  # epoch
        self.rotated = 0

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away while the disk takes nothing."""
        lines = b"".join(one.body + b"\n" for one in letters)
        try:
            file = self._ready(len(lines))
            self._write(file, lines)
        except OSError as error:
            self.close()
            raise Away("disk", f"{self._path}: {error.strerror}; make room or name another file") from error

    def close(self) -> None:
        """The file stays."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _ready(self, octets: int) -> BufferedRandom:
        """The file that the next lines belong into."""
        if self._file is not None and not self._ours(self._file):
            self.close()
        file = self._file or self._opened()
        size, most = file.seek(0, os.SEEK_END), self._settings.most_octets
        old = self._settings.most_s and time.time() - self._began_s >= self._settings.most_s
        if size and (old or (most and size + octets > most)):
            self._put_aside()
            file = self._opened()
        return file

    def _ours(self, file: BufferedRandom) -> bool:
        """Whether the path still names it: somebody else may have moved it away."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _opened(self) -> BufferedRandom:
        """The file at its end, after a whole line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        there = self._path.stat().st_mtime if self._path.exists() else time.time()
        opener = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._file, self._began_s = os.fdopen(opener, "r+b"), there
        if size := self._file.seek(0, os.SEEK_END):
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
                self._file.flush()
        return self._file

    def _put_aside(self) -> None:
        self.close()
        ended = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}"
        self._path.rename(self._path.with_name(f"{self._path.stem}-{ended}{self._path.suffix}"))
        self.rotated += 1

    def _write(self, file: BufferedRandom, lines: bytes) -> None:
        """All or nothing."""
        size = file.seek(0, os.SEEK_END)
        try:
            file.write(lines)
            file.flush()
            if self._settings.fsync:
                os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
