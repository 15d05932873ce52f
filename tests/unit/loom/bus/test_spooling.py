"""What the spool says it holds is on the disk, in order, with its ids, also after a kill."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import Conflict
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus.spooling import Spool


def envelope(seq: int, octets: int = 1000, stream: str = "flows") -> Envelope:
    return Envelope(stream, "n1", 5, seq, 10, bytes([seq % 256]) * octets, sampling_interval=2, created_ns=9)


Opened = Callable[..., Spool]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens the spool of this test, and closes it in the end."""
    with contextlib.ExitStack() as stack:

        def opened(limit: int = 1 << 20, segment: int = 4000) -> Spool:
            spool = Spool(tmp_path, limit_octets=limit, segment_octets=segment)
            stack.callback(spool.close)
            return spool

        yield opened


def drained(spool: Spool) -> list[Envelope]:
    found = []
    while taken := spool.take(2500):
        found += taken
        spool.settle(len(taken))
    return found


def test_first_in_is_first_out_and_nothing_is_changed(opened: Opened) -> None:
    given = [envelope(seq) for seq in range(20)]
    spool = opened()
    assert spool.append(given) == 20
    assert drained(spool) == given
    assert len(spool) == 0


def test_what_is_settled_leaves_the_disk(tmp_path: Path, opened: Opened) -> None:
    spool = opened()
    spool.append([envelope(seq) for seq in range(20)])
    drained(spool)
    assert spool.octets == 0
    assert list(tmp_path.glob("*.spool")) == []


def test_a_later_process_finds_what_waits_and_not_what_was_settled(opened: Opened) -> None:
    spool = opened()
    spool.append([envelope(seq) for seq in range(7)])
    spool.settle(len(spool.take(2500)))
    spool.close()
    assert [one.seq for one in drained(opened())] == [2, 3, 4, 5, 6]


def test_rows_that_wait_are_told_by_stream(opened: Opened) -> None:
    spool = opened()
    spool.append([envelope(0), envelope(1, stream="metrics"), envelope(2)])
    assert spool.rows() == {"flows": 20, "metrics": 10}


def test_a_full_spool_takes_as_many_as_fit(opened: Opened) -> None:
    spool = opened(limit=5000)
    assert spool.append([envelope(seq) for seq in range(9)]) == 4
    assert spool.append([envelope(9)]) == 0
    assert [one.seq for one in drained(spool)] == [0, 1, 2, 3]
    assert spool.append([envelope(10)]) == 1


def test_a_record_that_was_being_written_is_cut_off_and_counted(tmp_path: Path, opened: Opened) -> None:
    spool = opened(segment=1 << 20)
    spool.append([envelope(seq) for seq in range(3)])
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-100])
    again = opened()
    assert [one.seq for one in drained(again)] == [0, 1]
    assert again.torn_octets > 900


def test_a_record_that_has_rotted_is_left_out_and_counted(tmp_path: Path, opened: Opened) -> None:
    spool = opened(segment=1 << 20)
    spool.append([envelope(seq) for seq in range(3)])
    (path,) = tmp_path.glob("*.spool")
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(bytes(octets))
    assert [one.seq for one in drained(spool)] == [0, 2]
    assert spool.rotten == 1


def test_what_rotted_alone_in_the_spool_does_not_stay(tmp_path: Path, opened: Opened) -> None:
    spool = opened()
    spool.append([envelope(0)])
    (path,) = tmp_path.glob("*.spool")
    path.write_bytes(b"\x00" * path.stat().st_size)
    assert drained(spool) == []
    assert spool.octets == 0
    assert spool.append([envelope(1)]) == 1
    assert [one.seq for one in drained(spool)] == [1]


def test_two_processes_do_not_share_a_spool(opened: Opened) -> None:
    spool = opened()
    with pytest.raises(Conflict, match="another folder"):
        opened()
    spool.close()
    opened()


def _write_until_killed(folder: str, told: "multiprocessing.connection.Connection") -> None:
    spool, seq = Spool(Path(folder), limit_octets=1 << 20, segment_octets=4000), 0
    while True:
        seq += spool.append([envelope(seq + more) for more in range(3)])
        told.send(seq)


def test_what_was_said_to_be_held_survives_a_kill(tmp_path: Path, opened: Opened) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    writer = multiprocessing.get_context("spawn").Process(target=_write_until_killed, args=(str(tmp_path), theirs))
    writer.start()
    theirs.close()
    held = 0
    while held < 30:
        held = ours.recv()
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    while ours.poll():
        try:
            held = ours.recv()
        except EOFError:
            break
    found = [one.seq for one in drained(opened())]
    assert found[:held] == list(range(held))
