"""A disk that is really full: a small tmpfs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import Retryable
from loomidi.loom.lake import Committer, compact
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import lake_in, message, messages, values


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a tmpfs of 2 MiB")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_it_stops_with_a_clear_state_and_goes_on_when_there_is_room(small: Path) -> None:
    ballast, lake = small / "ballast", lake_in(small)
    with Committer(lake, "metrics") as committer:
        committer.take(messages(1))
        committer.commit()
        room = os.statvfs(small)
        ballast.write_bytes(b"x" * (room.f_bavail * room.f_frsize - 8192))
        done, fault = 1, None
        while fault is None and done < 100:
            committer.take(messages(1, first=done))
            done += 1
            try:
                committer.commit()
            except Retryable as error:
                fault = error
        assert fault is not None
        assert "no room" in str(fault) or "I/O error" in str(fault)
        with pytest.raises(Retryable):
            committer.commit()
        held = values(lake)
        assert held == [float(each) for each in range(3 * (done - 1))]
        ballast.unlink()
        committer.commit()
        assert values(lake) == [float(each) for each in range(3 * done)]
        assert lake.marks("metrics").position == {0: done}


def test_a_compaction_that_finds_no_room_leaves_everything_as_it_was(small: Path) -> None:
    ballast, lake = small / "ballast", lake_in(small)
    with Committer(lake, "flows") as committer:
        for at in range(3):
            batch = batches.flows(800, seed=at)
            committer.take([message(batches.envelope(batch, at, stream="flows"), at)])
            committer.commit()
    room = os.statvfs(small)
    ballast.write_bytes(b"x" * (room.f_bavail * room.f_frsize - 65_536))
    files = sorted(small.rglob("*.parquet"))
    with pytest.raises(Retryable, match="no room"):
        compact(lake, "flows")
    assert sorted(small.rglob("*.parquet")) == files
    ballast.unlink()
    (done,) = compact(lake, "flows")
    assert (done.files_after, done.rows) == (1, 2400)
