"""What changes one object of a cluster: each guard by itself refuses a target that is none, or is never touched."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loomidi.contracts import FoldKind, Mode, Plan
from loomidi.contracts.ports import Guard
from loomidi.ionic.act.kube import KINDS
from loomidi.ionic.decide import FINAL, FloorGuard, Limits, RegoGuard
from loomidi.ionic.documents import read_plan
from tests.unit.ionic.making import the_facts
from tests.unit.ionic.object_plans import POD, TARGETS, an_object_plan

GUARDS: dict[str, Callable[[], Guard]] = {
    "floor": lambda: FloorGuard(mode=Mode.GUARDED),
    "rego": lambda: RegoGuard(timeout_s=10),
}
SAMPLES = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "samples"
SPARED = ("kube-system", "kube-public", "kube-node-lease", "loomidi-system")


@pytest.fixture(params=GUARDS)
def guard(request: pytest.FixtureRequest) -> Guard:
    return GUARDS[request.param]()


def against(guard: Guard, plan: Plan) -> list[str]:
    return [verdict.rule for verdict in guard.judge(plan, the_facts()) if verdict.allow is not True]


def hostile(target: str) -> list[str]:
    """Names that lead elsewhere once they are part of a path, or that name nothing in full."""
    kind, _, rest = target.partition("/")
    ways = ("/..", "/status", "?force=true", "%2f..", " ", "\n", "\u0000", "A", "_", "#x", ":80", "." * 3 + "/", "*")
    return [f"{target}{way}" for way in ways] + [kind, f"{kind}/", f"/{rest}", rest, "", f"service/{rest}", "x" * 300]


@pytest.mark.parametrize("kind", TARGETS)
def test_a_sound_plan_of_each_kind_is_allowed(guard: Guard, kind: FoldKind) -> None:
    assert against(guard, an_object_plan(kind)) == []


@pytest.mark.parametrize("kind", TARGETS)
def test_a_name_that_is_none_is_refused(guard: Guard, kind: FoldKind) -> None:
    let_through = [
        target for target in hostile(TARGETS[kind]) if not against(guard, an_object_plan(kind, target=target))
    ]
    assert let_through == []


@pytest.mark.parametrize("space", SPARED)
@pytest.mark.parametrize("kind", [*(kind for kind in TARGETS if kind is not FoldKind.CORDON), FoldKind.ISOLATE_POD])
def test_what_the_cluster_and_we_run_in_is_never_changed(guard: Guard, kind: FoldKind, space: str) -> None:
    action = "isolate" if kind is FoldKind.ISOLATE_POD else kind.value.lower()
    target = f"{TARGETS.get(kind, POD).split('/')[0]}/{space}/x"
    assert against(guard, an_object_plan(kind, action=action, target=target)) in (["spared"], ["namespace_spared"])


@pytest.mark.parametrize("kind", sorted(FINAL))
def test_what_has_no_way_back_is_done_only_to_what_the_finding_names(guard: Guard, kind: FoldKind) -> None:
    assert against(guard, an_object_plan(kind, named=False)) in (["final"], ["final_named"])


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind not in FINAL])
def test_what_has_a_way_back_may_be_done_beside_it(guard: Guard, kind: FoldKind) -> None:
    assert against(guard, an_object_plan(kind, named=False)) == []


@pytest.mark.parametrize("kind", TARGETS)
def test_an_action_of_another_kind_is_refused(guard: Guard, kind: FoldKind) -> None:
    others = {"restart", "rollback", "cordon", "evict", "resize", "terminate", "drop", "isolate", "scale"}
    plans = [an_object_plan(kind, action=other) for other in others - {kind.value.lower()}]
    assert all(against(guard, plan) for plan in plans)


@pytest.mark.parametrize("kind", sorted(FINAL))
def test_most_of_the_traffic_is_not_ended_on_a_weak_finding(guard: Guard, kind: FoldKind) -> None:
    plan = an_object_plan(kind, confidence=0.75, radius={"share_of_octets": 0.9})
    assert {"share", "share_capped"} & set(against(guard, plan))


@pytest.mark.parametrize("kind", TARGETS)
def test_a_harder_act_needs_a_surer_finding(kind: FoldKind) -> None:
    least, rego = Limits().min_confidence[kind.value.lower()], RegoGuard(timeout_s=10)
    assert against(rego, an_object_plan(kind, confidence=least)) == []
    assert "confidence_enough" in against(rego, an_object_plan(kind, confidence=least - 0.01))


def test_the_hardest_acts_need_the_surest_findings() -> None:
    least = Limits().min_confidence
    assert least["terminate"] > least["evict"] > least["isolate"] >= least["rollback"] > least["restart"]


def test_deciding_and_the_driver_agree_on_what_has_no_way_back() -> None:
    assert {kind for kind, known in KINDS.items() if not known.reversible} == FINAL


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("allowed/*.json")), ids=lambda path: path.stem)
def test_the_floor_allows_every_sample_that_is_allowed(path: Path) -> None:
    sample = json.loads(path.read_text())
    plan = read_plan(sample["plan"])
    verdicts = FloorGuard(mode=plan.mode).judge(plan, sample["facts"])
    assert [verdict for verdict in verdicts if verdict.allow is not True] == []


@pytest.mark.parametrize("kind", TARGETS)
def test_each_kind_has_samples_that_are_allowed_and_refused(kind: FoldKind) -> None:
    found = {way: (SAMPLES / way).glob("*.json") for way in ("allowed", "refused")}
    kinds = {
        way: {json.loads(path.read_text())["plan"]["fold"]["kind"] for path in paths} for way, paths in found.items()
    }
    assert kind.value in kinds["allowed"] & kinds["refused"]
