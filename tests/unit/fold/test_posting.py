"""The driver `folds`: a plan becomes a Fold, its release is the way back, its phase is what is verified."""

import pytest

from loomidi.contracts import FoldKind, Match, Plan, Step
from loomidi.fold.operator.views import DENY, RELEASE, REQUESTED_BY
from loomidi.fold.posting import FoldsDriver
from loomidi.ionic.act import Engine, MemoryReceipts
from loomidi.ionic.act.kube import KubeApi
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER, approved, longer
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS, a_fold, a_plan

FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/default/folds"


class Operating(ManualClock):
    """A clock that lets a fake operator make one step whenever somebody waits."""

    def __init__(self, api: FakeApi, way: list[str]) -> None:
        super().__init__(NOW_NS)
        self.api, self.way, self.ends = api, way, True

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        for path, obj in list(self.api.objects.items()):
            notes = obj["metadata"].get("annotations") or {}
            if self.ends and (RELEASE in notes or DENY in notes):
                self.api.put(path, obj | {"status": {"phase": "Released" if RELEASE in notes else "Denied"}})
            elif self.way:
                self.api.put(path, obj | {"status": {"phase": self.way.pop(0), "message": "so it is"}})


class Room:
    """An engine with this driver over a cluster in memory."""

    def __init__(self, *way: str) -> None:
        self.api = FakeApi()
        self.clock = Operating(self.api, list(way))
        self.store = MemoryReceipts(clock=self.clock)
        self.driver = FoldsDriver(KubeApi(self.api.client(), clock=self.clock), SIGNER, clock=self.clock)
        self.engine = Engine(self.store, [self.driver], SIGNER, clock=self.clock)

    def carry_out(self) -> Step:
        return self.engine.carry_out(PLAN, approved(PLAN)).step

    def notes(self) -> dict[str, str]:
        found: dict[str, str] = self.api.objects[f"{FOLDS}/{PLAN.id}"]["metadata"]["annotations"]
        return found


def a_scale() -> Plan:
    fold = a_fold(kind=FoldKind.SCALE_OUT, action="scale", target="workload/default/web", match=Match(), replicas=2)
    return a_plan(fold=fold)


PLAN = a_scale()


@pytest.fixture
def active() -> Room:
    room = Room("Guarded", "Approved", "Applying", "Verifying", "Active")
    assert room.carry_out() is Step.VERIFIED
    return room


def test_a_plan_becomes_a_fold_that_holds_once_it_is_active(active: Room) -> None:
    obj = active.api.objects[f"{FOLDS}/{PLAN.id}"]
    assert (obj["kind"], obj["spec"]["plan"]["id"]) == ("Fold", PLAN.id)
    assert active.notes()[REQUESTED_BY] == "guards"
    assert active.store.of(PLAN.id)[-1].detail["phase"] == "Active"


def test_nothing_else_is_written_to_the_cluster(active: Room) -> None:
    assert list(active.api.objects) == [f"{FOLDS}/{PLAN.id}"]
    assert (active.api.asked["POST"], active.api.asked["PATCH"]) == (1, 0)


def test_taking_it_back_asks_the_operator_and_waits_until_it_is_over(active: Room) -> None:
    receipt = active.engine.undo(PLAN.id)
    assert (receipt.step, receipt.detail["phase"]) == (Step.UNDONE, "Released")
    assert RELEASE in active.notes()


def test_an_operator_that_does_not_answer_leaves_it_open_to_be_tried_again(active: Room) -> None:
    active.clock.ends = False
    assert active.engine.undo(PLAN.id).step is Step.FAILED
    assert list(active.store.open_plans()) == [PLAN.id]
    active.clock.ends = True
    assert [one.step for one in active.engine.recover()] == [Step.UNDONE]


def test_what_the_operator_denies_does_not_hold_and_is_over() -> None:
    room = Room("Guarded", "Denied")
    assert room.carry_out() is Step.UNDONE
    assert room.store.of(PLAN.id)[-1].detail["phase"] == "Denied"


def test_what_nobody_judges_in_time_is_denied_and_not_left_to_act_later() -> None:
    room = Room()
    assert room.carry_out() is Step.UNDONE
    assert DENY in room.notes()


def test_a_fold_that_was_posted_before_its_answer_got_lost_is_taken_back_after_a_restart() -> None:
    room = Room("Guarded", "Approved", "Applying", "Verifying", "Active")
    room.driver.apply(PLAN, approved(PLAN))
    inverse = dict(room.driver.inverse(PLAN.fold)) | {"plan_id": PLAN.id, "target": PLAN.fold.target, "token": 9}
    assert room.driver.undo(inverse)["undone"] is True
    assert room.driver.undo(inverse)["undone"] is True


def test_an_undo_of_what_was_never_proposed_writes_nothing() -> None:
    room = Room()
    inverse = dict(room.driver.inverse(PLAN.fold)) | {"plan_id": PLAN.id, "target": PLAN.fold.target, "token": 9}
    assert room.driver.undo(inverse)["undone"] is True
    assert room.api.objects == {}


def test_the_end_of_a_fold_is_not_moved(active: Room) -> None:
    receipt = active.engine.extend(*longer(PLAN, 600, active.clock.now_ns()))
    assert (receipt.step, receipt.detail["reason"]) == (Step.REFUSED, "driver")
    assert "escalatesFrom" in receipt.detail["why"]


def test_what_no_fold_can_say_is_refused_with_the_reason() -> None:
    driver = Room().driver
    assert "whole seconds" in str(driver.check(a_fold(ttl_s=1.5)))
    assert driver.check(PLAN.fold) is None
