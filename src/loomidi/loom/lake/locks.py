"""Who may do what to a table on this machine: one committer, one compaction, one commit at a time.

Called by `Committer`, `compact` and `expire`. Locks of the kernel on files: they end with the process, however that
ends. Two machines are kept apart by the catalog, whose commits name the snapshot that they follow; here the locks
spare them the races.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from loomidi.contracts.errors import Conflict, EnvironmentLacks
from loomidi.loom.lake.settings import LakeSettings


class TableLock:
    """Held from construction to `close`. Raises Conflict while somebody else has it."""

    def __init__(self, settings: LakeSettings, table: str, role: str) -> None:
        """`role` is who needs to be alone: committer, compaction."""
        self._file = _opened(settings, table, role)
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


@contextlib.contextmanager
def turn(settings: LakeSettings, table: str) -> Iterator[None]:
    """Wait until nobody else on this machine is committing to the table; for the length of one commit."""
    file = _opened(settings, table, "commit")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _opened(settings: LakeSettings, table: str, role: str) -> int:
    path = settings.folder.expanduser() / "locks" / f"{settings.namespace}.{table}.{role}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentLacks(f"{path}: {error.strerror}; the lake's folder must be writable") from error
