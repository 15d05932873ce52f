"""The Arrow schema that C exports is the one that Python promises, column by column."""

from pathlib import Path

from loomidi.contracts.schemas import FLOWS
from loomidi.loom.flows import FlowTable

ROOT = Path(__file__).resolve().parent.parent.parent
HISTORY = Path(__file__).resolve().parent / "history"


def test_the_library_exports_flows_in_order_and_type() -> None:
    """Names, types, nullability and order, of the stream and of each batch."""
    with FlowTable() as table, table._meter.reader(everything=False) as reader:
        assert reader.schema.equals(FLOWS, check_metadata=True)


def test_every_column_is_described() -> None:
    """docs/flow-features.md is the spec: each name stands there in code quotes, without `reverse_`."""
    page = (ROOT / "docs" / "flow-features.md").read_text()
    missing = [name for name in FLOWS.names if f"`{name.removeprefix('reverse_')}`" not in page]
    assert not missing


def test_no_column_was_renamed_retyped_or_moved() -> None:
    """What a release promised still holds; columns may have been added."""
    promised = [line.split(" ", 1) for line in (HISTORY / "flows-0.1.txt").read_text().splitlines()]
    fields = [
        (name, f"{FLOWS.field(name).type} {'null' if FLOWS.field(name).nullable else 'set'}") for name, _ in promised
    ]
    assert fields == [tuple(line) for line in promised]
