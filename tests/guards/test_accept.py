"""The judge of acceptance files: what is met, what is missed, and that every promise of the issue has an entry."""

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import accept

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of figures as a benchmark writes it."""
    monkeypatch.setattr(accept, "ROOT", tmp_path)
    (tmp_path / "f.json").write_text(
        json.dumps({"ours": 10, "peer": {"cost": 12.5}, "met": True, "rows": [{"name": "deny hit, host", "p99": 4}]})
    )
    return tmp_path


def judged(code: int = 0, output: str = "", age_s: float = 0, **judge: Any) -> accept.Judged:
    entry = {"id": "x", "judge": judge}
    return accept.judge(entry, accept.Ran(code, output, time.time() - age_s, 1.0))


def test_exit_code_0_is_met_and_another_names_the_last_line() -> None:
    assert judged(kind="exit0").met
    missed = judged(code=2, output="a\nwhy it broke\n", kind="exit0")
    assert (missed.met, missed.figure) == (False, "exit code 2: why it broke")


def test_a_pattern_gives_the_figure() -> None:
    result = judged(output="lost 0 of 900\n", kind="regex", pattern=r"lost 0 of (\d+)")
    assert (result.met, result.figure) == (True, "900")
    assert not judged(output="lost 1", kind="regex", pattern="lost 0").met
    assert not judged(code=1, output="lost 0", kind="regex", pattern="lost 0").met


@pytest.mark.parametrize(
    ("judge", "met"),
    [
        ({"kind": "json", "path": "met", "equals": True}, True),
        ({"kind": "json", "path": "met", "equals": False}, False),
        ({"kind": "max", "path": "ours", "limit": 10}, True),
        ({"kind": "max", "path": "ours", "limit": 9}, False),
        ({"kind": "max", "path": "ours", "limit_path": "peer.cost"}, True),
        ({"kind": "min", "path": "rows.0.p99", "limit": 4}, True),
        ({"kind": "min", "path": "rows.0.p99", "limit": 5}, False),
        ({"kind": "min", "path": "rows.deny hit.p99", "limit": 4}, True),
        ({"kind": "min", "path": "rows.known.p99", "limit": 4}, False),
        ({"kind": "max", "path": "peer", "limit": 5}, False),
        ({"kind": "max", "path": "rows.7.p99", "limit": 5}, False),
    ],
)
def test_a_value_is_held_against_its_limit(figures: Path, judge: dict[str, Any], met: bool) -> None:
    assert judged(file="f.json", **judge).met is met


def test_figures_of_an_earlier_run_do_not_count(figures: Path) -> None:
    result = judged(age_s=-60, kind="min", file="f.json", path="ours", limit=1)
    assert (result.met, result.figure) == (False, "f.json was not written (exit code 0)")


def test_a_command_that_hangs_is_ended() -> None:
    ran = accept.run("sleep 30", timeout_s=0.2)
    assert ran.code == 124
    assert ran.seconds < 10


def test_the_page_lists_each_entry_and_the_reason_of_a_miss() -> None:
    entries = [
        {"id": "a", "section": "S", "claim": "A holds", "command": "true", "judge": {"kind": "exit0"}},
        {
            "id": "b",
            "section": "S",
            "claim": "B holds",
            "command": "x",
            "judge": {"kind": "exit0"},
            "reason": "no time",
        },
    ]
    results = [accept.judge(entry, accept.Ran(number, "", 0, 1)) for number, entry in enumerate(entries)]
    page = accept.page({"title": "T", "name": "t"}, results)
    assert "**1 of 2 met, 1 missed:** b." in page
    assert "| met | A holds |" in page
    assert "- **b**: no time" in page


def test_the_last_result_of_an_entry_is_kept_beside_the_page(figures: Path) -> None:
    entry = {"id": "a", "section": "S", "claim": "A holds", "command": "x", "judge": {"kind": "exit0"}}
    for code in (1, 0):
        accept.remember("t", accept.judge(entry, accept.Ran(code, "", 0, 1)))
    recalled = accept.recall({"name": "t", "entry": [entry, {**entry, "command": "changed since"}]})
    assert [(result.met, result.figure) for result in recalled] == [(True, "exit code 0"), (False, "not judged yet")]
    assert len(accept.store("t").read_text().splitlines()) == 1


@pytest.mark.parametrize("source", sorted((ROOT / "acceptance").glob("*.toml")), ids=lambda path: path.stem)
def test_every_acceptance_file_can_be_read(source: Path) -> None:
    assert accept.read(source.stem)["entry"]
    assert tomllib.loads(source.read_text())["title"]
