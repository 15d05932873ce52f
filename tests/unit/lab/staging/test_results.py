"""Runs are kept as lines, and the table tells the last valid one of each scenario."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loomidi.contracts.errors import InputError
from loomidi_lab.live import commands
from loomidi_lab.staging import draw, loading, results
from loomidi_lab.staging.records import Occurrence, SymptomResult


def occurrence(scenario: Any, value: float, void: str = "") -> Occurrence:
    symptom = SymptomResult("many | ports", not void, value, "ports >= 5", 3)
    return Occurrence(draw(scenario, 1), 10**9, 3 * 10**9, 0, (), (), (symptom,), void, 1234)


def test_the_last_valid_run_is_told(tmp_path: Path, scenario_of: Any) -> None:
    path = tmp_path / "results.jsonl"
    for value, void in ((7.0, ""), (9.0, ""), (1.0, "symptom not confirmed")):
        results.append(path, occurrence(scenario_of(), value, void))
    made = results.table(results.read(path), ["sample", "never-run"])
    assert "| sample | attack, scan | T1046 | many \\| ports: 9 (ports >= 5) | 2.0 s | 1,234 | yes |" in made
    assert "Not run yet: never-run." in made


def test_a_scenario_that_was_only_void_says_why(tmp_path: Path, scenario_of: Any) -> None:
    results.append(tmp_path / "r", occurrence(scenario_of(), 1.0, "nobody | came"))
    assert "no: nobody \\| came |" in results.table(results.read(tmp_path / "r"), ["sample"])


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "lab.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.put_into(page, "new\n")
    assert page.read_text() == f"before\n{results.BEGIN}\nnew\n{results.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(InputError, match="lacks the lines"):
        results.put_into(page, "new\n")


def test_a_broken_line_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{}\n{"a"\n')
    with pytest.raises(InputError, match="r:2: no JSON line"):
        results.read(tmp_path / "r")


def test_the_check_counts_valid_runs_and_names_what_lacks_one(tmp_path: Path) -> None:
    names = sorted(loading.names())
    lines = [{"planned": {"scenario": name}, "measured": {"valid": name != names[1]}} for name in names]
    (tmp_path / "r").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--check", "--results", str(tmp_path / "r"), "--json", str(tmp_path / "counts.json")]
    done = CliRunner().invoke(commands.table, words, standalone_mode=False)
    assert done.return_value == 1
    assert f"without a valid run: {names[1]}\n{len(names) - 1} of {len(names)} scenarios confirmed" in done.stdout
    counts = json.loads((tmp_path / "counts.json").read_text())
    kinds = ("attack", "failure", "benign")
    assert sum(counts[kind]["confirmed"] for kind in kinds) == len(names) - 1


def test_scenarios_lists_them_all() -> None:
    done = CliRunner().invoke(commands.scenarios, ["--json", "--category", "attack"])
    listed = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"scan-services", "syn-flood"} <= {one["name"] for one in listed}


def test_check_tells_each_mistake(tmp_path: Path) -> None:
    path = tmp_path / "sample" / "scenario.yaml"
    path.parent.mkdir()
    path.write_text("name: sample\nfoo: 1\n")
    done = CliRunner().invoke(commands.run, ["--check", str(path)], standalone_mode=False)
    assert done.return_value == 2
    assert "scenario.yaml:2:1: unknown key `foo`" in done.output
