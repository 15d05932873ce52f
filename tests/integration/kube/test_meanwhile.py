"""What others do while a plan is at work: theirs is left and told, ours is put back; and pods that go for good."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.ionic.act import FAULTS, BehindFence, Engine, SqliteReceipts
from tests.integration.kube import cases
from tests.integration.kube.cases import CASES, plan_of, stored
from tests.integration.kube.rooms import Killed, Room, wait
from tests.unit.ionic.acting import SIGNER, approved

QUARANTINE = "loomidi.io/quarantine"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"


def applied(room: Room, name: str) -> dict[str, object]:
    """The stage set and the fold in force; its inverse."""
    CASES[name].stage(room)
    plan = plan_of(CASES[name].fold(room))
    inverse = stored(room, plan)
    room.driver.apply(plan, approved(plan))
    return inverse


def test_a_label_that_somebody_has_changed_is_left_and_the_others_are_put_back(room: Room) -> None:
    inverse = applied(room, "ISOLATE_POD")
    gone = set(cases_labels()) - set(room.get(cases.POD)["metadata"]["labels"])
    assert len(gone) == 1
    room.merge(cases.POD, {"metadata": {"labels": dict.fromkeys(gone, "theirs")}})
    told = room.driver.undo(inverse)
    labels = room.get(cases.POD)["metadata"]["labels"]
    assert told["undone"]
    assert "changed by somebody else" in told["left"][0]
    assert labels == cases_labels() | dict.fromkeys(gone, "theirs")


def cases_labels() -> dict[str, str]:
    return {"app": "web", "tier": "front", "team": "shop"}


def test_replicas_that_somebody_has_set_since_are_left(room: Room) -> None:
    inverse = applied(room, "SCALE_OUT a Deployment")
    room.merge(cases.DEPLOYMENT, {"spec": {"replicas": 7}})
    told = room.driver.undo(inverse)
    assert (told["undone"], len(told["left"])) == (True, 1)
    assert room.get(cases.DEPLOYMENT)["spec"]["replicas"] == 7
    assert "loomidi.io/plan" not in room.get(cases.DEPLOYMENT)["metadata"].get("annotations", {})


def test_an_object_of_the_same_name_that_is_another_one_is_not_touched(room: Room) -> None:
    inverse = applied(room, "ISOLATE_POD")
    room.remove(cases.POD)
    room.pod("web-0", app="web", **{QUARANTINE: "theirs"})
    before = room.get(cases.POD)["metadata"]["labels"]
    told = room.driver.undo(inverse)
    assert told["undone"]
    assert "superseded" in told["left"][0]
    assert room.get(cases.POD)["metadata"]["labels"] == before
    assert room.look.items(POLICIES.format(room.namespace)) == []


def test_a_policy_that_somebody_has_edited_is_theirs_now(room: Room) -> None:
    inverse = applied(room, "RECONFIGURE_NETWORK")
    room.merge(POLICIES + "/loomidi-drop", {"spec": {"podSelector": {"matchLabels": {"app": "web"}}}})
    plan = plan_of(CASES["RECONFIGURE_NETWORK"].fold(room))
    assert not room.driver.verify(plan)["holds"]
    told = room.driver.undo(inverse)
    assert (told["undone"], "left to them" in told["left"][0]) == (True, True)
    assert "loomidi.io/plan" not in room.get(POLICIES + "/loomidi-drop")["metadata"].get("annotations", {})


def test_an_isolated_pod_leaves_its_service_and_comes_back_to_it(room: Room) -> None:
    def served() -> set[str]:
        slices = room.look.items(f"/apis/discovery.k8s.io/v1/namespaces/{room.namespace}/endpointslices")
        return {point["targetRef"]["name"] for one in slices for point in one.get("endpoints") or []}

    room.node("a")  # only pods of a node that there is are served
    CASES["ISOLATE_POD"].stage(room)
    wait(lambda: "web-0" in served(), "the pod is served")
    plan = plan_of(cases.isolate(room))
    inverse = stored(room, plan)
    room.driver.apply(plan, approved(plan))
    wait(lambda: "web-0" not in served(), "the pod is no longer served")
    assert "web-1" in served()
    [policy] = room.look.items(POLICIES.format(room.namespace))
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert [pod["metadata"]["name"] for pod in room.pods(**chosen)] == ["web-0"]
    room.driver.undo(inverse)
    wait(lambda: "web-0" in served(), "the pod is served again")


def test_a_pod_of_a_deployment_is_replaced_while_it_is_isolated_and_taken_back_afterwards(room: Room) -> None:
    room.workload("Deployment", "web")
    room.service("web", app="web")
    fold = cases.of(FoldKind.ISOLATE_POD, "isolate", cases.evict(room).target)
    plan, path = plan_of(fold), "/api/v1/namespaces/{}/pods/" + fold.target.rpartition("/")[2]
    inverse, labels = stored(room, plan), room.get(path)["metadata"]["labels"]
    room.driver.apply(plan, approved(plan))
    wait(lambda: len(room.pods(app="web")) == 2, "its owner makes another")
    assert room.get(path)["metadata"].get("ownerReferences") is None
    assert room.driver.verify(plan)["holds"]
    assert room.driver.undo(inverse)["left"] == []
    wait(lambda: len(room.pods(app="web")) == 2, "its owner ends the one that is too many")
    live = room.look.get(path.format(room.namespace))
    assert live is None or live["metadata"]["labels"] == labels


def test_every_write_is_under_our_name(room: Room) -> None:
    applied(room, "ISOLATE_POD")
    [policy] = room.look.items(POLICIES.format(room.namespace))
    assert {entry["manager"] for entry in policy["metadata"]["managedFields"]} == {"loomidi/act"}
    assert "loomidi/act" in {entry["manager"] for entry in room.get(cases.POD)["metadata"]["managedFields"]}
    plan_id = policy["metadata"]["annotations"]["loomidi.io/plan"]
    assert room.get(cases.POD)["metadata"]["annotations"]["loomidi.io/plan"] == plan_id


def test_a_bad_release_is_rolled_back_by_the_clusters_own_controller(room: Room) -> None:
    CASES["ROLLBACK"].stage(room)
    plan = plan_of(cases.roll_back(room))
    stored(room, plan)
    room.driver.apply(plan, approved(plan))

    def images() -> set[str]:
        return {pod["spec"]["containers"][0]["image"] for pod in room.pods(app="web")}

    wait(lambda: "none.invalid/one" in images(), "pods of the earlier revision come")


@pytest.mark.parametrize("kind", [cases.evict, cases.terminate])
def test_a_pod_that_went_does_not_come_back_and_the_undo_says_so(room: Room, kind: Callable[[Room], FoldSpec]) -> None:
    room.workload("Deployment", "web")
    plan = plan_of(kind(room))
    assert room.driver.check(plan.fold) is None
    inverse = stored(room, plan)
    assert inverse["reversible"] is False
    assert str(inverse["undo"]).startswith("none")
    path = str(inverse["changes"][0]["path"])
    assert not room.driver.verify(plan)["holds"]
    room.driver.apply(plan, approved(plan, "ada"))
    room.driver.apply(plan, approved(plan, "ada"))
    assert room.driver.verify(plan)["holds"]
    assert room.look.get(path) is None
    told = [room.driver.undo(inverse) for _ in range(2)]
    assert [one["undone"] for one in told] == [True, True]
    assert "gone for good" in told[0]["left"][0]
    wait(lambda: len(room.pods(app="web")) == 2, "its owner makes another")


@pytest.mark.parametrize("writes", [-1, 1, -2, 2])
def test_a_process_that_ends_around_an_eviction_leaves_the_pod_unmarked_or_gone(room: Room, writes: int) -> None:
    room.workload("Deployment", "web")
    plan = plan_of(cases.evict(room))
    dying = room.new_driver(room.mortal(writes))
    inverse = dict(dying.inverse(plan.fold)) | {"rule_id": stored(room, plan)["rule_id"]}
    with pytest.raises(Killed):
        dying.apply(plan, approved(plan, "ada"))
    assert room.new_driver().undo(inverse)["undone"]
    live = room.look.get(inverse["changes"][0]["path"])
    assert (live is None) is (writes == 2)
    assert live is None or "loomidi.io/plan" not in live["metadata"].get("annotations", {})


# -- with the engine and its receipts ---------------------------------------------------------------------------


def engine(room: Room, file: Path, fault: str = "") -> Engine:
    """A new process over the same receipts."""
    store = SqliteReceipts(file, clock=room.clock)

    def recall(plan_id: str) -> Mapping[str, Any] | None:
        return next((receipt.inverse for receipt in store.of(plan_id)), None)

    def crash(name: str) -> None:
        if name == fault:
            raise Killed(name)

    driver = BehindFence(room.new_driver(recall=recall), SIGNER, clock=room.clock)
    return Engine(store, [driver], SIGNER, clock=room.clock, fault=crash)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if not fault.startswith("exten")])
@pytest.mark.parametrize("name", ["ISOLATE_POD", "SCALE_OUT a Deployment"])
def test_wherever_the_engine_dies_the_cluster_is_what_its_receipts_say(
    room: Room, tmp_path: Path, name: str, fault: str
) -> None:
    CASES[name].stage(room)
    plan, before = plan_of(CASES[name].fold(room)), room.snapshot()
    file = tmp_path / "receipts.sqlite"
    dying = engine(room, file, fault)
    with pytest.raises(Killed):
        (dying.carry_out(plan, approved(plan)), dying.undo(plan.id))
    after = engine(room, file)
    after.recover()
    if after.open_leases():
        assert room.new_driver().undo({**after.open_leases()[0].inverse, "rule_id": 0})["undone"]  # not its plan
        assert after.verify(plan.id).step.value == "verified"
        room.clock.sleep(3600)
        assert [receipt.step.value for receipt in after.expire_due()] == ["expired"]
    assert room.snapshot() == before
