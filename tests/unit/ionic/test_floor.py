"""The floor: each check refuses what it is there for, and a check that cannot answer has refused."""

import dataclasses
import math
from typing import Any

import pytest

from loomidi.contracts import BlastRadius, FoldKind, Match, Mode, Plan
from loomidi.ionic.decide import FloorGuard
from loomidi.ionic.decide.guards.floor import CHECKS
from tests.unit.ionic.making import NOW_NS, SERVICE, SOURCE, a_finding, a_fold, a_plan, the_facts
from tests.unit.ionic.object_plans import TARGETS, an_object_plan

RADIUS = a_plan().blast_radius


def against(plan: Plan, protected: tuple[str, ...] = (), **facts: Any) -> list[str]:
    """The checks that do not allow."""
    guard = FloorGuard(protected, mode=Mode.GUARDED)
    return [verdict.rule for verdict in guard.judge(plan, the_facts(**facts)) if verdict.allow is not True]


def radius(**changes: Any) -> BlastRadius:
    return dataclasses.replace(RADIUS, **changes)


def test_a_sound_plan_passes_every_check() -> None:
    assert against(a_plan()) == []


@pytest.mark.parametrize(
    ("check", "plan"),
    [
        ("intact", dataclasses.replace(a_plan(), id="plan-0000000000000000")),
        ("intact", dataclasses.replace(a_plan(), fold=a_fold(ttl_s=299.0))),
        ("mode", a_plan(mode=Mode.AUTONOMOUS)),
        ("fresh", a_plan(expires_ns=NOW_NS)),
        ("fresh", a_plan(created_ns=NOW_NS + 1)),
        ("fitting", a_plan(fold=a_fold(kind=FoldKind.SCALE_OUT))),
        ("aimed", a_plan(fold=a_fold(match=Match()))),
        ("aimed", a_plan(fold=a_fold(match=Match(destination="10.0.0.2")))),
        ("aimed", a_plan(fold=a_fold(match=Match(source="0.0.0.0/0")))),
        ("aimed", a_plan(fold=a_fold(match=Match(source="::ffff:0:0/96")))),
        ("aimed", a_plan(fold=a_fold(match=Match(source="2000::/3")))),
        ("aimed", a_plan(fold=a_fold(match=Match(source="somewhere")))),
        ("ttl", a_plan(fold=a_fold(ttl_s=0.0))),
        ("ttl", a_plan(fold=a_fold(ttl_s=3601.0))),
        ("protected", a_plan(blast_radius=radius(protected=("host/10.0.0.1",)))),
        ("share", a_plan(finding=a_finding(confidence=0.7), blast_radius=radius(share_of_octets=0.6))),
        ("share", a_plan(fold=a_fold(target="host/192.0.2.99"), blast_radius=radius(share_of_octets=0.6))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_check_refuses_what_it_is_there_for(check: str, plan: Plan) -> None:
    assert check in against(plan)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    assert "ttl" in against(a_plan(fold=a_fold(ttl_s=value)))
    assert "share" in against(a_plan(blast_radius=radius(share_of_octets=value)))


@pytest.mark.parametrize(
    "entry", [SOURCE, "203.0.113.0/24", "::ffff:203.0.113.7", "::ffff:203.0.113.0/120", "0.0.0.0/0"]
)
def test_the_floor_finds_a_protected_source_by_itself(entry: str) -> None:
    assert against(a_plan(), (entry,)) == ["protected"]


def test_a_protected_target_is_refused_also_when_the_match_names_another() -> None:
    assert against(a_plan("rate", fold=a_fold("rate", target=SERVICE)), ("10.0.0.0/24",)) == ["protected"]


def test_scaling_out_a_protected_service_harms_nobody() -> None:
    scale = dataclasses.replace(a_fold(), kind=FoldKind.SCALE_OUT, action="scale", target=SERVICE, match=Match())
    assert against(a_plan(fold=scale), ("10.0.0.2",)) == []


@pytest.mark.parametrize("kind", TARGETS)
def test_a_manifest_that_leads_into_a_spared_namespace_is_refused(kind: FoldKind) -> None:
    manifest = {"metadata": {"namespace": "kube-system", "name": "x"}}
    assert against(an_object_plan(kind, manifest=manifest)) == ["spared"]


def test_a_policy_beside_a_service_of_the_cluster_changes_no_object() -> None:
    plan = a_plan("rate", fold=a_fold("rate", target="service/kube-system/kube-dns:53/udp"))
    assert against(plan) == []


def test_caps_are_held() -> None:
    assert against(a_plan(), active={"target": 4, "total": 4}) == ["target_cap"]
    assert against(a_plan(), active={"target": 0, "total": 1024}) == ["total_cap"]
    assert against(a_plan(), active={"target": -1, "total": -1}) == ["target_cap", "total_cap"]


def test_missing_facts_are_no_answer_and_so_a_denial() -> None:
    verdicts = FloorGuard(mode=Mode.GUARDED).judge(a_plan(), {})
    silent = [verdict.rule for verdict in verdicts if verdict.allow is None]
    assert silent == ["fresh", "target_cap", "total_cap"]
    assert all("no answer" in verdict.reason for verdict in verdicts if verdict.allow is None)


def test_every_check_answers_once() -> None:
    assert [verdict.rule for verdict in FloorGuard().judge(a_plan(), the_facts())] == list(CHECKS)
