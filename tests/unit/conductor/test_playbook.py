"""`loomidi playbook`: what it shows and does without touching anything, and its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.ionic.act import FILE_NAME
from tests.unit.ionic.acting import a_bench
from tests.unit.ionic.making import SOURCE, a_finding, a_plan
from tests.unit.ionic.playbooks.playing import MANUAL, SAMPLES, action, document, key

A = key("action")


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main([str(a) for a in arguments], standalone_mode=False))


def put(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(value))
    return path


def test_the_library_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("playbook", "list", "--json") == 0
    assert "syn_flood" in {told["name"] for told in json.loads(capsys.readouterr().out)}
    assert run("playbook", "show", "port_scan") == 0
    assert "Does the limit hold?" in capsys.readouterr().out


def test_a_file_is_valid_or_every_problem_is_told_and_it_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = document(A, {A: action(MANUAL)})
    assert run("playbook", "validate", put(tmp_path, "good.json", good)) == 0
    capsys.readouterr()
    assert run("playbook", "validate", "--json", put(tmp_path, "bad.json", good | {"id": "x", "name": ""})) == 1
    (problems,) = json.loads(capsys.readouterr().out)["problems"].values()
    assert {problem["pointer"] for problem in problems} == {"/id", "/name"}


def test_a_run_is_dry_and_says_what_it_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("playbook", "run", "port_scan", "--finding", SAMPLES / "port_scan.json", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dry"], told["state"]) == (True, "completed")
    assert [fold["action"] for fold in told["folds"]] == ["rate", "drop"]


def test_what_is_protected_fails_the_step_and_the_text_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("playbook", "run", "port_scan", "--finding", SAMPLES / "port_scan.json", "--protect", "203.0.113.0/24")
    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert "FAIL  Slow the source" in shown
    assert "ok    Take back what was done" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "nothing"), "there is no playbook 'nothing'; name a file, or one of: bad_rollout"),
        (("run", "port_scan", "--apply"), "takes --interface"),
        (("run", "port_scan", "--set", "x"), "write NAME=VALUE"),
        (("run", "port_scan", "--set", "x=1"), "is no external variable"),
        (("run", "port_scan", "--protect", "x"), "is no address or CIDR"),
        (("show", "run-1"), "no runs of playbooks there"),
        (("list", "--runs"), "no runs of playbooks there"),
        (("export", "finding-1"), "no receipt store there"),
        (("validate", "/nowhere.json"), "No such file"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOMIDI_STORAGE_STATE", str(tmp_path))
    assert run("playbook", *words) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "internal error" not in shown


def test_an_incident_of_the_receipts_leaves_as_a_playbook_that_runs_dry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_bench(folder=tmp_path).carry_out(a_plan())
    store, out = tmp_path / FILE_NAME, tmp_path / "incident.json"
    assert run("playbook", "export", "--store", store) == 0
    assert a_finding().id in capsys.readouterr().out
    assert run("playbook", "export", a_finding().id, "--store", store, "--out", out) == 0
    assert run("playbook", "validate", out) == 0
    capsys.readouterr()
    assert run("playbook", "run", out, "--json") == 0
    (fold,) = json.loads(capsys.readouterr().out)["folds"]
    assert fold == json.loads(json.dumps(a_plan().fold.as_dict()))


def test_its_denies_leave_as_openc2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_bench(folder=tmp_path).carry_out(a_plan())
    assert run("playbook", "export", a_finding().id, "--store", tmp_path / FILE_NAME, "--openc2") == 0
    message = json.loads(capsys.readouterr().out)
    assert message["body"]["openc2"]["request"]["target"] == {"ipv4_net": SOURCE}


def test_what_would_be_proposed_for_a_finding_leaves_as_a_playbook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("playbook", "export", "--finding", put(tmp_path, "f.json", a_finding().as_dict())) == 0
    assert json.loads(capsys.readouterr().out)["name"] == f"syn_flood of host/{SOURCE}"


def test_a_row_of_the_lake_is_a_finding(tmp_path: Path) -> None:
    from loomidi.services.playing import finding_in

    plain = a_finding().as_dict()
    named = ("pattern", "techniques", "severity", "confidence", "entities", "source", "explanation")
    times = {"first": "2026-09-21T14:13:18+00:00", "last": "2026-09-21 14:13:19.999"}
    row = {name: plain[name] for name in named} | times
    path = put(tmp_path, "row.json", row | {"finding_id": plain["id"], "evidence": json.dumps(plain["evidence"])})
    assert finding_in(path).as_dict() | {"first_ns": 0, "last_ns": 0} == plain | {"first_ns": 0, "last_ns": 0}
    assert finding_in(path).last_ns - finding_in(path).first_ns == 1_999_000_000


@pytest.mark.parametrize(("target", "status", "code"), [({"ipv4_net": SOURCE}, 102, 0), ({"file": {}}, 501, 1)])
def test_an_openc2_command_is_answered_and_touches_nothing(
    target: dict[str, Any], status: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("playbook", "openc2", put(tmp_path, "c.json", {"action": "deny", "target": target})) == code
    assert json.loads(capsys.readouterr().out)["status"] == status
