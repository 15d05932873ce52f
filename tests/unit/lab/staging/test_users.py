"""What users saw, from the load generator's lines; tools for the outside are found or their lack is told."""

import json
from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi_lab import images
from loomidi_lab.staging import tools
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


def test_before_the_first_line_there_are_no_figures(tmp_path: Path) -> None:
    assert RequestLines(tmp_path / "none").load_between(0, 10**18).requests == 0


def test_a_tool_of_the_host_is_used_as_it_is(lab: FakeLab) -> None:
    assert tools.prefix(lab, {"command": ["sh", "-c", "true"]}) == []  # type: ignore[arg-type]
    assert tools.prefix(lab, {"program": "ask.py"}) == []  # type: ignore[arg-type]


def test_a_tool_that_nobody_has_is_told(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "built", list)
    with pytest.raises(EnvironmentLacks, match="attacker:1 is not built; run: loomidi-lab build"):
        tools.prefix(lab, {"command": ["no-such-tool-here"]})  # type: ignore[arg-type]
