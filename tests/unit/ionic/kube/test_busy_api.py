"""Busy, broken and contended API servers: bounded tries, no write done twice, one line that says what to do next."""

import httpx
import pytest

from loomidi.contracts import FoldKind, FoldSpec, LoomidiError, Plan
from loomidi.ionic.act.kube import KubeApi, KubeDriver, Patience
from loomidi.ionic.act.kube.removals import Removal
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ChangedMeanwhile, ClusterAway, ClusterDenies, ClusterRejects, NotActing
from loomidi.kit.clock import ManualClock
from tests.unit.ionic.acting import SIGNER, approved
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS, a_plan

NODE = "/api/v1/nodes/a"
TIMEOUT = httpx.ReadTimeout("too slow")


class Stage:
    """Two nodes, one of which is to be closed."""

    def __init__(self) -> None:
        self.fake, self.clock = FakeApi(), ManualClock(NOW_NS)
        for name in ("a", "b"):
            self.fake.put(f"/api/v1/nodes/{name}", {"metadata": {"name": name}, "spec": {}})
        self.api = KubeApi(self.fake.client(), Patience(tries=3), clock=self.clock)
        self.driver = KubeDriver(self.api, SIGNER, clock=ManualClock(NOW_NS))
        fold = FoldSpec(FoldKind.CORDON, "node/a", "cordon", undo="open it")
        self.plan: Plan = a_plan(fold=fold)
        self.inverse = dict(self.driver.inverse(fold)) | {"rule_id": rule_id(self.plan.id)}
        self.fake.asked.clear()

    def apply(self) -> None:
        self.driver.apply(self.plan, approved(self.plan))

    @property
    def closed(self) -> bool:
        return "unschedulable" in self.fake.objects[NODE]["spec"]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize("told", [(403, "no Fold is at hand (label loomidi.io/at-hand)"), (422, "'loomidi-at-hand'")])
def test_a_policy_that_has_not_seen_our_last_write_is_asked_again_soon(stage: Stage, told: tuple[int, str]) -> None:
    status, stage.fake.words = told
    stage.fake.failures["PATCH"] = [status, status]
    stage.apply()
    assert stage.closed
    assert stage.clock.now_ns() - NOW_NS < 200_000_000


@pytest.mark.parametrize("failure", [429, 500, 502, 503, 504, TIMEOUT, httpx.ConnectError("refused")])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_passing_fault_is_waited_out(stage: Stage, method: str, failure: int | Exception) -> None:
    stage.fake.failures[method] = [failure, failure]
    stage.apply()
    assert stage.closed
    stage.fake.failures[method] = [failure, failure]
    assert stage.driver.undo(stage.inverse)["undone"]
    assert not stage.closed


@pytest.mark.parametrize("failure", [429, 503, TIMEOUT])
def test_tries_are_bounded_and_the_error_says_that_it_may_work_later(stage: Stage, failure: int | Exception) -> None:
    stage.fake.failures["PATCH"] = [failure] * 99
    with pytest.raises(ClusterAway, match="try again"):
        stage.apply()
    assert stage.fake.asked["PATCH"] == 3
    assert not stage.closed


@pytest.mark.parametrize(("told", "waited_s"), [("2", 2.0), ("3600", 5.0), ("soon", 0.2)])
def test_the_api_is_asked_again_when_it_says_and_never_waited_for_long(
    stage: Stage, told: str, waited_s: float
) -> None:
    stage.fake.headers = {"Retry-After": told}
    stage.fake.failures["PATCH"] = [429]
    stage.apply()
    assert stage.clock.now_ns() - NOW_NS == round(waited_s * 1e9)


def test_a_write_whose_answer_was_lost_is_not_done_twice(stage: Stage) -> None:
    stage.fake.lost = ["PATCH"]
    stage.apply()
    assert stage.driver.verify(stage.plan)["holds"]
    stage.fake.lost = ["PATCH"]
    assert stage.driver.undo(stage.inverse)["undone"]
    assert not stage.closed


def test_a_conflict_is_read_again_and_done_when_ours_still_makes_sense(stage: Stage) -> None:
    touched = {"metadata": {"name": "a", "labels": {"zone": "x"}}, "spec": {}}
    stage.fake.failures["PATCH"] = [lambda: stage.fake.put(NODE, touched)]
    stage.apply()
    assert stage.closed
    assert stage.fake.objects[NODE]["metadata"]["labels"] == {"zone": "x"}


def test_a_conflict_with_what_we_wanted_to_change_is_refused(stage: Stage) -> None:
    theirs = {"metadata": {"name": "a"}, "spec": {"unschedulable": True}}
    stage.fake.failures["PATCH"] = [lambda: stage.fake.put(NODE, theirs)]
    with pytest.raises(ChangedMeanwhile, match="decide again"):
        stage.apply()
    assert stage.driver.undo(stage.inverse)["undone"]
    assert stage.closed


def test_conflicts_without_end_are_given_up(stage: Stage) -> None:
    stage.fake.failures["PATCH"] = [409] * 99
    with pytest.raises(ClusterAway, match="keep writing"):
        stage.apply()
    assert stage.fake.asked["PATCH"] == 6


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [(401, ClusterDenies, "operator.yaml"), (403, ClusterDenies, "operator.yaml"), (404, ChangedMeanwhile, "again"),
     (410, ClusterAway, "again"), (422, ClusterRejects, "manifest")],
)  # fmt: skip
def test_what_will_not_pass_is_an_error_of_one_line_that_says_what_to_do(
    stage: Stage, status: int, error: type[LoomidiError], advice: str
) -> None:
    stage.fake.failures["PATCH"] = [status]
    with pytest.raises(error, match=advice) as caught:
        stage.apply()
    assert "\n" not in str(caught.value)
    assert stage.fake.asked["PATCH"] == 1


def test_an_eviction_that_a_budget_forbids_is_not_tried_again(stage: Stage) -> None:
    stage.fake.put("/api/v1/namespaces/shop/pods/x", {"metadata": {"name": "x", "namespace": "shop"}})
    [live] = stage.api.items("/api/v1/namespaces/shop/pods")
    pod = Removal("/api/v1/namespaces/shop/pods/x", live["metadata"]["uid"], "evict")
    stage.fake.failures["POST"] = [429]
    stage.fake.words = "the cause is DisruptionBudget"
    with pytest.raises(ChangedMeanwhile, match="PodDisruptionBudget"):
        pod.apply(stage.api, "plan-1")
    assert stage.fake.asked["POST"] == 1


def test_an_api_that_does_not_answer_is_a_reason_and_no_crash_of_the_check(stage: Stage) -> None:
    stage.fake.failures["GET"] = [TIMEOUT] * 99
    assert "ReadTimeout" in str(stage.driver.check(stage.plan.fold))


def test_a_driver_with_receipts_does_only_what_is_stored_there(stage: Stage) -> None:
    stored: dict[str, dict[str, object]] = {}
    driver = KubeDriver(stage.api, SIGNER, recall=stored.get, clock=ManualClock(NOW_NS))
    driver.inverse(stage.plan.fold)
    with pytest.raises(NotActing, match="store"):
        driver.apply(stage.plan, approved(stage.plan))
    assert not stage.closed
    stored[stage.plan.id] = stage.inverse
    driver.apply(stage.plan, approved(stage.plan))
    assert stage.closed


def test_an_edit_that_another_plan_holds_by_now_is_not_taken_from_it(stage: Stage) -> None:
    held = {"metadata": {"name": "a", "annotations": {"loomidi.io/plan": "plan-other"}}, "spec": {}}
    stage.fake.failures["PATCH"] = [lambda: stage.fake.put(NODE, held)]
    with pytest.raises(ChangedMeanwhile, match="plan-other"):
        stage.apply()
    told = stage.driver.undo(stage.inverse)
    assert (told["undone"], "plan-other" in told["left"][0]) == (True, True)
    assert not stage.closed
