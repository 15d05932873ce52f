"""Which policy applies, and what it lets through."""

import copy
import dataclasses
from typing import Any

import pytest

from loomidi.contracts import Mode, Replay
from loomidi.fold.operator.braking import Around
from loomidi.fold.operator.policing import Leave, least, leave_for
from tests.unit.fold.operator.fakes import POLICY
from tests.unit.ionic.making import NOW_NS, a_plan

AROUND = Around("shop", {"team": "a"}, {"app": "cart"}, now_ns=NOW_NS)


def policy(name: str = "tests", **more: Any) -> dict[str, Any]:
    changed = copy.deepcopy(POLICY)
    changed["metadata"]["name"] = name
    changed["spec"] |= more
    return changed


def leave(*policies: dict[str, Any], around: Around = AROUND, **spec: Any) -> Leave | str:
    return leave_for(a_plan("drop", Mode.AUTONOMOUS), spec, policies, around)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"when": {"patterns": ["beaconing"]}}, "it is not about syn_flood"),
        ({"when": {"patterns": ["*"], "severities": ["low"]}}, "it is not about severity high"),
        ({"when": {"patterns": ["*"], "minConfidence": 0.99}}, "confidence 0.95 is too low"),
        (
            {"allow": [{"kind": "RECONFIGURE_NETWORK", "actions": ["rate"]}]},
            "does not allow RECONFIGURE_NETWORK by drop",
        ),
        ({"ttl": {"maxSeconds": 60}}, "300 s is too long"),
        ({"protect": {"namespaces": ["shop"]}}, "namespace shop is protected"),
        ({"protect": {"selector": {"matchLabels": {"app": "cart"}}}}, "the target is protected"),
        (
            {"when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": {"team": "b"}}}},
            "not about namespace shop",
        ),
        ({"when": {"patterns": ["*"], "targetSelector": {"matchLabels": {"app": "b"}}}}, "not about this target"),
    ],
)
def test_a_policy_that_does_not_fit_says_why(more: dict[str, Any], why: str) -> None:
    found = leave(policy(**more))
    assert isinstance(found, str)
    assert why in found


def test_the_policy_that_is_named_decides_even_if_another_fits() -> None:
    found = leave(policy("other"), policy("own", when={"patterns": ["beaconing"]}), policy="own")
    assert found == "FoldPolicy own does not fit: it is not about syn_flood"
    assert leave(policy("other"), policy="own") == "there is no FoldPolicy own"


def test_among_those_that_fit_the_highest_priority_decides_then_the_name() -> None:
    policies = [policy("c", priority=5), policy("b"), policy("a", priority=5)]
    found = leave(*policies)
    assert isinstance(found, Leave)
    assert found.policy == "a"


def test_the_mode_is_the_least_of_the_policy_and_of_the_kind() -> None:
    found = leave(policy(mode="autonomous", allow=[{"kind": "RECONFIGURE_NETWORK", "mode": "suggest"}]))
    assert isinstance(found, Leave)
    assert found.mode is Mode.SUGGEST
    assert least(*Mode) is Mode.SHADOW


def test_a_policy_without_a_mode_is_in_shadow() -> None:
    silent = policy()
    del silent["spec"]["mode"]
    found = leave(silent)
    assert isinstance(found, Leave)
    assert found.mode is Mode.SHADOW


def replaying(**told: Any) -> Leave:
    """The leave of a policy that wants a replay of a tenth of the octets at most."""
    plan = a_plan("drop", Mode.AUTONOMOUS)
    radius = dataclasses.replace(plan.blast_radius, replay=Replay(**told))
    asked = policy(replay={"required": True, "maxShareOfOctets": 0.1})
    found = leave_for(dataclasses.replace(plan, blast_radius=radius), {}, [asked], AROUND)
    assert isinstance(found, Leave)
    return found


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({}, "is not known (the plan holds none)"),
        ({"state": "unknown", "why": "the lake is away"}, "is not known (the lake is away)"),
        ({"state": "measured", "share_of_octets": 0.2}, "would have cut 20.0% of all octets, allowed 10.0%"),
        ({"state": "measured", "protected": ("host/10.0.0.1",)}, "would have met the protected set (host/10.0.0.1)"),
    ],
)
def test_what_the_flows_of_late_do_not_bear_out_is_no_leave_to_act_alone(told: dict[str, Any], why: str) -> None:
    assert why in replaying(**told).unproven


def test_a_replay_within_the_bound_is_enough_and_without_the_setting_none_is_asked_for() -> None:
    assert replaying(state="measured", share_of_octets=0.05).unproven == ""
    plain = leave(policy())
    assert isinstance(plain, Leave)
    assert plain.unproven == ""
