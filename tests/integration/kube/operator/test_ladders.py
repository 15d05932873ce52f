"""A ladder on a real API server: the next step takes the place of the one before; what is over goes with its record."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import Mode, Plan
from loomidi.fold.operator.sweeping import Sweeper
from loomidi.fold.resources import fold_object
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.loom.sources.clusters import access
from loomidi.services.folds.keeping import FILE_NAME, Records
from tests.integration.kube.operator.stages import FOLDS, Stage
from tests.integration.kube.rooms import wait
from tests.unit.ionic.making import a_finding, a_plan

STEPS = [
    {"kind": "RECONFIGURE_NETWORK", "action": "drop", "afterSeconds": 1},
    {"kind": "SCALE_OUT", "action": "scale", "afterSeconds": 1},
]
S = 10**9


def follow(stage: Stage, before: Plan) -> Plan:
    """The next step, for the same trouble, seen just now."""
    now_ns = time.time_ns()
    seen = a_finding(id=before.fold.because, first_ns=now_ns - 9 * S, last_ns=now_ns)
    fold = dataclasses.replace(stage.scale(), because=before.fold.because)
    plan = a_plan(fold=fold, mode=Mode.AUTONOMOUS, finding=seen, created_ns=now_ns, expires_ns=now_ns + 60 * S)
    stage._homes[plan.id] = stage.namespace
    body = fold_object(plan, stage.namespace, policy=stage.namespace, escalates_from=before.id)
    stage.room.post(FOLDS.format(stage.namespace), body)
    return plan


def conditions(stage: Stage, plan: Plan) -> dict[str, Any]:
    return {one["type"]: one["reason"] for one in stage.status(plan).get("conditions", ())}


@pytest.mark.lab_long
def test_a_ladder_is_climbed_and_what_is_over_is_removed_with_its_record(stage: Stage, tmp_path: Path) -> None:
    stage.policy(escalation={"steps": STEPS})
    with stage.operator():
        first = stage.propose(stage.block())
        stage.reaches(first, "Active")
        early = follow(stage, first)
        wait(lambda: stage.phase(early) == "Denied", "a step that comes too early is denied")
        time.sleep(1.1)  # for which it has to go on
        second = follow(stage, first)
        stage.reaches(second, "Active")
        wait(lambda: stage.phase(first) == "Superseded", "the one before is taken back")
        wait(lambda: conditions(stage, second).get("Escalation") == "TopStep", "it says that nothing is left")
        assert second.id in stage.status(first)["message"]
        stage.annotate(second, {"loomidi.io/release": "enough"})
        wait(lambda: stage.phase(second) == "Released" and not finalizers(stage, second), "it is released")
    assert stage.as_before()
    sweep(stage, tmp_path)
    assert [stage.fold(plan) for plan in (first, early, second)] == [None] * 3
    store = SqliteReceipts(tmp_path / FILE_NAME, read_only=True)
    assert {one.plan_id for one in store.all()} == {first.id, early.id, second.id}
    assert store.verify_chain().broken_at is None
    store.close()


def finalizers(stage: Stage, plan: Plan) -> list[str]:
    return list((stage.fold(plan) or {"metadata": {}})["metadata"].get("finalizers") or ())


def sweep(stage: Stage, folder: Path) -> None:
    """As the operator's account does it, eight days later."""
    records = Records(folder)
    with access(stage.kubeconfig, {}).blocking(30.0) as client:
        sweeper = Sweeper(KubeApi(client), records.keep)
        folds = KubeApi(client).items(FOLDS.format(stage.namespace).replace(f"/namespaces/{stage.namespace}", ""))
        own = [one for one in folds if one["metadata"]["namespace"] == stage.namespace]
        sweeper.sweep(own, (), time.time_ns() + 8 * 86_400 * S)
        assert dict(sweeper.counts) == {"removed": len(own)}
    records.close()
    events = stage.room.look.items(f"/api/v1/namespaces/{stage.namespace}/events")
    assert [one["reason"] for one in events if one["involvedObject"]["kind"] == "Fold"] == ["Removed"]
