"""What every guard must do: Rego in process, and the floor."""

import copy
import dataclasses
from collections.abc import Callable

import pytest

from loomidi.contracts import Mode
from loomidi.contracts.ports import Guard
from loomidi.ionic.decide import FloorGuard, RegoGuard
from tests.unit.ionic.making import SERVICE, a_finding, a_fold, a_plan, the_facts

MAKERS: dict[str, Callable[[], Guard]] = {
    "floor": lambda: FloorGuard(mode=Mode.GUARDED),
    "rego": lambda: RegoGuard(timeout_s=10),
}


@pytest.fixture(params=MAKERS)
def guard(request: pytest.FixtureRequest) -> Guard:
    return MAKERS[request.param]()


@pytest.mark.parametrize("action", ["rate", "drop"])
def test_a_sound_plan_is_allowed_by_every_rule(guard: Guard, action: str) -> None:
    verdicts = guard.judge(a_plan(action), the_facts())
    assert verdicts
    assert {verdict.allow for verdict in verdicts} == {True}


def test_every_verdict_names_the_guard_the_rule_and_a_reason(guard: Guard) -> None:
    verdicts = guard.judge(a_plan(), the_facts())
    assert {verdict.guard for verdict in verdicts} == {guard.name}
    assert len({verdict.rule for verdict in verdicts}) == len(verdicts)
    assert all(verdict.reason for verdict in verdicts)


def test_the_same_question_has_the_same_answer(guard: Guard) -> None:
    assert list(guard.judge(a_plan(), the_facts())) == list(guard.judge(a_plan(), the_facts()))


def test_without_facts_there_is_a_denial_and_no_exception(guard: Guard) -> None:
    verdicts = guard.judge(a_plan(), {})
    assert any(verdict.allow is None for verdict in verdicts)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": Mode.AUTONOMOUS},
        {"fold": a_fold(ttl_s=1e6)},
        {"fold": a_fold(ttl_s=0.0)},
        {"fold": a_fold(action="isolate")},
        {"fold": a_fold(match=type(a_fold().match)())},
        {"expires_ns": 1},
        {"fold": a_fold(target=SERVICE, match=type(a_fold().match)(destination="10.0.0.2"))},
    ],
)
def test_every_guard_by_itself_refuses_what_is_plainly_wrong(guard: Guard, changes: dict[str, object]) -> None:
    verdicts = guard.judge(a_plan(**changes), the_facts())
    assert any(verdict.allow is not True for verdict in verdicts)


def test_caps_are_held_by_every_guard(guard: Guard) -> None:
    for active in ({"target": 99, "total": 99}, {"target": 0, "total": 10**6}):
        assert any(verdict.allow is False for verdict in guard.judge(a_plan(), the_facts(active=active)))


def test_judging_changes_nothing(guard: Guard) -> None:
    plan, facts = a_plan(), the_facts()
    before = copy.deepcopy((plan.as_dict(), facts))
    guard.judge(plan, facts)
    assert (plan.as_dict(), facts) == before


def test_a_finding_without_confidence_does_not_cut_most_of_the_traffic(guard: Guard) -> None:
    radius = dataclasses.replace(a_plan().blast_radius, share_of_octets=0.9)
    plan = a_plan(finding=a_finding(confidence=0.7), blast_radius=radius)
    assert any(verdict.allow is False for verdict in guard.judge(plan, the_facts()))
