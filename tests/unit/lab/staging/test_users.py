"""What users saw, from the load generator's lines; tools for the outside are found or their lack is told."""

import json
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab import images
from loomidi_lab.staging import tools, users
from loomidi_lab.staging.stages import RunEnded
from loomidi_lab.staging.users import RequestLines
from tests.unit.lab.staging.conftest import FakeLab


def test_requests_are_counted_by_when_they_were_due(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    lines = [
        {"intended_ns": n * 10**9, "done_ns": n * 10**9 + n * 10**6, "status": 500 if n == 4 else 200, "journey": "buy"}
        for n in range(1, 6)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"intended_ns": 1')
    figures = RequestLines(path).load_between(2 * 10**9, 5 * 10**9)
    assert (figures.requests, figures.errors, figures.p50_ms, figures.p99_ms) == (3, 1, 3.0, 3.0)
    assert RequestLines(path).load_between(0, 10**12, "look").requests == 0


def test_lines_that_came_since_are_counted_and_a_half_written_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"intended_ns": 1, "done_ns": 2}\n{"intended_ns": 2, ')
    asked = RequestLines(path)
    assert asked.load_between(0, 10).requests == 1
    with path.open("a") as file:
        file.write('"done_ns": 3, "error": "refused"}\n{"intended_ns": 3, "done_ns": 4}\n')
    figures = asked.load_between(0, 10)
    assert (figures.requests, figures.errors) == (3, 1)


class FakeLoad:
    """Notes with which seed it was made and how it ended."""

    made: ClassVar[list["FakeLoad"]] = []

    def __init__(self, _lab: object, _shop: object, _profile: object, seed: int, out: Path) -> None:
        self.seed, self.requests, self.ended = seed, out / "requests.jsonl", ""
        self.made.append(self)

    def start(self) -> None:
        self.ended = "not"

    def stop(self) -> None:
        self.ended = "stopped"

    def drop(self) -> None:
        self.ended = "dropped"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[FakeLoad]:
    monkeypatch.setattr("loomidi_lab.shop.load.Load", FakeLoad)
    monkeypatch.setattr("loomidi_lab.shop.find", lambda _lab: None)
    monkeypatch.setattr(users, "_BEFORE_S", 0.01)
    FakeLoad.made.clear()
    return FakeLoad.made


def test_users_are_drawn_by_the_seed_of_the_run(lab: FakeLab, loads: list[FakeLoad]) -> None:
    for seed in (7, 8):
        with users.user_load(lab, seed, threading.Event(), print):  # type: ignore[arg-type]
            pass
    assert [(load.seed, load.ended) for load in loads] == [(7, "stopped"), (8, "stopped")]


def test_users_are_gone_at_once_when_the_run_is_ended(lab: FakeLab, loads: list[FakeLoad]) -> None:
    ending = threading.Event()
    ending.set()
    with pytest.raises(RunEnded), users.user_load(lab, 7, ending, print):  # type: ignore[arg-type]
        pass
    assert [load.ended for load in loads] == ["dropped"]


def test_before_the_first_line_there_are_no_figures(tmp_path: Path) -> None:
    assert RequestLines(tmp_path / "none").load_between(0, 10**18).requests == 0


def test_a_tool_of_the_host_is_used_as_it_is(lab: FakeLab) -> None:
    assert tools.prefix(lab, {"command": ["sh", "-c", "true"]}) == []  # type: ignore[arg-type]
    assert tools.prefix(lab, {"program": "ask.py"}) == []  # type: ignore[arg-type]


def test_a_tool_that_nobody_has_is_told(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "built", list)
    with pytest.raises(EnvironmentLacks, match="attacker:1 is not built; run: loomidi-lab build"):
        tools.prefix(lab, {"command": ["no-such-tool-here"]})  # type: ignore[arg-type]
