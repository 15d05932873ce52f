"""Envelopes on disk while the bus is away: a queue of segment files, bounded, first in first out.

Called by `publishing`. In: envelopes. Out: the same envelopes, ids and all, also to a process that comes after one that
was killed. What `append` has said it holds is on the disk. A record that was being written when the machine stopped is
cut off; one that has rotted is left out; both are counted. Blocks: called in a thread.
"""

import collections
import contextlib
import dataclasses
import fcntl
import json
import os
import struct
import zlib
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path

from loomidi.contracts.errors import Conflict, InputError
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus.envelopes import from_headers, to_headers

_HEAD = struct.Struct("<4sIII")  # magic, CRC-32 of what follows the head, octets of the headers, octets of the payload
_MAGIC = b"LMS1"
_SUFFIX = ".spool"
_SETTLED = "settled.json"


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """Where a record lies."""

    segment: int
    offset: int
    octets: int
    stream: str
    rows: int


class Spool:
    """One folder, one publisher at a time."""

    def __init__(self, folder: Path, *, limit_octets: int, segment_octets: int) -> None:
        """Finds what an earlier process left. Raises Conflict when another process has the folder."""
        self.folder, self._limit, self._segment_octets = folder, limit_octets, segment_octets
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise Conflict(f"{folder} is the spool of another process; name another folder") from error
        self._entries = collections.deque[_Entry]()
        self._rows: collections.Counter[str] = collections.Counter()
        self._segments: dict[int, int] = {}  # number -> octets
        self._file: BufferedRandom | None = None
        self.torn_octets = self.rotten = 0
        self.rotten_rows = collections.Counter[str]()  # by stream, where the record still tells it
        self._recover()

    @property
    def octets(self) -> int:
        """On disk, records that are settled in a segment that is not included."""
        return sum(self._segments.values())

    def __len__(self) -> int:
        return len(self._entries)

    def rows(self) -> dict[str, int]:
        """Stream -> rows that wait."""
        return {stream: rows for stream, rows in self._rows.copy().items() if rows}

    # -- writing -----------------------------------------------------------------------------------------------

    def append(self, envelopes: Sequence[Envelope]) -> int:
        """How many of them, from the first on, are on the disk now: fewer when the spool or the disk is full."""
        written, done = list[_Entry](), 0
        for envelope in envelopes:
            record = _record(envelope)
            if self.octets + len(record) > self._limit:
                break
            entry = self._write(record, envelope)
            if entry is None:
                break
            written.append(entry)
        if written and self._synced():
            self._keep(written)
            done = len(written)
        return done

    def _keep(self, entries: Sequence[_Entry]) -> None:
        self._entries.extend(entries)
        for one in entries:
            self._rows[one.stream] += one.rows

    def _write(self, record: bytes, envelope: Envelope) -> _Entry | None:
        """None when the disk takes no more; what it took of this record is cut off again."""
        try:
            number, file = self._current()
            offset = self._segments[number]
            file.seek(offset)
            file.write(record)
            file.flush()
        except OSError:
            self._cut()
            return None
        self._segments[number] += len(record)
        return _Entry(number, offset, len(record), envelope.stream, envelope.rows)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.truncate(self._segments[max(self._segments)])

    def _synced(self) -> bool:
        try:
            if self._file is not None:
                os.fsync(self._file.fileno())
        except OSError:
            return False
        return True

    def _current(self) -> tuple[int, BufferedRandom]:
        """The segment that is written to; a new one when it is full."""
        number = max(self._segments, default=0)
        if self._file is None or self._segments.get(number, 0) >= self._segment_octets:
            if self._file is not None:
                os.fsync(self._file.fileno())
                self._file.close()
            number += 1
            self._file = self._path(number).open("x+b")
            self._segments[number] = 0
            _sync_folder(self.folder)
        return number, self._file

    # -- reading -----------------------------------------------------------------------------------------------

    def take(self, octets: int) -> list[Envelope]:
        """The oldest ones, up to so many octets and at least one; they stay until `settle`."""
        taken, size, at = list[Envelope](), 0, 0
        while at < len(self._entries) and (not taken or size + self._entries[at].octets <= octets):
            envelope = self._read(self._entries[at])
            if envelope is None:
                self.rotten += 1
                self._rows[self._entries[at].stream] -= self._entries[at].rows
                self.rotten_rows[self._entries[at].stream] += self._entries[at].rows
                del self._entries[at]
                continue
            taken.append(envelope)
            size += self._entries[at].octets
            at += 1
        if not taken:
            self.settle(0)
        return taken

    def _read(self, entry: _Entry) -> Envelope | None:
        try:
            with self._path(entry.segment).open("rb") as file:
                file.seek(entry.offset)
                return _envelope(file.read(entry.octets))
        except (OSError, InputError):
            return None

    def settle(self, count: int) -> None:
        """The first so many of what was taken are published: forget them."""
        for _ in range(count):
            gone = self._entries.popleft()
            self._rows[gone.stream] -= gone.rows
        first = self._entries[0] if self._entries else None
        for number in sorted(self._segments):
            if first is not None and number >= first.segment:
                break
            self._drop(number)
        settled = {"segment": first.segment, "offset": first.offset} if first else {}
        with contextlib.suppress(OSError):  # it saves a second publishing after a crash, no more
            partial = self.folder / (_SETTLED + ".new")
            partial.write_text(json.dumps(settled))
            partial.replace(self.folder / _SETTLED)

    def _drop(self, number: int) -> None:
        if number == max(self._segments) and self._file is not None:
            self._file.close()
            self._file = None
        self._path(number).unlink(missing_ok=True)
        del self._segments[number]

    # -- after a crash -----------------------------------------------------------------------------------------

    def _recover(self) -> None:
        settled = {}
        with contextlib.suppress(OSError, ValueError):
            settled = json.loads((self.folder / _SETTLED).read_text())
        start = (settled.get("segment", 0), settled.get("offset", 0))
        for path in sorted(self.folder.glob("*" + _SUFFIX)):
            number = int(path.stem)
            entries, sound = _scan(path, number)
            self.torn_octets += path.stat().st_size - sound
            self._segments[number] = sound
            self._keep([entry for entry in entries if (entry.segment, entry.offset) >= start])
        self.settle(0)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{_SUFFIX}"

    def close(self) -> None:
        """What waits stays for the next one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lock.close()


def _record(envelope: Envelope) -> bytes:
    headers = json.dumps(to_headers(envelope), separators=(",", ":")).encode()
    check = zlib.crc32(envelope.payload, zlib.crc32(headers))
    return _HEAD.pack(_MAGIC, check, len(headers), len(envelope.payload)) + headers + envelope.payload


def _envelope(record: bytes) -> Envelope:
    """Raises InputError for what is not what was written."""
    magic, check, headers, payload = _HEAD.unpack_from(record)
    body = memoryview(record)[_HEAD.size :]
    if magic != _MAGIC or len(body) != headers + payload or zlib.crc32(body) != check:
        raise InputError("a record of the spool has rotted")
    told = json.loads(bytes(body[:headers]))
    return from_headers(told, bytes(body[headers:]), stream=told["Loomidi-Stream"], offset=0)


def _scan(path: Path, number: int) -> tuple[list[_Entry], int]:
    """The records of a segment, and how many octets of it hold whole ones."""
    entries, size, at = list[_Entry](), path.stat().st_size, 0
    with path.open("rb") as file:
        while at + _HEAD.size <= size:
            file.seek(at)
            magic, _, headers, payload = _HEAD.unpack(file.read(_HEAD.size))
            octets = _HEAD.size + headers + payload
            if magic != _MAGIC or at + octets > size:
                break
            try:
                told = json.loads(file.read(headers))
                stream, rows = str(told["Loomidi-Stream"]), int(told["Loomidi-Rows"])
            except (ValueError, KeyError, TypeError):
                stream, rows = "", 0  # `take` will find that it has rotted
            entries.append(_Entry(number, at, octets, stream, rows))
            at += octets
    return entries, at


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
