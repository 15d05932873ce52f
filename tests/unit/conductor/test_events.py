"""`loomidi events`: files in the words of others; the queue looked at and sent again."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loomidi.conductor.cli import loomidi
from loomidi.contracts import Approval, InputError, Step, UsageError, Verdict
from loomidi.ionic.act import SqliteReceipts
from loomidi.services.events.outbox import Outbox
from tests.unit.ionic.events.judging import ocsf, stix
from tests.unit.ionic.making import NOW_NS, a_finding, a_fold, a_plan
from tests.unit.services.events.test_outbox import letters


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOMIDI_STORAGE_STATE", str(tmp_path))
    return tmp_path


def call(*arguments: Any) -> Result:
    given = ["events", *map(str, arguments)]
    return CliRunner().invoke(loomidi, given, standalone_mode=False)


def report(folder: Path) -> Path:
    fold = a_fold(because=a_finding().id).as_dict() | {"plan": "plan-1", "allowed": True, "guards": []}
    path = folder / "report.json"
    path.write_text(json.dumps({"schema_version": 1, "findings": [a_finding().as_dict()], "folds": [fold]}))
    return path


def store(folder: Path) -> Path:
    path, plan = folder / "receipts.sqlite", a_plan()
    kept = SqliteReceipts(path)
    approval = Approval(
        plan.id, "ab", (Verdict("floor", "caps", True, "fine"),), "anna", NOW_NS, NOW_NS + 1, "secret-1"
    )
    detail = {"plan": plan.as_dict(), "approval": approval.as_dict()}
    kept.append(plan.id, Step.INTENT, "shield:lo", {"match": plan.fold.match.as_dict()}, detail)
    kept.append(plan.id, Step.UNDONE, "shield:lo", {}, {"why": "asked to"})
    kept.close()
    return path


def test_a_report_is_rendered_with_what_would_answer_it(state: Path) -> None:
    event = ocsf(json.loads(call("render", report(state)).output))
    assert event["class_uid"] == 2004
    assert "allowed by the guards" in event["remediation"]["desc"]
    assert stix(json.loads(call("render", "--format", "stix", report(state)).output))["type"] == "bundle"


def test_a_store_of_receipts_is_rendered_with_the_plan_that_an_earlier_receipt_holds(state: Path) -> None:
    events = [ocsf(json.loads(line)) for line in call("render", store(state)).output.splitlines()]
    assert [(one["class_uid"], one["activity_name"], one["status"]) for one in events] == [
        (2004, "Update", "approved"), (7004, "Isolate", "intent"), (7004, "Restore", "Success"),
    ]  # fmt: skip
    assert "secret-1" not in str(events)
    assert {one["metadata"]["correlation_uid"] for one in events} == {a_finding().id}


def test_what_a_format_has_no_words_for_is_said(state: Path) -> None:
    assert "3 plans and receipts are not told" in call("render", "--format", "stix", store(state)).output


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"findings": 1}', '{"findings": [{}]}', "\x00"])
def test_a_file_of_another_kind_is_an_error_in_words(state: Path, text: str) -> None:
    (state / "x").write_text(text)
    assert isinstance(call("render", state / "x").exception, InputError)
    assert isinstance(call("render", state / "missing").exception, InputError)


def test_what_is_sent_waits_for_every_sink_that_is_named(state: Path) -> None:
    config = state / "run.toml"
    config.write_text(f'[node]\nstate = "{state}"\n[events.stdout]\non = true\n[events.file]\npath = "{state}/x"\n')
    assert call("send", store(state), "--config", config).output.splitlines() == [
        "stdout: 3 of 3 queued", "file: 3 of 3 queued",
    ]  # fmt: skip
    assert call("status").return_value == 0
    assert isinstance(call("send", state / "receipts.sqlite").exception, UsageError)


def test_receipts_that_were_sent_before_are_not_sent_again(state: Path) -> None:
    config, path = state / "run.toml", store(state)
    config.write_text(f'[node]\nstate = "{state}"\n[events.stdout]\non = true\n')
    call("send", path, "--config", config)
    assert call("send", path, "--config", config).output == "stdout: 0 of 0 queued\n"
    kept = SqliteReceipts(path)
    kept.append("plan-2", Step.REFUSED, "none", {}, {"why": "no"})
    kept.close()
    assert call("send", path, "--config", config).output == "stdout: 1 of 1 queued\n"


def test_dead_letters_are_listed_and_sent_again(state: Path) -> None:
    outbox = Outbox(state / "events" / "events.sqlite")
    outbox.offer("webhook", letters(1, 2))
    outbox.bury("webhook", [one.position for one in outbox.head("webhook", 2)], "http_400")
    listed = call("dead", "--json")
    first = json.loads(listed.output.splitlines()[0])
    assert (listed.return_value, first["reason"], first["event"]) == (1, "http_400", {"n": 1})
    assert call("status").return_value == 1
    assert call("resend", first["number"]).output == "1 queued again\n"
    assert isinstance(call("resend", first["number"]).exception, UsageError)
    assert call("resend", "--all").output == "1 queued again\n"
    assert call("dead").output == "no dead letters\n"


def test_a_queue_that_never_was_says_how_to_begin(state: Path) -> None:
    error = call("status").exception
    assert isinstance(error, InputError)
    assert "[events]" in str(error)
