"""What every store in one SQLite file does alike: it is held by one process, and a change is made whole or not at all.

Called by `policies.shelves`, `act.receipts` and `services.transformer_api.shelves`. In: a path, a connection in
autocommit mode. Out: a lock's descriptor, a transaction. Leaves words for the file's own troubles to the store.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from loomidi.contracts import Conflict, EnvironmentLacks


def hold(path: Path, service: str, taken: type[Conflict]) -> int:
    """A lock of the kernel beside the file: it ends with the process, however that ends. Its descriptor, to be closed.

    Raises `taken` while another process has it, EnvironmentLacks for a folder that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentLacks(f"{path}: {error.strerror}; name a state folder that can be written") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise taken(f"{path}: another {service} service has it; end that one, or name another --state") from error
    return lock


@contextlib.contextmanager
def transaction(base: sqlite3.Connection) -> Iterator[None]:
    """All that is written in the block, or nothing."""
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
        base.execute("COMMIT")
    except BaseException:
        if base.in_transaction:
            base.execute("ROLLBACK")
        raise
