"""The life of a Fold, pass by pass, against an API server and a driver in memory."""

import copy
from typing import Any

import pytest

from loomidi.contracts import FoldKind, Mode
from loomidi.fold.operator import Fence, NotLeading, approval_note
from loomidi.ionic.errors import ClusterAway
from tests.unit.fold.operator.fakes import POLICY, Stage, a_stage
from tests.unit.ionic.acting import SIGNER
from tests.unit.ionic.making import a_fold, a_plan
from tests.unit.ionic.object_plans import an_object_plan


def policy(**more: Any) -> dict[str, Any]:
    """The policy of the tests with some of its spec changed."""
    changed = copy.deepcopy(POLICY)
    changed["spec"] |= more
    return changed


def in_force(**more: Any) -> Stage:
    stage = a_stage(**more)
    stage.until("Active")
    return stage


def test_a_life_that_goes_well_passes_every_phase_and_leaves_the_world_as_it_was() -> None:
    stage = in_force()
    assert list(stage.driver.world.values()) == [stage.plan.fold.target]
    stage.until("Released")
    told = list(dict.fromkeys(status["phase"] for status in stage.cluster.written))
    assert told == ["Proposed", "Guarded", "Approved", "Applying", "Verifying", "Active", "Released"]
    assert stage.steps == ["intent", "applied", "verified", "expired"]
    assert not stage.driver.world


def test_a_pass_writes_at_most_one_status() -> None:
    stage = a_stage()
    for _ in range(40):
        before = len(stage.cluster.written), stage.cluster.asked["PATCH"]
        stage.clock.sleep(stage.once() or 0)
        assert len(stage.cluster.written) - before[0] <= 1
        assert stage.cluster.asked["PATCH"] - before[1] <= 1


@pytest.mark.parametrize("phase", ["Active", "Released"])
def test_a_pass_over_a_settled_fold_finds_nothing_to_do(phase: str) -> None:
    stage = a_stage()
    stage.until(phase)
    stage.once()
    before = stage.cluster.asked["PATCH"]
    for _ in range(3):
        stage.once()
    assert stage.cluster.asked["PATCH"] == before


def test_the_finalizer_is_there_before_the_intent_and_goes_after_the_end() -> None:
    stage = a_stage()
    stage.until("Approved")
    stage.once()
    assert stage.fold["metadata"]["finalizers"] == ["loomidi.io/undo"]
    stage.until("Released")
    stage.once()
    assert stage.fold["metadata"]["finalizers"] == []


def test_it_ends_by_itself_even_if_nobody_looked_in_between() -> None:
    stage = in_force()
    stage.clock.sleep(10_000)
    stage.once()
    assert (stage.phase, stage.driver.world) == ("Released", {})


@pytest.mark.parametrize("given", ["fold", "policy", "operator"])
def test_shadow_anywhere_touches_nothing_and_ends_with_its_plan(given: str) -> None:
    stage = a_stage(Mode.SHADOW if given == "fold" else Mode.AUTONOMOUS)
    stage.mode = Mode.SHADOW if given == "operator" else Mode.AUTONOMOUS
    stage.policies = [policy(mode="shadow" if given == "policy" else "autonomous")]
    stage.until("Expired")
    assert [status["phase"] for status in stage.cluster.written][1] == "Guarded"
    assert not stage.driver.world
    assert "receipts" not in stage.fold["status"]


def test_suggest_waits_for_a_person_who_signs_this_plan() -> None:
    stage = a_stage(Mode.SUGGEST)
    stage.until("Guarded")
    stage.clock.sleep(stage.once() or 0)
    why = "waits for 1 more of 1 approvals by persons (mode suggest: a person has to approve)"
    assert (stage.phase, stage.fold["status"]["message"]) == ("Guarded", why)
    name, text = approval_note(stage.plan, "alice", SIGNER, stage.clock.now_ns())
    stage.note({name: text})
    stage.until("Active")
    assert [one["approver"] for one in stage.fold["status"]["approvals"]] == ["alice"]


@pytest.mark.parametrize("given", ["fold", "policy", "operator"])
def test_what_has_no_way_back_waits_for_a_person_where_any_mode_is_guarded(given: str) -> None:
    guarded = Mode.GUARDED if given == "fold" else Mode.AUTONOMOUS
    stage = a_stage(plan=an_object_plan(FoldKind.EVICT, guarded, target="pod/default/web-0"))
    stage.mode = Mode.GUARDED if given == "operator" else Mode.AUTONOMOUS
    mode = "guarded" if given == "policy" else "autonomous"
    stage.policies = [policy(mode=mode, allow=[{"kind": "EVICT"}])]
    stage.until("Guarded")
    stage.clock.sleep(stage.once() or 0)
    assert stage.phase == "Guarded"
    assert "EVICT has no way back" in stage.fold["status"]["message"]
    stage.note(dict([approval_note(stage.plan, "alice", SIGNER, stage.clock.now_ns())]))
    stage.until("Active")


@pytest.mark.parametrize("change", [("alice", "bob"), ("plan_hash", "plan_hush"), ("}", ""), ("signature", "sign")])
def test_an_approval_that_was_changed_counts_for_nothing(change: tuple[str, str]) -> None:
    stage = a_stage(Mode.SUGGEST)
    note = approval_note(stage.plan, "alice", SIGNER, stage.clock.now_ns())
    name, text = (part.replace(*change) for part in note)
    stage.note({name: text})
    stage.until("Expired")
    assert not stage.driver.world


def test_a_guard_that_says_no_denies() -> None:
    stage = a_stage(plan=None)
    stage.policies = [policy(allow=[{"kind": "ISOLATE_POD"}])]
    stage.until("Denied")
    assert "does not allow RECONFIGURE_NETWORK" in stage.fold["status"]["message"]
    assert stage.once() is None


@pytest.mark.parametrize("phase", ["Proposed", "Guarded", "Approved"])
def test_a_plan_whose_time_runs_out_while_it_is_judged_is_expired_and_not_denied(phase: str) -> None:
    stage = a_stage()
    stage.until(phase)
    stage.judged_s = 10_000.0
    stage.until("Expired")
    assert "its plan's time was over while it was judged" in stage.fold["status"]["message"]
    assert not stage.driver.world


@pytest.mark.parametrize("spec", [{"ttlSeconds": 299}, {"match": {"source": "203.0.113.8"}}, {"plan": None}])
def test_a_plan_that_is_not_what_its_id_says_is_denied(spec: dict[str, Any]) -> None:
    stage = a_stage()
    kept = {name: part for name, part in (stage.fold["spec"] | spec).items() if part is not None}
    stage.cluster.put(stage.path, stage.fold | {"spec": kept})
    stage.until("Denied")
    assert not stage.driver.world


def test_no_policy_no_fold() -> None:
    stage = a_stage()
    stage.policies = []
    stage.until("Denied")
    assert stage.fold["status"]["message"] == "there is no FoldPolicy"


def test_what_the_driver_cannot_do_is_denied() -> None:
    stage = a_stage()
    stage.driver.failing = ["inverse"]
    stage.until("Denied")
    assert "there is no such thing" in stage.fold["status"]["message"]


def test_a_pause_holds_back_what_is_new_and_leaves_what_is_in_force() -> None:
    stage, new = in_force(), a_stage()
    for one in (stage, new):
        one.policies = [policy(brakes={"pause": {"reason": "maintenance"}})]
    new.clock.sleep(new.once() or 0)
    new.once()
    stage.once()
    assert (new.phase, new.fold["status"]["message"]) == ("Proposed", "paused: maintenance")
    assert stage.phase == "Active"
    new.until("Expired")


def test_a_person_denies_and_a_person_releases() -> None:
    denied, released = a_stage(), in_force()
    denied.note({"loomidi.io/deny": "not now"})
    released.note({"loomidi.io/release": "enough"})
    denied.until("Denied")
    released.until("Released")
    assert released.steps[-1] == "undone"
    assert not {**denied.driver.world, **released.driver.world}


@pytest.mark.parametrize("phase", ["Applying", "Verifying", "Active"])
def test_a_deleted_fold_is_undone_first(phase: str) -> None:
    stage = a_stage()
    stage.until(phase)
    stage.delete()
    stage.once()
    assert (stage.phase, stage.driver.world) == ("Released", {})
    stage.once()
    assert stage.fold["metadata"]["finalizers"] == []


def test_a_fold_that_is_deleted_before_it_began_just_goes() -> None:
    stage = a_stage()
    stage.until("Guarded")
    stage.delete()
    assert stage.once() is None
    assert not stage.driver.world


@pytest.mark.parametrize("phase", ["Guarded", "Approved", "Applying", "Verifying", "Active"])
@pytest.mark.parametrize("target", [None, {"metadata": {"uid": "u2"}}])
def test_another_target_of_the_same_name_supersedes(phase: str, target: dict[str, Any] | None) -> None:
    stage = a_stage()
    stage.until(phase)
    stage.target = target
    stage.until("Superseded")
    assert not stage.driver.world


def test_an_apply_that_fails_half_way_is_taken_back() -> None:
    stage = a_stage()
    stage.driver.failing = ["apply"]
    stage.until("RolledBack")
    assert stage.steps == ["intent", "undone"]
    assert not stage.driver.world


def test_where_packets_are_not_cut_is_told_with_what_was_applied() -> None:
    stage = a_stage()
    stage.driver.told = "not cut on n1: its agent does not answer"
    stage.until("Active")
    (applied,) = [one for one in stage.fold["status"]["conditions"] if one["type"] == "Applied"]
    assert applied["message"] == "by fake; not cut on n1: its agent does not answer"


def test_a_cluster_that_is_away_is_asked_again() -> None:
    stage = a_stage()
    stage.until("Applying")
    stage.driver.failing = ["away"]
    with pytest.raises(ClusterAway):
        stage.once()
    stage.until("Active")


def test_what_does_not_hold_in_time_is_rolled_back() -> None:
    stage = a_stage()
    stage.driver.broken = True
    stage.until("RolledBack")
    assert stage.steps == ["intent", "applied", "undone"]
    assert "it did not hold" in stage.fold["status"]["message"]
    assert [one["holds"] for one in stage.fold["status"]["probes"]] == [False]  # also where the first look was the last


def test_it_is_active_only_after_it_has_held_without_a_gap() -> None:
    stage = a_stage()
    stage.until("Verifying")
    stage.once()
    stage.clock.sleep(2)
    stage.driver.broken = True
    stage.once()
    stage.driver.broken = False
    stage.clock.sleep(2)
    stage.once()
    assert stage.phase == "Verifying"
    stage.until("Active")


def test_a_probe_that_nobody_can_answer_does_not_hold() -> None:
    stage = a_stage()
    stage.policies = [policy(verify=POLICY["spec"]["verify"] | {"probes": [{"name": "gone", "findingGone": {}}]})]
    stage.until("RolledBack")
    assert [one["holds"] for one in stage.fold["status"]["probes"]] == [True, False]


def test_what_no_longer_holds_is_rolled_back() -> None:
    stage = in_force()
    stage.driver.broken = True
    stage.once()
    assert (stage.phase, stage.driver.world) == ("RolledBack", {})


def test_an_undo_that_fails_stays_open_is_told_once_and_tried_again() -> None:
    stage = in_force()
    stage.driver.failing = ["undo"] * 3
    stage.clock.sleep(10_000)
    for _ in range(3):
        assert stage.once() == 5
    assert {one["type"]: one["status"] for one in stage.fold["status"]["conditions"]}["Stalled"] == "True"
    stage.until("Released")
    assert stage.steps == ["intent", "applied", "verified", "failed", "expired"]


def test_who_has_lost_the_lease_writes_and_does_nothing() -> None:
    def lost() -> None:
        raise NotLeading("somebody else leads")

    stage = a_stage()
    stage.until("Applying")
    stage.fence = Fence("old", 1, lost)
    with pytest.raises(NotLeading):
        stage.once()
    assert not stage.driver.world


def test_a_spec_that_changes_while_it_is_open_is_judged_again() -> None:
    stage = a_stage(Mode.SUGGEST)
    stage.until("Guarded")
    changed = stage.fold["spec"] | {"undo": "by hand"}
    metadata = stage.fold["metadata"] | {"generation": 2}
    stage.cluster.put(stage.path, stage.fold | {"spec": changed, "metadata": metadata})
    stage.until("Denied")
    assert "intact" in stage.fold["status"]["message"]


def test_a_fold_that_aims_at_another_namespace_is_denied() -> None:
    elsewhere = dict(a_plan("drop").fold.manifest)
    elsewhere["metadata"] = elsewhere["metadata"] | {"namespace": "shop"}
    stage = a_stage(plan=a_plan(fold=a_fold("drop", manifest=elsewhere), mode=Mode.AUTONOMOUS))
    stage.until("Denied")
    assert stage.fold["status"]["message"] == "a Fold lies in the namespace that it aims at: shop"


def test_a_fold_on_a_node_lies_in_our_own_namespace() -> None:
    stage = a_stage(plan=an_object_plan(FoldKind.CORDON, Mode.AUTONOMOUS))
    stage.until("Denied")
    assert stage.fold["status"]["message"] == "a Fold lies in the namespace that it aims at: loomidi-system"
