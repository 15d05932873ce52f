"""Verify: a good recording passes, each kind of damage is found by the check that is there for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError
from loomidi_lab.recording.verifying import CHECKS, verify
from tests.unit.lab.recording.making import BEGIN, FakeCatalog, S, edit, recording, rewrite


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return recording(tmp_path / "made")


def failed(folder: Path) -> dict[str, str]:
    return {check.name: check.text for check in verify(folder, FakeCatalog()) if not check.passed}


def with_column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(
            place, table.schema.field(name), pa.array([value] * table.num_rows, table.schema.field(name).type)
        )

    return changed


def test_a_good_recording_passes_every_check(made: Path) -> None:
    checks = verify(made, FakeCatalog())
    assert [check.name for check in checks] == list(CHECKS)
    assert failed(made) == {}


def test_one_that_was_cut_off_is_incomplete(made: Path) -> None:
    (made / "MANIFEST.sha256").unlink()
    assert "incomplete" in failed(made)["complete"]


def test_a_missing_part_is_found(made: Path) -> None:
    (made / "logs" / "part-00000.parquet").unlink()
    assert failed(made)["files"] == "missing: logs/part-00000.parquet, logs"


def test_a_file_that_does_not_belong_is_found(made: Path) -> None:
    (made / "notes.txt").write_text("mine")
    assert "not in the manifest: notes.txt" in failed(made)["files"]


def test_a_changed_byte_is_found(made: Path) -> None:
    path = made / "traces" / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    assert failed(made)["hashes"] == "changed since it was recorded: traces/part-00000.parquet"


def test_a_column_of_another_kind_is_found(made: Path) -> None:
    rewrite(made, "logs", lambda table: table.drop(["line"]))
    assert "logs/part-00000.parquet has other columns" in failed(made)["schemas"]


def test_rows_out_of_order_and_out_of_the_window_are_found(made: Path) -> None:
    falling = pa.array([BEGIN + 9 * S, BEGIN + 5 * S])
    rewrite(made, "traces", lambda table: table.set_column(0, table.schema.field(0), falling))
    assert "traces: rows are not in the order" in failed(made)["times"]


@pytest.mark.parametrize("at", [BEGIN - 1, BEGIN + 131 * S])
def test_a_time_outside_of_the_window_is_found(made: Path, at: int) -> None:
    rewrite(made, "logs", with_column("time_ns", at))
    assert "logs: a row's time is outside" in failed(made)["times"]


def test_a_balance_that_does_not_add_up_is_found(made: Path) -> None:
    edit(made, "balance.json", lambda found: found["streams"]["logs"].update(received=9))
    assert "logs: 8 of 9 rows" in failed(made)["balances"]


def test_rows_that_are_not_there_are_found(made: Path) -> None:
    rewrite(made, "logs", lambda table: table.slice(0, 0))
    assert "the balance says 1 rows were written, 0 are there" in failed(made)["balances"]


def test_packets_that_nobody_accounts_for_are_found(made: Path) -> None:
    edit(made, "balance.json", lambda found: found["links"]["links"]["n1/veth1#2"]["packets"].update(received=50))
    assert "50 packets received, 5 accounted for" in failed(made)["balances"]


def test_an_audit_log_that_has_more_than_was_recorded_is_found(made: Path) -> None:
    edit(made, "balance.json", lambda found: found["streams"]["audit"]["notes"].update({"in the file": 3}))
    assert "audit: 0 rows, the API server's file has 3" in failed(made)["balances"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": False, "void_because": "no scan was seen"}, "is void: no scan was seen"),
        ({"symptoms": []}, "symptoms not confirmed: none was looked for"),
        ({"symptoms": [{"name": "seen", "confirmed": False}]}, "symptoms not confirmed: seen"),
        ({"end_ns": BEGIN + 999 * S}, "is not inside the window"),
        ({"scenario": "other"}, "is measured as other"),
    ],
)
def test_a_truth_that_is_not_one_is_found(made: Path, change: dict[str, Any], message: str) -> None:
    edit(made, "truth.json", lambda found: found["measured"][0].update(change))
    assert message in failed(made)["truth"]


def test_a_parent_that_is_not_there_is_found(made: Path) -> None:
    rewrite(made, "traces", with_column("parent_id", "nobody"))
    assert "0 of 2 parent ids resolve" in failed(made)["parents"]


def test_addresses_that_belong_to_nobody_are_shown(made: Path) -> None:
    rewrite(made, "flows", with_column("source_ip_address", "192.0.2.1"))
    assert failed(made)["addresses"] == "50.00% of 2 ends resolve (1 owner, 1 unknown); not: 192.0.2.1 (1)"


def test_a_schedule_that_the_plan_does_not_give_is_found(made: Path) -> None:
    edit(made, "schedule.json", lambda found: found["items"][0].update(offset_s=1.0))
    assert "gives another schedule" in failed(made)["schedule"]


def test_a_planned_truth_that_the_seed_does_not_give_is_found(made: Path) -> None:
    edit(made, "truth.json", lambda found: found["planned"][0].update(technique="T0000"))
    assert "planned truth is not that of the schedule" in failed(made)["schedule"]


def test_documents_that_cannot_be_read_fail_their_checks_only(made: Path) -> None:
    (made / "truth.json").write_text("{")
    assert {"hashes", "truth", "addresses", "schedule"} <= set(failed(made))
    assert "times" not in failed(made)
    (made / "balance.json").write_text("[]")
    assert "a file is damaged" in failed(made)["balances"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a recording"):
        verify(tmp_path / "gone")
    with pytest.raises(InputError, match="is no recording"):
        verify(tmp_path)


def test_the_manifest_is_what_sha256sum_reads(made: Path) -> None:
    lines = (made / "MANIFEST.sha256").read_text().splitlines()
    assert all(len(line.split("  ")[0]) == 64 for line in lines)
    assert json.loads((made / "schedule.json").read_text())["plan"] == "tiny"
