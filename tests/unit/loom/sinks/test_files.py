"""Files of events are put aside by size and age, and a fault leaves whole lines."""

import os
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.sinks import Away, FileSettings, Letter
from loomidi.loom.sinks import files as room
from loomidi.loom.sinks.files import FileSink


def letter(number: int) -> Letter:
    return Letter(f"event-{number}", "finding", f'{{"n":{number}}}'.encode(), number)


def lines(folder: Path) -> list[str]:
    aside = sorted(one for one in folder.glob("events-*.jsonl"))
    return [line for one in [*aside, folder / "events.jsonl"] for line in one.read_text().splitlines()]


def test_a_file_of_full_size_is_put_aside_and_nothing_is_lost(tmp_path: Path) -> None:
    sink = FileSink(FileSettings(path=str(tmp_path / "events.jsonl"), most_octets=20))
    for number in range(9):
        sink.send([letter(number)])
    sink.close()
    assert sink.rotated > 2
    assert lines(tmp_path) == [f'{{"n":{number}}}' for number in range(9)]


def test_an_old_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"n":0}\n')
    os.utime(path, (1, 1))
    sink = FileSink(FileSettings(path=str(path), most_s=3600.0))
    sink.send([letter(1)])
    sink.close()
    assert (sink.rotated, path.read_text()) == (1, '{"n":1}\n')


def test_a_line_that_a_crash_has_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"n":0}\n{"n":')
    sink = FileSink(FileSettings(path=str(path)))
    sink.send([letter(1)])
    sink.close()
    assert path.read_text().splitlines()[-1] == '{"n":1}'


def test_a_batch_that_was_not_written_whole_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(FileSettings(path=str(tmp_path / "events.jsonl")))
    sink.send([letter(0)])

    def full(_number: int) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(room.os, "fsync", full)
        with pytest.raises(Away, match="No space left"):
            sink.send([letter(1), letter(2)])
    sink.send([letter(1), letter(2)])
    sink.close()
    assert lines(tmp_path) == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_a_file_that_somebody_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = FileSink(FileSettings(path=str(path)))
    sink.send([letter(0)])
    path.rename(tmp_path / "events-moved.jsonl")
    sink.send([letter(1)])
    sink.close()
    assert path.read_text() == '{"n":1}\n'
