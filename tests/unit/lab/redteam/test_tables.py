"""Rows as lines and as a page: the last line adds up, misses are named, nothing around the marks is touched."""

from pathlib import Path

import pytest

from loomidi.contracts.errors import InputError
from loomidi_lab.redteam import tables
from tests.unit.lab.redteam.rows import attack, row


def test_the_last_line_counts_attacks_losses_and_entries() -> None:
    rows = [row(entries=2, undone=2, lost_outside=1, lost_within=9), row(detected=False, entries=1, undone=0)]
    assert tables.summary(rows) == "detected 1/2, benign lost 1, undone 2/3"


def test_the_figures_are_those_that_a_release_promises() -> None:
    quick = row(drop_s=0.02, entries=1, undone=1)
    slow = row(attack="patient", family="slow", finding_s=40.0, lost_outside=1, collateral=("host/192.0.2.1",))
    told = tables.figures([quick, row(drop_s=0.2, mode="autonomous"), row(detected=False), slow])
    assert (told["attacks"], told["rows"], told["detected_share"]) == (2, 4, 0.75)
    assert (told["drop_p50_ms"], told["no_drop"], told["slow_within_60_s"]) == (20.0, 1, 1.0)
    assert (told["benign_lost_outside"], told["collateral"], told["not_undone"]) == (1, 1, 0)


def test_rows_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "rows.jsonl"
    kept = row(collateral=("host/192.0.2.12",), failures=("a", "b"), finding_s=0.5)
    tables.append(file, kept)
    tables.append(file, row())
    assert tables.read(file) == [kept, row()]


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"attack": "x"}\n')
    with pytest.raises(InputError, match=r"rows.jsonl:1: no row"):
        tables.read(file)


def test_the_last_row_of_each_attack_and_mode_is_kept_in_the_order_of_the_catalogue() -> None:
    attacks = [attack(name="b"), attack(name="a")]
    rows = [row(attack="a", at=1), row(attack="b"), row(attack="a", at=2), row(attack="a", mode="autonomous")]
    kept = tables.latest([*rows, row(attack="gone")], attacks)
    assert [(one.attack, one.mode, one.at) for one in kept] == [
        ("b", "guarded", 0), ("a", "autonomous", 0), ("a", "guarded", 2),
    ]  # fmt: skip


def test_a_table_names_misses_and_what_was_not_run() -> None:
    rows = [row(detected=False, named_miss="nobody looks"), row(mode="autonomous", failures=("lost",), drop_s=0.02)]
    made = tables.table(rows, [attack(says="SYNs"), attack(name="other")], "Made.")
    assert "- flood (guarded), known: nobody looks" in made
    assert "- flood (autonomous): lost" in made
    assert "Not run: other." in made
    assert "p50 20.0 ms, longest 20.0 ms; 1 without a drop" in made


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.put_into(page, "new\n")
    assert page.read_text() == f"before\n{tables.BEGIN}\nnew\n{tables.END}\nafter\n"


def test_a_page_without_marks_is_left_alone_and_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(InputError, match="add them"):
        tables.put_into(page, "new\n")
