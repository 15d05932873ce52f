"""The page on folds says what the tables say."""

import re
from pathlib import Path

from loomidi.fold.resources import MEANING, NEXT, Phase, fold_definition

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "folds.md").read_text()


def test_the_table_of_phases_is_the_one_that_is_enforced() -> None:
    rows = {cells[0]: cells[1:] for line in PAGE.splitlines() if len(cells := line.strip("| ").split(" | ")) >= 2}
    for phase in Phase:
        after = ", ".join(NEXT[phase])
        assert [cell.rstrip(" |") for cell in rows[phase]] == [MEANING[phase], *([after] if after else [])]


def test_every_column_and_every_selectable_field_is_on_the_page() -> None:
    version = fold_definition()["spec"]["versions"][0]
    head = next(line for line in PAGE.splitlines() if line.startswith("NAME "))
    assert [word.title() for word in head.split()[1:]] == [
        column["name"] for column in version["additionalPrinterColumns"] if "priority" not in column
    ]
    selectable = [field["jsonPath"].removeprefix(".") for field in version["selectableFields"]]
    assert [name for name in selectable if not re.search(rf"`{re.escape(name)}`", PAGE)] == []
