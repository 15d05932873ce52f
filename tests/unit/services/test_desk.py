"""A person's desk: what is proposed, and notes that are put on a Fold while others write it."""

from typing import Any

import pytest

from loomidi.contracts import InputError, Mode
from loomidi.crypt.keys import SigningKey
from loomidi.fold.asking import Request
from loomidi.fold.operator.approving import PREFIX
from loomidi.fold.operator.errors import NotApprovable
from loomidi.fold.operator.views import View
from loomidi.fold.resources import plan_of
from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.decide import DeciderSettings, FloorGuard
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import BadPlan
from loomidi.services.folds.desk import Desk, NoFold, TooLate
from tests.unit.fold.operator.fakes import Stage, a_stage
from tests.unit.ionic.making import NOW_NS, a_clock, the_facts

POD = "/api/v1/namespaces/shop/pods/cart-0"


def desk_of(stage: Stage) -> Desk:
    return Desk(KubeApi(stage.cluster.client(), clock=a_clock()))


def asked_for(kind: str, target: str, action: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop"}, "spec": {"kind": kind, "target": target, "action": action} | more}


def test_a_word_becomes_a_plan_that_every_guard_allows() -> None:
    stage, who = a_stage(), Request("alice", "the sale begins", mode=Mode.GUARDED)
    scale = asked_for("SCALE_OUT", "workload/shop/web", "scale", replicas=2, ttlSeconds=300, policy="sales")
    obj, plan = desk_of(stage).planned(scale, who, NOW_NS)
    assert plan_of(obj) == plan
    assert plan.id == plan_id(plan)
    assert all(
        verdict.allow for verdict in FloorGuard((), DeciderSettings().limits, Mode.GUARDED).judge(plan, the_facts())
    )
    assert (plan.finding.source, obj["spec"]["policy"]) == ("person/alice", "sales")
    assert obj["metadata"]["annotations"] == {"loomidi.io/requested-by": "alice"}


def test_a_pod_is_cut_by_its_address_and_one_that_is_not_there_is_told() -> None:
    stage = a_stage()
    isolate = asked_for("ISOLATE_POD", "pod/shop/cart-0", "isolate", ttlSeconds=60)
    with pytest.raises(InputError, match="pod/shop/cart-0 is not there"):
        desk_of(stage).planned(isolate, Request("alice", "it scans"), NOW_NS)
    stage.cluster.put(POD, {"metadata": {"name": "cart-0"}, "status": {"podIP": "10.244.0.9"}})
    _, plan = desk_of(stage).planned(isolate, Request("alice", "it scans"), NOW_NS)
    assert (plan.fold.match.source, plan.blast_radius.peers, plan.mode) == ("10.244.0.9", 1, Mode.SHADOW)


def test_a_file_with_a_plan_stays_what_it_is() -> None:
    stage = a_stage()
    given = stage.fold | {"metadata": {"name": "mine", "namespace": "default"}}
    obj, plan = desk_of(stage).planned(given, Request("alice", ""), NOW_NS)
    assert (plan, obj["metadata"]["name"]) == (stage.plan, "mine")


@pytest.mark.parametrize(
    "spec", [{"ttlSeconds": "long"}, {"kind": "NONE"}, {"replicas": 1.5}, {"ttl": 5}, {"match": "all"}]
)
def test_a_file_that_is_wrong_names_the_field(spec: dict[str, Any]) -> None:
    given = asked_for("SCALE_OUT", "workload/shop/web", "scale", ttlSeconds=60)
    with pytest.raises(BadPlan, match=r"spec|Match"):
        desk_of(a_stage()).planned(given | {"spec": given["spec"] | spec}, Request("alice", "why"), NOW_NS)


def test_a_note_is_put_on_the_fold_as_it_is_when_others_write_it_too() -> None:
    stage = a_stage(Mode.SUGGEST)
    stage.until("Guarded")
    desk = desk_of(stage)
    view = desk.fold(stage.plan.id, "default")
    stage.note({"other": "note"})
    desk.deny(view, "not now")
    assert stage.fold["metadata"]["annotations"] == {"other": "note", "loomidi.io/deny": "not now"}
    stage.until("Denied")


def test_an_approval_is_signed_for_the_fold_that_was_looked_at() -> None:
    stage, key = a_stage(Mode.SUGGEST), SigningKey.new()
    stage.until("Guarded")
    desk = desk_of(stage)
    view = desk.fold(f"default/{stage.plan.id}", "other")
    told = desk.statement(view, "alice", stage.clock.now_ns(), 10_000)
    desk.approve(view, told, key)
    assert f"{PREFIX}{key.public.id}" in stage.fold["metadata"]["annotations"]
    assert told["expiresTime"] == view.spec["plan"]["expiresTime"]


def test_what_comes_too_late_says_what_can_be_done_instead() -> None:
    stage = a_stage()
    desk = desk_of(stage)
    with pytest.raises(NoFold, match="there is no Fold default/none"):
        desk.fold("none", "default")
    with pytest.raises(TooLate, match="nothing is in force; deny it instead"):
        desk.release(desk.fold(stage.plan.id, "default"), "why")
    with pytest.raises(NotApprovable, match="not looked at yet"):
        desk.statement(desk.fold(stage.plan.id, "default"), "alice", NOW_NS, 60)
    stage.until("Active")
    view = desk.fold(stage.plan.id, "default")
    with pytest.raises(TooLate, match="release it instead"):
        desk.deny(view, "why")
    with pytest.raises(TooLate, match="in force already"):
        desk.statement(view, "alice", stage.clock.now_ns(), 60)


class Later(Desk):
    """At the second look there is a Fold."""

    __slots__ = ()

    def folds(self, namespace: str) -> list[View]:
        LOOKS.append(namespace)
        return super().folds(namespace) if len(LOOKS) % 2 == 0 else []


LOOKS: list[str] = []


def test_one_that_is_waited_for_is_told_as_soon_as_it_is_there() -> None:
    desk = Later(KubeApi(a_stage().cluster.client(), clock=a_clock()))
    assert [view.spec["kind"] for view in desk.awaited("default", 60.0, only_open=True)] == ["RECONFIGURE_NETWORK"]
    assert LOOKS == ["default", "default"]


def test_what_does_not_come_is_waited_for_no_longer_than_was_said() -> None:
    assert desk_of(a_stage()).awaited("elsewhere", 0.0, only_open=False) == []
