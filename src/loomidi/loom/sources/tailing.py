"""A log file that grows and is rotated, read on from where a former run stopped: nothing is lost, nothing is doubled.

Called by `services` for the Kubernetes audit log, Falco and Tetragon. In: a path, and a file for the position. Out:
pieces of whole lines, each with a number of its own. `take` notes durably what it hands out before it hands it out,
`done` that it has arrived; whoever is killed between the two is given the same octets under the same number again, so
that the bus and the lake can tell that they have them. Rotation by renaming, by a new file and by cutting are followed,
also those that happened while nobody read. Leaves parsing to the sources.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from loomidi.contracts.errors import InputError, Retryable
from loomidi.kit.waiting import told_within
from loomidi.loom.sources.rows import Refusals

_HEAD = 256  # octets of a file's beginning by which it is known again, besides its inode
Parse = Callable[[Iterable[bytes], Refusals], pa.RecordBatch]
Send = Callable[[pa.RecordBatch, int, int], Awaitable[None]]
"""Batch, epoch, sequence number: durable when it returns; the same numbers again are the same batch."""


@dataclasses.dataclass(frozen=True, slots=True)
class TailSettings:
    """How a file is followed."""

    piece_octets: int = 256 << 10
    # Of one piece, and so about of one batch on the bus.
    line_most: int = 16 << 20
    # A line that is longer is counted as `line too long` and left out; audit events with bodies reach some MiB.
    look_s: float = 0.5
    # Between two looks at a file that has nothing new.
    retry_s: float = 1.0
    # Before a piece is sent again when the bus is away; it doubles up to 30 s.
    from_end: bool = False
    # Of a file that was never read: begin at its end instead of its start.


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A position within one file, which is known again by more than its name."""

    inode: int
    head: str  # hash of the first octets; empty: the file had none yet
    head_octets: int  # how many those are
    offset: int


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, and what identifies them."""

    seq: int
    lines: list[bytes]
    begin: Place
    end: int  # offset behind the last line


class Tail:
    """One file. Not thread-safe; one process at a time."""

    def __init__(self, path: Path, state: Path, settings: TailSettings | None = None) -> None:
        """`state`: where the position is kept. Raises InputError for a state that is not ours."""
        self.path, self.counts = path, Counter[str]()
        self._state, self._settings = state, settings or TailSettings()
        self._file: Any = None  # the open file; kept when its name is taken by another
        self._place = Place(0, "", 0, 0)
        self._pending: Piece | None = None
        self.epoch, self._seq, self._end = 0, 0, 0
        self._load()

    @property
    def behind(self) -> int:
        """Octets of the open file that were not handed out yet."""
        return max(os.fstat(self._file.fileno()).st_size - self._place.offset, 0) if self._file else 0

    def take(self) -> Piece | None:
        """The next piece, or once more the one that is not `done`; None: nothing new."""
        if self._pending is None:
            self._pending = self._next()
            if self._pending is not None:
                self._save()
        return self._pending

    def done(self, piece: Piece) -> None:
        """It has arrived durably."""
        if self._pending is None or piece.seq != self._pending.seq:
            raise ValueError(f"piece {piece.seq} is not the one that was handed out")
        self._place = dataclasses.replace(self._place, offset=piece.end)
        self._seq, self._pending = piece.seq + 1, None
        self._save()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- reading -----------------------------------------------------------------------------------------------------

    def _next(self) -> Piece | None:
        while True:
            if self._file is None and not self._open():
                return None
            self._notice_cut()
            piece = self._read(final=False)
            if piece is None and self._renamed():
                piece = self._read(final=True)  # what came between reading and looking, and a line without its end
                if piece is None:
                    self._go_on()
                    continue
            return piece

    def _read(self, *, final: bool, end: int = 0) -> Piece | None:
        place, most = self._place, self._settings.piece_octets
        while True:
            self._file.seek(place.offset)
            octets = self._file.read(end - place.offset if end else most)
            whole = octets if end or (final and len(octets) < most) else octets[: octets.rfind(b"\n") + 1]
            if whole or len(octets) < most or end:
                break
            if most >= self._settings.line_most:
                self.counts["line too long"] += 1
                whole = octets
                break
            most = min(most * 4, self._settings.line_most)
        if not whole:
            return None
        lines = [line for line in whole.split(b"\n") if line.strip()]
        return Piece(self._seq, lines, place, place.offset + len(whole))

    def _open(self) -> bool:
        """The file that was read last, wherever its name went; else the one of the name."""
        for path in self._candidates():
            with contextlib.suppress(FileNotFoundError):
                file = path.open("rb")
                if self._is_ours(file):
                    self._file = file
                    return True
                file.close()
        if self._place.inode:
            self.counts["files that were gone before they were read to the end"] += 1
        return self._begin(self.path)

    def _candidates(self) -> list[Path]:
        if not self._place.inode:
            return []
        return [self.path, *(one for one in self._beside() if self._inode_of(one) == self._place.inode)]

    def _beside(self) -> list[Path]:
        """Other files of the folder: a name says nothing, the inode and the beginning do."""
        with contextlib.suppress(FileNotFoundError):
            return [one for one in self.path.parent.iterdir() if one != self.path and one.is_file()]
        return []

    def _rotated(self) -> list[Path]:
        """What rotation makes of such a file, oldest first: `a.log.1`, `a.log-20261126`, `a-2026-11-26T03-00.log`."""
        name, stem, end = (re.escape(text) for text in (self.path.name, self.path.stem, self.path.suffix))
        pattern = re.compile(rf"{name}[.-]\d[\dT.-]*|{stem}-\d{{4}}-\d\d-\d\dT[\d.-]+{end}")
        found = [one for one in self._beside() if pattern.fullmatch(one.name)]
        return sorted(found, key=lambda one: (self._changed_at(one), one.name))

    @staticmethod
    def _changed_at(path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    @staticmethod
    def _inode_of(path: Path) -> int:
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            return 0

    def _is_ours(self, file: Any) -> bool:
        found = os.fstat(file.fileno())
        if found.st_ino != self._place.inode or found.st_size < self._place.head_octets:
            return False
        return self._head_of(file, self._place.head_octets) == self._place.head

    @staticmethod
    def _head_of(file: Any, octets: int) -> str:
        file.seek(0)
        return hashlib.sha256(file.read(octets)).hexdigest()[:16] if octets else ""

    def _begin(self, path: Path, *, from_end: bool | None = None) -> bool:
        """Read a file from its start."""
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; name a log file that this user may read") from error
        found = os.fstat(self._file.fileno())
        fresh = not self._place.inode if from_end is None else from_end
        offset = found.st_size if fresh and self._settings.from_end else 0
        self._place = self._identified(found.st_ino, found.st_size, offset)
        self._save()
        return True

    def _identified(self, inode: int, size: int, offset: int) -> Place:
        octets = min(size, _HEAD)
        return Place(inode, self._head_of(self._file, octets), octets, offset)

    def _notice_cut(self) -> None:
        """A file that is shorter than it was, or begins otherwise, was cut and written anew (`copytruncate`)."""
        found = os.fstat(self._file.fileno())
        same = self._head_of(self._file, self._place.head_octets) == self._place.head
        if found.st_size < self._place.offset or not same:
            self.counts["times the file was cut"] += 1
            self._place = self._identified(found.st_ino, found.st_size, 0)
        elif self._place.head_octets < _HEAD and found.st_size > self._place.head_octets:
            self._place = self._identified(found.st_ino, found.st_size, self._place.offset)

    def _renamed(self) -> bool:
        """Whether the name belongs to another file by now; a file that is only gone may still grow."""
        here = self._inode_of(self.path)
        return bool(here) and here != os.fstat(self._file.fileno()).st_ino

    def _go_on(self) -> None:
        """To the file that came after this one: one that was rotated away unread, else the one of the name."""
        self.counts["rotations"] += 1
        ours = os.fstat(self._file.fileno())
        self.close()
        between = [one for one in self._rotated() if self._changed_at(one) > ours.st_mtime_ns]
        between = [one for one in between if self._inode_of(one) != ours.st_ino]
        self._begin((between or [self.path])[0], from_end=False)

    # -- the position ------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        try:
            held = json.loads(self._state.read_text(encoding="utf-8"))
            self.epoch, self._seq = int(held["epoch"]), int(held["seq"])
            self._place, end = Place(**held["place"]), int(held["end"])
        except FileNotFoundError:
            self.epoch = time.time_ns()
            return
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._state} is no position of a log file; remove it to begin anew") from error
        if not end:
            return
        if self._open() and self._place.inode == held["place"]["inode"]:
            self._pending = self._read(final=True, end=end)
        if self._pending is None:
            self._seq += 1  # a number that may have been sent is never given to other lines

    def _save(self) -> None:
        """Durable and whole, or as before."""
        end = self._pending.end if self._pending else 0
        text = json.dumps({"epoch": self.epoch, "seq": self._seq, "place": dataclasses.asdict(self._place), "end": end})
        self._state.parent.mkdir(parents=True, exist_ok=True)
        beside = self._state.with_name(self._state.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._state)


class Follower:
    """Sends what comes into one file, piece by piece, until it is told to end."""

    def __init__(self, tail: Tail, parse: Parse, send: Send, settings: TailSettings | None = None) -> None:
        self.tail, self.refusals = tail, Counter[str]()
        self.rows, self.retries = 0, 0
        self._parse, self._send, self._settings = parse, send, settings or TailSettings()

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending`; what was handed out and not acknowledged by then comes again at the next start."""
        try:
            while not ending.is_set():
                if not await self.once(ending):
                    await told_within(ending, self._settings.look_s)
        finally:
            self.tail.close()

    async def once(self, ending: asyncio.Event) -> bool:
        """One piece; False when there was none."""
        piece = self.tail.take()
        if piece is None:
            return False
        batch = self._parse(piece.lines, self.refusals)
        if batch.num_rows and not await self._sent(batch, piece.seq, ending):
            return False
        self.rows += batch.num_rows
        self.tail.done(piece)
        return True

    async def _sent(self, batch: pa.RecordBatch, seq: int, ending: asyncio.Event) -> bool:
        pause_s = self._settings.retry_s
        while not ending.is_set():
            try:
                await self._send(batch, self.tail.epoch, seq)
                return True
            except Retryable:
                self.retries += 1
                await told_within(ending, pause_s)
                pause_s = min(pause_s * 2, 30.0)
        return False
