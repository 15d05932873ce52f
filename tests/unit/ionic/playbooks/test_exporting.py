"""An incident leaves as a valid playbook whose dry run plans the same folds, with the way back at each step."""

import dataclasses
import json

import pytest

from loomidi.contracts import InputError
from loomidi.ionic.playbooks import (
    Incident,
    Playbook,
    commands_for,
    exported,
    finding_of,
    incidents,
    read_playbook,
    written,
)
from loomidi.ionic.playbooks.exporting import EXTENSION
from tests.unit.ionic.making import SOURCE, a_finding
from tests.unit.ionic.playbooks.playing import DROP, SLOW, Table, a_table, action, book, key

A = key("action")


def an_incident() -> tuple[Table, Incident]:
    """Of a run for real: slowed, then dropped."""
    table = a_table()
    table.runner.start(book(A, {A: action(SLOW, DROP)}), a_finding(), dry=False)
    (incident,) = incidents(table.store.all())  # type: ignore[attr-defined]
    return table, incident


def test_it_validates_and_comes_back_as_it_was_written() -> None:
    playbook = exported(an_incident()[1])
    again = read_playbook(written(playbook))
    assert again == playbook
    assert written(again) == written(playbook)
    assert exported(an_incident()[1]) == playbook  # the same incident is the same file


def test_its_dry_run_plans_the_folds_that_were_carried_out() -> None:
    _, incident = an_incident()
    playbook = exported(incident)
    report = a_table().runner.start(playbook, finding_of(playbook))
    assert list(report.folds) == [json.loads(json.dumps(plan.fold.as_dict())) for plan in incident.plans]


def failed(playbook: Playbook, number: int) -> str:
    return [k for k, step in playbook.steps.items() if step.get("on_failure")][number]


def test_each_step_has_the_undo_of_all_before_it_as_on_failure() -> None:
    playbook = exported(an_incident()[1])
    report = a_table().runner.start(playbook, finding_of(playbook), assumed=[failed(playbook, 1)])
    undone = [entry.detail["told"]["undo"] for entry in report.entries if "undo" in entry.detail.get("told", {})]
    assert (report.state, [len(plans) for plans in undone]) == ("completed", [1])


def test_run_again_for_real_it_blocks_again() -> None:
    playbook, table = exported(an_incident()[1]), a_table()
    assert table.runner.start(playbook, finding_of(playbook), dry=False).state == "completed"
    assert table.blocked() == [("drop", SOURCE)]


def test_it_carries_its_finding_and_the_inverses() -> None:
    _, incident = an_incident()
    playbook = exported(incident)
    assert finding_of(playbook) == a_finding()
    carried = playbook.document["playbook_extensions"][EXTENSION]["receipts"]
    assert [one["inverse"] for one in carried] == [dict(receipt.inverse) for receipt in incident.receipts]


def test_an_incident_about_which_nothing_was_planned_is_told() -> None:
    with pytest.raises(InputError, match="nothing was planned"):
        exported(dataclasses.replace(an_incident()[1], plans=()))


def test_its_denies_go_out_as_openc2_and_what_has_no_words_is_named() -> None:
    messages, left = commands_for(an_incident()[1])
    assert [m["body"]["openc2"]["request"]["target"] for m in messages] == [{"ipv4_net": SOURCE}]
    assert len(left) == 1
    assert "SLPF has no rates" in left[0]
