"""What the table of a drill says, and what its last line counts."""

import dataclasses
from pathlib import Path

import pytest

from loomidi.contracts.errors import UsageError
from loomidi_lab.drills.commands import put, read
from loomidi_lab.drills.records import Drilled
from loomidi_lab.drills.tables import BEGIN, END, ending, lines

OFF = Drilled("scan-services", "attack", 1, "bridge", False, True, "", over_s=9.0, requests=300, errors=2)
WITH = dataclasses.replace(
    OFF,
    defended=True,
    detected_s=2.5,
    pattern="vertical_scan",
    others=2,
    folded_s=3.0,
    over_s=3.1,
    applied=1,
    undone=1,
    right=1,
)
CALM = dataclasses.replace(OFF, scenario="backup", category="benign", errors=0)


def row(name: str, *runs: Drilled) -> list[str]:
    """The cells of a scenario."""
    line = next(line for line in lines(runs) if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_puts_both_ways_side_by_side() -> None:
    cells = row("scan-services", OFF, WITH)
    assert cells[1:7] == ["1", "1/1", "2.5 s", "vertical_scan", "2", "3.0 s"]
    assert cells[7:] == ["1 / 0", "9.0 s", "3.1 s", "2 of 300", "2 of 300", "1/1"]


def test_a_fold_that_came_before_the_symptom_counts_where_it_took_hold_without() -> None:
    early = dataclasses.replace(WITH, confirmed=False, void_because="symptom not confirmed")
    assert row("scan-services", OFF, early)[2] == "1/1"
    assert row("scan-services", dataclasses.replace(OFF, confirmed=False), early)[1:3] == ["0 (1 void)", "0/0"]


def test_a_later_run_of_the_same_takes_the_place_of_the_earlier() -> None:
    assert row("scan-services", OFF, WITH, dataclasses.replace(WITH, detected_s=None))[2] == "0/1"


def test_the_last_line_counts_attacks_and_failures_and_what_look_alikes_lost() -> None:
    hurt = dataclasses.replace(CALM, defended=True, errors=4, applied=1, harmful=1)
    missed = dataclasses.replace(WITH, seed=2, detected_s=None)
    assert ending([OFF, WITH, missed, CALM, hurt]) == "detected 1/2, benign lost 4, undone 2/3"


def test_a_page_without_a_place_for_the_tables_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(UsageError, match="no place for the tables"):
        put(page, [OFF])
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n", encoding="utf-8")
    put(page, [OFF, WITH])
    assert "stale" not in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").endswith(f"{END}\nafter\n")


def test_runs_are_read_back_also_with_fields_of_another_version(tmp_path: Path) -> None:
    file = tmp_path / "drills.jsonl"
    assert read(file) == []
    file.write_text(
        '{"scenario": "x", "category": "attack", "seed": 1, "network": "bridge", "defended": true, '
        '"confirmed": true, "void_because": "", "folds": ["a"], "later": 1}\n',
        encoding="utf-8",
    )
    assert read(file)[0].folds == ("a",)
