"""What a release promised of windows still holds, and each column is defined on its page."""

from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITY_WINDOWS

ROOT = Path(__file__).resolve().parent.parent.parent
HISTORY = Path(__file__).resolve().parent / "history"
SCHEMAS = {"edge-windows": EDGE_WINDOWS, "entity-windows": ENTITY_WINDOWS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_column_was_renamed_retyped_or_moved(name: str) -> None:
    schema = SCHEMAS[name]
    promised = (HISTORY / f"{name}-0.1.txt").read_text().splitlines()
    assert described(schema)[: len(promised)] == promised


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_defined(name: str) -> None:
    """docs/windows.md has each name in code quotes; those of roles and quantiles without prefix and rank."""
    page = (ROOT / "docs" / "windows.md").read_text()
    assert [column for column in SCHEMAS[name].names if f"`{plain(column)}`" not in page] == []


def described(schema: pa.Schema) -> list[str]:
    return [f"{field.name} {field.type} {'null' if field.nullable else 'set'}" for field in schema]


def plain(column: str) -> str:
    stem = column.removeprefix("client_").removeprefix("server_")
    for rank in ("p50", "p90", "p99"):
        stem = stem.replace(f"_{rank}_", "_pNN_")
    return stem
