"""`loomidi policy deploy|status|diff|rollback|test`: what is sent, what is shown, and the exit codes."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loomidi.conductor import policy_calls
from loomidi.conductor.cli import guarded, loomidi
from loomidi.services.policy_api.calling import PolicyClient, policy_client
from tests.unit.ionic.policies.ruling import manifest, rego

SHADOW = {"engines": ["OPA 1"], "asked": 2, "allowed_refused": ["Pod a"], "refused_refused": 1, "refused_asked": 1,
          "warned": [], "notes": ["a note"]}  # fmt: skip
VERSION = {"version": 2, "author": "local", "source_ai_decision_ids": ["d-1"], "shadow": SHADOW}
VIOLATION = {"rule": "deny", "resource": "Pod a", "message": "m", "count": 3, "source": "opa"}
ANSWERS: dict[str, Any] = {
    "/policy/deploy": {"policy_name": "x", "status": "Active", "reasons": [], "unchanged": False, **VERSION},
    "/policy/test": {"policy_name": "x", "shadow": SHADOW},
    "/policy/status/x": {
        "policy_name": "x", "status": "Error", "reasons": ["why"], "version": VERSION, "violations": [VIOLATION],
        "violations_beyond": {"count": 7, "reason": "more"},
    },
    "/policy": {"policies": [{"policy_name": "x", "policy_type": "Kyverno", "versions": 2, "version_in_force": None}]},
    "/policy/x/versions": {"versions": [{"version": 2, "in_force": True}]},
    "/policy/x/versions/2": {"policy_content": rego().content},
    "/policy/x/diff": {"same": True, "diff": ""},
    "/policy/x/rollback": {"policy_name": "x", "status": "Active", "reasons": [], "version": 1},
}  # fmt: skip


class FakeApi:
    """Answers from a table and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.problem: tuple[int, dict[str, Any]] | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content or b"null")))
        if self.problem:
            return httpx.Response(self.problem[0], json=self.problem[1])
        return httpx.Response(200, json=ANSWERS[request.url.path])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    found = FakeApi()

    @contextlib.contextmanager
    def client(**_where: Any) -> Iterator[PolicyClient]:
        with httpx.Client(base_url="http://api/", transport=httpx.MockTransport(found.answer)) as made:
            yield PolicyClient(made)

    monkeypatch.setattr(policy_calls, "_client", client)
    return found


def run(*arguments: str | Path) -> int:
    return guarded(lambda: loomidi.main(["policy", *map(str, arguments)], standalone_mode=False))


def test_name_and_type_come_from_the_file(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text(rego().content)
    (tmp_path / "any.yaml").write_text(json.dumps(manifest("named-inside")))
    assert run("deploy", tmp_path / "x.rego", "--decision", "d-1") == 0
    assert run("test", tmp_path / "any.yaml") == 0
    sent = [body for _, body in api.asked]
    assert [(body["policy_name"], body["policy_type"]) for body in sent] == [
        ("x", "OPA_Rego"),
        ("named-inside", "Kyverno"),
    ]
    assert sent[0]["source_ai_decision_id"] == "d-1"


def test_what_the_samples_say_is_shown(api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.rego").write_text(rego().content)
    run("deploy", tmp_path / "x.rego")
    shown = capsys.readouterr().out
    assert [
        part for part in ("version 2 deployed, Active", "OPA 1", "1 of 1", "Pod a", "a note") if part not in shown
    ] == []


def test_a_status_that_is_not_active_exits_1_and_tells_why(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "x") == 1
    shown = capsys.readouterr().out
    assert [part for part in ("x: Error", "d-1", "why", "3 x deny", "7 x beyond") if part not in shown] == []
    assert run("status") == 0
    assert "not in force" in capsys.readouterr().out
    assert run("status", "x", "--json") == 1
    assert json.loads(capsys.readouterr().out)["status"] == "Error"


def test_a_difference_exits_1_and_none_exits_0(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text(rego().content)
    assert (run("diff", "x"), run("diff", "x", tmp_path / "x.rego")) == (0, 0)
    (tmp_path / "x.rego").write_text("other")
    assert run("diff", "x", tmp_path / "x.rego") == 1
    assert run("diff", "x", tmp_path / "x.rego", "--to", "1") == 2


def test_back_sends_what_was_given_and_nothing_else(api: FakeApi) -> None:
    assert (run("rollback", "x"), run("rollback", "x", "--to", "0", "--decision", "d")) == (0, 0)
    assert [body for _, body in api.asked] == [{}, {"version": 0, "source_ai_decision_id": "d"}]


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [(422, "unusable", 1), (409, "conflict", 1), (503, "not-in-force", 1), (503, "no-engine", 2), (404, "not-found", 2),
     (401, "token", 2), (500, "internal", 2)],
)  # fmt: skip
def test_a_problem_is_one_line_with_every_reason(
    api: FakeApi, capsys: pytest.CaptureFixture[str], status: int, reason: str, code: int
) -> None:
    api.problem = status, {"reason": reason, "detail": "in short", "reasons": ["one", "two"]}
    assert run("status", "x") == code
    assert capsys.readouterr().err == "loomidi: in short; one; two\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deploy", "no-such-file.rego"), "name the text of a policy"),
        (("deploy", "pyproject.toml"), "give --type Kyverno or --type OPA_Rego"),
    ],
)
def test_what_cannot_be_sent_is_one_line_and_exit_2(
    api: FakeApi, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_a_place_that_is_none_and_a_token_file_that_is_not_there_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", "--url", "localhost") == 2
    assert run("status", "--token-file", tmp_path / "none") == 2
    error = capsys.readouterr().err
    assert ("give one such as" in error, "name a readable file" in error) == (True, True)


def test_the_first_token_of_a_file_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("# ours\nfirst-token-of-all\nsecond\n")
    with policy_client("http://api", tmp_path / "token", None) as client:
        assert client._client.headers["authorization"] == "Bearer first-token-of-all"
