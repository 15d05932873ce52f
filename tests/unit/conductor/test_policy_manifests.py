"""`loomidi policy check --manifest`: what it shows, and its exit codes."""

import io
import json
from pathlib import Path

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.conductor.verbs import policy
from loomidi.ionic.decide.guards import library

SAMPLES = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "kubernetes" / "samples"
PRIVILEGED = SAMPLES / "refused" / "privileged.yaml"


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main([str(a) for a in arguments], standalone_mode=False))


def test_a_refused_object_is_shown_with_rule_severity_reason_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check", "--manifest", PRIVILEGED, "--profile", "baseline") == 1
    shown = capsys.readouterr().out
    assert "Deployment shop/web: refused by 1 of" in shown
    assert [word for word in ("critical", "privileged: prepare", "Remove securityContext.privileged") if word in shown]


def test_every_object_of_a_file_gets_a_line_and_an_allowed_file_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check", "--manifest", SAMPLES / "allowed" / "a_whole_shop.yaml") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["allowed"] * 6


def test_one_refused_document_among_several_from_standard_input_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (SAMPLES / "allowed" / "node_port.yaml").read_text() + "---\n" + PRIVILEGED.read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert run("policy", "check", "--manifest", "-", "--profile", "baseline", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [each["allowed"] for each in told["objects"]] == [True, False]
    assert (told["allowed"], told["profile"]) == (False, "baseline")
    against = [verdict["rule"] for verdict in told["objects"][1]["verdicts"] if verdict["allow"] is not True]
    assert against == ["privileged"]


def test_the_items_of_a_list_are_judged_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"hostPID": True, "containers": [{"name": "a"}]}}
    (tmp_path / "list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]}))
    assert run("policy", "check", "--manifest", tmp_path / "list.json", "--profile", "baseline") == 1
    assert "Pod a: refused by 1 of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not a manifest"),
        ("", "no object in it"),
        ("kind: List\nitems: []\n", "no object in it"),
        ("- 1\n", "document 1: not a Kubernetes object"),
        ("kind: List\nitems: [{kind: Pod}, 7]\n", "document 1, item 2: not a Kubernetes object"),
        ("kind: Pod\nspec: {hostPID: true, hostPID: false}\n", "key twice: ['hostPID']"),
    ],
)
def test_what_is_no_manifest_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "x.yaml").write_text(content)
    assert run("policy", "check", "--manifest", tmp_path / "x.yaml") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_and_a_manifest_at_once_or_neither_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check") == 2
    assert run("policy", "check", "plan.json", "--manifest", PRIVILEGED) == 2
    assert capsys.readouterr().err.count("not both") == 2


def test_a_missing_file_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check", "--manifest", tmp_path / "none.yaml") == 2
    assert "name a manifest" in capsys.readouterr().err


def test_the_profiles_of_the_option_are_those_of_the_library() -> None:
    assert policy.PROFILES == library.PROFILES
    assert {rule.severity for rule in library.load_library().rules.values()} <= set(policy.SEVERITIES)
