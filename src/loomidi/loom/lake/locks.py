"""One committer and one compaction for each table on this machine.

Called by `Committer` and `compact`. A lock of the kernel on a file: it ends with the process, however that ends. Two
machines are kept apart by the catalog, whose commits name the snapshot that they follow.
"""

import fcntl
import os
from pathlib import Path

from loomidi.contracts.errors import Conflict, EnvironmentLacks


class TableLock:
    """Held from construction to `close`. Raises Conflict while somebody else has it."""

    def __init__(self, folder: Path, table: str, role: str) -> None:
        """`role` is who needs to be alone: committer, compaction."""
        path = folder / "locks" / f"{table}.{role}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentLacks(f"{path}: {error.strerror}; the lake's folder must be writable") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Conflict(f"another {role} (process {holder}) has the table {table}; stop it first") from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
