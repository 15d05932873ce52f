"""`loomidi receipts` and `loomidi policy check`: what they show, and their exit codes."""

import json
import sqlite3
from pathlib import Path

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts import Step
from loomidi.ionic.act import SqliteReceipts
from tests.unit.ionic.acting import a_bench
from tests.unit.ionic.making import SOURCE, a_fold, a_plan

SAMPLES = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "samples"


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main([str(a) for a in arguments], standalone_mode=False))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    bench = a_bench(folder=tmp_path)
    bench.carry_out(a_plan())
    return tmp_path / "receipts.sqlite"


def test_receipts_show_plan_step_and_the_way_back(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("receipts", store) == 0
    shown = capsys.readouterr().out
    assert a_plan().id in shown
    assert [step for step in ("intent", "applied", "verified") if step in shown] == ["intent", "applied", "verified"]
    assert "3 receipts, chain sound" in shown


def test_receipts_as_json_hold_the_inverse(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("receipts", store, "--json", "--plan", a_plan().id, "--open") == 0
    document = json.loads(capsys.readouterr().out)
    assert [receipt["step"] for receipt in document["receipts"]] == ["intent", "applied", "verified"]
    assert document["receipts"][0]["inverse"]["match"]["source"] == SOURCE
    assert document["chain"]["broken_at"] is None


def test_a_broken_chain_is_told_and_exits_1(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(store) as base:
        base.execute("DROP TRIGGER never_changed")
        base.execute("UPDATE receipts SET at_ns = 7 WHERE position = 2")
    base.close()
    assert run("receipts", store) == 1
    assert "receipt 2 of" in capsys.readouterr().out


def test_a_missing_store_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("receipts", tmp_path / "none") == 2
    error = capsys.readouterr().err
    assert "no receipt store there" in error
    assert error.count("\n") == 1


def test_the_default_store_is_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SqliteReceipts(tmp_path / "receipts.sqlite").append("plan-1", Step.REFUSED, "none", {}, {})
    monkeypatch.setenv("LOOMIDI_STORAGE_STATE", str(tmp_path))
    assert run("receipts") == 0
    assert "plan-1" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_samples_are_judged_as_their_folder_says(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(path.read_text())
    mode = document["facts"].get("mode", "guarded")
    assert run("policy", "check", path, "--mode", mode, "--json") == (0 if path.parent.name == "allowed" else 1)
    told = json.loads(capsys.readouterr().out)
    assert told["allowed"] == (path.parent.name == "allowed")


def test_a_plan_alone_is_judged_as_of_when_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(a_plan().as_dict()))
    assert run("policy", "check", tmp_path / "plan.json") == 0
    assert "allowed" in capsys.readouterr().out
    assert run("policy", "check", tmp_path / "plan.json", "--protect", "203.0.113.0/24") == 1
    assert "denies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "plan: expected an object"),
        (json.dumps(a_plan(fold=a_fold()).as_dict() | {"mode": "x"}), "plan.mode: expected one of"),
    ],
)
def test_a_document_that_is_no_plan_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "plan.json").write_text(content)
    assert run("policy", "check", tmp_path / "plan.json") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_bad_protected_entry_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    sample = SAMPLES / "allowed" / "drop_one_source.json"
    assert run("policy", "check", sample, "--protect", "gateway") == 2
    assert "give --protect an address" in capsys.readouterr().err
