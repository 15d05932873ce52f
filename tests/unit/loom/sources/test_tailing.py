"""A file is read on where it was left: through rotation, cutting, restarts and kills nothing is lost or doubled."""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError, Retryable
from loomidi.loom.sources.falco import parse_falco_lines
from loomidi.loom.sources.tailing import Follower, Tail, TailSettings

SMALL = TailSettings(piece_octets=64, look_s=0.001, retry_s=0.001)


class Log:
    """A log file and whoever reads it, with the numbers of the pieces."""

    def __init__(self, folder: Path) -> None:
        self.path, self.state = folder / "audit.log", folder / "position" / "audit.json"
        self.tail = Tail(self.path, self.state, SMALL)
        self.got: dict[tuple[int, int], list[bytes]] = {}

    def write(self, *lines: str) -> None:
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def again(self) -> None:
        """As after a kill: nothing is told to the tail."""
        self.tail.close()
        self.tail = Tail(self.path, self.state, SMALL)

    def read(self, most: int = 10_000) -> list[bytes]:
        """Take pieces until there are none; what was new."""
        fresh: list[bytes] = []
        for _ in range(most):
            piece = self.tail.take()
            if piece is None:
                break
            key = (self.tail.epoch, piece.seq)
            assert self.got.setdefault(key, piece.lines) == piece.lines, "the same number, other lines"
            fresh += piece.lines
            self.tail.done(piece)
        return fresh

    def everything(self) -> list[str]:
        return [line.decode() for key in sorted(self.got) for line in self.got[key]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.tail.close()


def test_whole_lines_only_are_handed_out(log: Log) -> None:
    log.write("a", "b")
    with log.path.open("a") as file:
        file.write("half")
    assert log.read() == [b"a", b"b"]
    with log.path.open("a") as file:
        file.write(" and half\n")
    assert log.read() == [b"half and half"]


def test_a_file_that_is_not_there_yet_is_waited_for(log: Log) -> None:
    assert log.read() == []
    log.write("a")
    assert log.read() == [b"a"]


def test_reading_goes_on_where_it_was_after_a_restart(log: Log) -> None:
    log.write("a", "b")
    log.read()
    log.write("c")
    log.again()
    assert log.read() == [b"c"]


def test_a_piece_that_was_not_done_comes_again_with_its_number(log: Log) -> None:
    log.write("a")
    first = log.tail.take()
    log.write("b")
    log.again()
    again = log.tail.take()
    assert first is not None
    assert again is not None
    assert (again.seq, again.lines) == (first.seq, first.lines)
    log.tail.done(again)
    assert log.read() == [b"b"]


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(log: Log) -> None:
    log.write("a")
    log.read()
    log.write("b")
    log.path.rename(log.path.with_name("audit.log.1"))
    log.write("c")
    assert log.read() == [b"b", b"c"]


def test_rotations_while_nobody_read_are_made_up_for(log: Log) -> None:
    log.write("a")
    log.read()
    for number, line in enumerate("bcd"):
        log.write(line)
        log.path.rename(log.path.with_name(f"audit-2026-11-26T0{number}.log"))
        os.utime(log.path.with_name(f"audit-2026-11-26T0{number}.log"), ns=(number + 1, number + 1))
    log.write("e")
    log.again()
    assert log.read() == [b"b", b"c", b"d", b"e"]


def test_other_files_beside_it_are_not_taken_for_its_rotations(log: Log) -> None:
    log.write("a")
    log.read()
    log.path.rename(log.path.with_name("moved away"))
    for name in ("audit-policy.yaml", "audit2.log", "audit.log.swp"):
        log.path.with_name(name).write_text("foreign\n")
    log.write("b")
    log.again()
    assert log.read() == [b"b"]


def test_a_file_that_is_cut_is_read_from_its_start(log: Log) -> None:
    log.write("aaaaaaaa", "b")
    log.read()
    log.path.write_text("c\n")
    assert log.read() == [b"c"]
    assert log.tail.counts["times the file was cut"] == 1


def test_a_file_that_was_deleted_unread_is_counted_and_its_number_not_used_again(log: Log) -> None:
    log.write("a")
    piece = log.tail.take()
    log.path.unlink()
    log.write("other")
    log.again()
    follow = log.tail.take()
    assert piece is not None
    assert follow is not None
    assert (follow.seq, follow.lines) == (piece.seq + 1, [b"other"])
    assert log.tail.counts["files that were gone before they were read to the end"] == 1


def test_a_line_longer_than_a_piece_is_whole(log: Log) -> None:
    log.write("x" * 1000, "b")
    assert log.read() == [b"x" * 1000, b"b"]


def test_beginning_at_the_end_leaves_out_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    tail = Tail(path, tmp_path / "state", TailSettings(from_end=True))
    assert tail.take() is None
    with path.open("a") as file:
        file.write("new\n")
    piece = tail.take()
    tail.close()
    assert piece is not None
    assert piece.lines == [b"new"]


def test_a_position_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("{}")
    with pytest.raises(InputError, match="remove it to begin anew"):
        Tail(tmp_path / "log", tmp_path / "state")


@pytest.mark.parametrize("seed", range(8))
def test_random_writing_rotating_reading_and_killing_gives_every_line_once(log: Log, seed: int) -> None:
    dice, written, rotated = random.Random(seed), 0, 0
    log.path.touch()
    log.read()
    for _ in range(150):
        act = dice.choice(["write", "write", "read", "take", "kill", "rotate"])
        if act == "write":
            count = dice.randint(1, 9)
            log.write(*(f"line {written + number}" for number in range(count)))
            written += count
        elif act == "rotate" and log.path.exists():
            rotated += 1
            name = log.path.with_name(f"audit.log.{rotated}")
            log.path.rename(name)
            os.utime(name, ns=(rotated, rotated))
            log.path.touch()
        elif act == "read":
            log.read(dice.randint(1, 3))
        elif act == "take":
            log.tail.take()
        else:
            log.again()
    log.read()
    assert log.everything() == [f"line {number}" for number in range(written)]


def test_what_cannot_be_sent_is_tried_again_and_refusals_are_counted(tmp_path: Path) -> None:
    path, sent = tmp_path / "falco.log", list[tuple[int, int]]()
    path.write_text(json.dumps({"rule": "x", "priority": "Error"}) + "\nnonsense\n")

    async def send(batch: pa.RecordBatch, _epoch: int, seq: int) -> None:
        sent.append((seq, batch.num_rows))
        if len(sent) < 3:
            raise Retryable("away")

    async def played() -> Follower:
        follower = Follower(Tail(path, tmp_path / "state"), parse_falco_lines, send, SMALL)
        assert await follower.once(asyncio.Event())
        follower.tail.close()
        return follower

    follower = asyncio.run(played())
    assert sent == [(0, 1)] * 3
    assert (follower.rows, follower.retries, follower.refusals) == (1, 2, {"not JSON": 1})
