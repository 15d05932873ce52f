"""State on disk that survives `kill -9`: snapshots, and a journal of what was decided since.

Called by `local`. In: bytes of a snapshot, decisions. Out: files that are whole or not there: written aside, fsynced,
renamed; each record with its length and CRC-32. Two generations are kept, so that a file that a disk has spoiled costs
a replay, not the state. Leaves what the bytes mean to the caller.
"""

import fcntl
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from loomidi.contracts.errors import Conflict, InputError

_HEAD = struct.Struct("<4sQI")  # mark, length, CRC-32
_MARK = b"LWS1"
_NAME = re.compile(r"snapshot-(\d{8})")
_KEPT = 2


class Decision(NamedTuple):
    """With all messages up to `positions` absorbed, everything up to `to_ns` was closed."""

    positions: dict[str, dict[int, int]]  # stream -> partition -> offset
    to_ns: int


class Checkpoints:
    """The folder of one runner; only one process may hold it."""

    def __init__(self, folder: Path) -> None:
        """Raises Conflict when another process holds the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = _locked(folder / "lock")
        self._journal: int | None = None
        self.problems = list[str]()

    def load(self) -> tuple[bytes | None, list[Decision]]:
        """The newest snapshot that is whole, and every decision since; (None, []) at the first start."""
        state = None
        decisions = list[Decision]()
        for number in reversed(self._numbers()):
            decisions = [*self._decisions(number), *decisions]
            try:
                state = _unsealed((self.folder / _name(number)).read_bytes())
            except (OSError, InputError) as error:
                self.problems.append(f"{_name(number)}: {error}; the one before it is used, and the bus read again")
                continue
            return state, decisions
        if self.problems:
            raise InputError(f"no snapshot in {self.folder} is whole; move it away to begin anew: {self.problems[-1]}")
        return None, self._decisions(0)

    def save(self, state: bytes) -> None:
        """Durable when it returns; decisions from now on follow it."""
        numbers = self._numbers()
        number = numbers[-1] + 1 if numbers else 1
        aside = self.folder / "next"
        with aside.open("wb") as file:
            file.write(_sealed(state))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self.folder / _name(number))
        self._sync_folder()
        self._close_journal()
        for old in [0, *numbers][: -(_KEPT - 1)]:
            (self.folder / _journal(old)).unlink(missing_ok=True)
            (self.folder / _name(old)).unlink(missing_ok=True)

    def decide(self, decision: Decision) -> None:
        """Write it down before it is acted upon; durable when it returns."""
        if self._journal is None:
            number = self._numbers()[-1] if self._numbers() else 0
            path = self.folder / _journal(number)
            self._journal = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            self._sync_folder()
        os.write(self._journal, _sealed(json.dumps(decision._asdict()).encode()))
        os.fdatasync(self._journal)

    def close(self) -> None:
        """Let others have the folder."""
        self._close_journal()
        os.close(self._lock)

    def _numbers(self) -> list[int]:
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := _NAME.fullmatch(path.name)))

    def _decisions(self, number: int) -> list[Decision]:
        """All that are whole; a record cut off by a crash was not acted upon."""
        path = self.folder / _journal(number)
        found = list[Decision]()
        whole = 0
        data = path.read_bytes() if path.is_file() else b""
        for record, end in _records(data):
            told = json.loads(record)
            positions = {name: {int(one): at for one, at in some.items()} for name, some in told["positions"].items()}
            found.append(Decision(positions, told["to_ns"]))
            whole = end
        if whole < len(data):
            os.truncate(path, whole)
        return found

    def _close_journal(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def _sync_folder(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _name(number: int) -> str:
    return f"snapshot-{number:08}"


def _journal(number: int) -> str:
    return f"journal-{number:08}"


def _sealed(data: bytes) -> bytes:
    return _HEAD.pack(_MARK, len(data), zlib.crc32(data)) + data


def _unsealed(data: bytes) -> bytes:
    for record, end in _records(data):
        if end == len(data):
            return record
    raise InputError("is cut off or spoiled")


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """(record, where it ends) as far as they are whole."""
    at = 0
    while at + _HEAD.size <= len(data):
        mark, length, check = _HEAD.unpack_from(data, at)
        record = data[at + _HEAD.size : at + _HEAD.size + length]
        if mark != _MARK or len(record) != length or zlib.crc32(record) != check:
            return
        at += _HEAD.size + length
        yield record, at


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Conflict(f"{path.parent} is held by another runner; stop it, or give this one another folder") from error
    return descriptor
