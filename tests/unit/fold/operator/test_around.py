"""What the operator has around its passes: the queue, the probes, orphans, targets."""

import copy
import dataclasses
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Mode
from loomidi.fold.operator.orphans import orphans
from loomidi.fold.operator.probing import probe
from loomidi.fold.operator.queues import Queue
from loomidi.fold.operator.targets import target_of
from loomidi.fold.operator.views import View
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import namespaces_of
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.fields import PLAN
from tests.unit.fold.operator.fakes import POLICY, Stage, a_stage
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import a_finding, a_plan

NETWORK = FoldKind.RECONFIGURE_NETWORK
WEB = "/apis/apps/v1/namespaces/shop/deployments/web"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"


def scaling(target: str, **more: Any) -> FoldSpec:
    return FoldSpec(FoldKind.SCALE_OUT, target, "scale", replicas=2, **more)


def test_what_changed_comes_before_what_is_due_and_nothing_comes_early() -> None:
    queue = Queue()
    queue.done("b", 0.01)
    queue.add("a")
    assert queue.take(0) == "a"
    assert queue.take(0.5) == "b"
    assert queue.take(0) is None


def test_what_failed_waits_longer_each_time_also_when_it_changes() -> None:
    queue = Queue()
    queue.again("a")
    queue.add("a")
    assert queue.take(0) is None
    assert queue.take(1) == "a"
    queue.again("a")
    assert queue.take(0.25) is None
    queue.done("a", None)
    queue.add("a")
    assert queue.take(0) == "a"


@pytest.mark.parametrize(
    ("fold", "spaces"),
    [
        (scaling("workload/shop/web"), {"shop"}),
        (scaling("service/10.0.0.1:80/tcp", manifest={"kind": "Scale", "metadata": {"namespace": "a"}}), {"a"}),
        (scaling("host/203.0.113.7"), set()),
        (scaling("host/203.0.113.7", manifest={"kind": "Scale"}), {"default"}),
        (dataclasses.replace(scaling("pod/shop/a", manifest={"kind": "x"}), kind=NETWORK), {"shop", "default"}),
    ],
)
def test_a_fold_says_in_which_namespaces_it_acts(fold: FoldSpec, spaces: set[str]) -> None:
    assert namespaces_of(fold) == spaces


def test_a_target_is_found_is_missing_or_is_no_object() -> None:
    fake = FakeApi()
    fake.put(WEB, {"metadata": {"name": "web"}})
    api = KubeApi(fake.client())
    assert (target_of(api, scaling("workload/shop/web")) or {})["metadata"]["uid"] == "uid-0"
    assert target_of(api, scaling("host/203.0.113.7")) == {}


def ready(stage: Stage, status: dict[str, Any], least: str) -> bool:
    fake = FakeApi()
    fake.put(WEB, {"metadata": {"name": "web"}, "spec": {"replicas": 4}, "status": status})
    plan = a_plan(fold=scaling("workload/shop/web"))
    asked = {"name": "ready", "targetReady": {"minReady": least}}
    return probe(asked, View(stage.fold), plan, [], KubeApi(fake.client()))[0]


def test_a_target_is_ready_when_enough_of_its_pods_are() -> None:
    stage = a_stage()
    answers = [ready(stage, {"readyReplicas": 3}, least) for least in ("100%", "75%", "3", "4")]
    assert answers == [False, True, True, False]
    assert not ready(stage, {}, "1")


def test_a_finding_is_gone_until_a_later_fold_is_about_the_same() -> None:
    stage = a_stage()
    stage.until("Active")
    later = stage.clock.now_ns() + 10**9
    again = a_plan("rate", finding=a_finding(id="finding-2", last_ns=later))
    for others, gone in (([], True), ([fold_object(again, "default")], False)):
        asked = {"name": "gone", "findingGone": {}}
        told = probe(asked, View(stage.fold), stage.plan, [stage.fold, *others], KubeApi(stage.cluster.client()))
        assert told[0] is gone


def test_an_object_that_carries_a_plan_is_taken_back_from_its_fold_or_told() -> None:
    stage = a_stage()
    stage.until("Released")
    for name, plan in (("a", stage.plan.id), ("b", "plan-of-nobody")):
        stage.cluster.put(f"{POLICIES}/{name}", {"metadata": {"name": name, "annotations": {PLAN: plan}}})
    stage.driver.world[int(stage.fold["status"]["receipts"][0]["inverse"]["rule_id"])] = "left behind"
    found = orphans(KubeApi(stage.cluster.client()), [stage.fold], stage.driver)
    assert [one.done.split(":")[0] for one in found] == ["taken back", "left"]
    assert not stage.driver.world


def test_what_an_open_fold_holds_is_no_orphan() -> None:
    stage = a_stage()
    stage.until("Active")
    stage.cluster.put(f"{POLICIES}/a", {"metadata": {"name": "a", "annotations": {PLAN: stage.plan.id}}})
    assert orphans(KubeApi(stage.cluster.client()), [stage.fold], stage.driver) == []


@pytest.mark.parametrize(("mode", "phase"), [(Mode.GUARDED, "Denied"), (Mode.SUGGEST, "Guarded")])
def test_a_fold_that_cannot_say_what_it_would_have_cut_does_not_act_by_itself(mode: Mode, phase: str) -> None:
    stage = a_stage(mode)
    wanting = copy.deepcopy(POLICY)
    wanting["spec"] |= {"replay": {"required": True}, "approvals": {"required": 1}}
    stage.policies = [wanting]
    stage.until(phase)
    verdicts = {one["rule"]: one for one in stage.fold["status"]["verdicts"]}
    assert phase == "Guarded" or "allow" not in verdicts["replay"]
