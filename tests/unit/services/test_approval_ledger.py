"""The ledger of approvals: each word with what it was worth, once, in a chain, before it counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import Mode, Retryable
from loomidi.fold.operator import OwnKeys, People
from loomidi.fold.operator.approving import Heard
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import plan_of
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.services.folds.approval_ledger import _REFUSALS, FILE_NAME, ApprovalLedger
from tests.unit.fold.operator.fakes import Stage, a_stage
from tests.unit.fold.operator.test_approving import approve, listed, policy_asking


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ApprovalLedger]:
    ledger = ApprovalLedger(tmp_path)
    yield ledger
    ledger.close()


def waiting(ledger: ApprovalLedger, tmp_path: Path, **approvals: Any) -> Stage:
    people = People(listed(tmp_path / "approvers.yaml", "alice", "bob", "carol"))
    stage = a_stage(Mode.SUGGEST, approvers=OwnKeys(people), ledger=ledger.write)
    stage.policies = [policy_asking(**approvals)]
    stage.until("Guarded")
    return stage


def written(tmp_path: Path) -> list[tuple[str, str, str]]:
    store = SqliteReceipts(tmp_path / FILE_NAME, read_only=True)
    assert store.verify_chain().broken_at is None
    told = [(one.step.value, str(one.detail["approver"]), str(one.detail["why"])) for one in store.all()]
    store.close()
    return told


def test_an_approval_is_on_record_with_plan_and_target_once(ledger: ApprovalLedger, tmp_path: Path) -> None:
    stage = waiting(ledger, tmp_path)
    approve(stage, "alice")
    stage.until("Active")
    store = SqliteReceipts(tmp_path / FILE_NAME, read_only=True)
    (kept,) = store.of(stage.plan.id)
    store.close()
    assert (kept.step, kept.detail["approver"], kept.detail["target"]["uid"]) == ("verified", "alice", "u1")


def test_who_asked_for_it_and_who_is_of_no_group_are_on_record_as_refused(
    ledger: ApprovalLedger, tmp_path: Path
) -> None:
    stage = waiting(ledger, tmp_path, required=1, groups=["security"])
    stage.note({"loomidi.io/requested-by": "alice"})
    approve(stage, "alice")
    approve(stage, "carol")
    stage.once()
    stage.once()
    assert written(tmp_path) == [
        ("refused", "alice", "who asked for it may not approve it"),
        ("refused", "carol", "its giver is of none of the groups that are asked: security"),
    ]


def test_another_process_does_not_write_the_same_again(ledger: ApprovalLedger, tmp_path: Path) -> None:
    stage = waiting(ledger, tmp_path, required=2)
    approve(stage, "alice")
    stage.once()
    ledger.close()
    again = ApprovalLedger(tmp_path)
    heard = OwnKeys(People(tmp_path / "approvers.yaml")).heard(View(stage.fold), stage.plan, stage.clock.now_ns())
    again.write(View(stage.fold), stage.plan, heard)
    again.close()
    assert written(tmp_path) == [("verified", "alice", "")]


def test_what_cannot_be_written_down_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("no folder")
    stage = waiting(ApprovalLedger(tmp_path / "records"), tmp_path)
    approve(stage, "alice")
    with pytest.raises(Retryable, match="once they are written down"):
        stage.once()
    assert stage.phase == "Guarded"


def test_refusals_of_one_plan_are_bounded_and_the_rest_is_counted(ledger: ApprovalLedger, tmp_path: Path) -> None:
    stage = waiting(ledger, tmp_path)
    many = [Heard("k", f"{at:064x}", "", None, "it cannot be read") for at in range(_REFUSALS + 10)]
    ledger.write(View(stage.fold), plan_of(stage.fold), many)
    assert len(written(tmp_path)) == _REFUSALS + 1
    assert ledger.counts == {"refused": _REFUSALS + 10, "not_written": 9}
