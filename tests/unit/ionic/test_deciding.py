"""Deciding: every guard is asked, silence is a no, and what was refused says why."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from loomidi.contracts import FoldKind, Mode, Plan, Verdict
from loomidi.ionic.approvals import Signer
from loomidi.ionic.decide import FINAL, Decider, DeciderSettings, FloorGuard, PlanRefused
from tests.unit.ionic.making import NOW_NS, SOURCE, a_decider, a_finding, a_fold, a_plan
from tests.unit.ionic.object_plans import TARGETS, an_object_plan


class Says:
    """A guard with one answer, or one that breaks."""

    name = "says"

    def __init__(self, answer: bool | Exception | Sequence[Verdict] | None) -> None:
        self._answer = answer

    def judge(self, plan: Plan, facts: Mapping[str, Any]) -> Sequence[Verdict]:
        if isinstance(self._answer, Exception):
            raise self._answer
        if isinstance(self._answer, Sequence):
            return self._answer
        return [Verdict(self.name, "rule", self._answer, "because")]


def test_a_sound_plan_is_approved_by_both_guards() -> None:
    decider = a_decider()
    approval = decider.decide(decider.plan(a_finding(), a_fold()))
    assert {verdict.guard for verdict in approval.verdicts} == {"floor", "rego:base"}
    assert all(verdict.allow for verdict in approval.verdicts)


def test_a_plan_is_made_in_the_configured_mode_and_expires() -> None:
    plan = a_decider(Mode.SHADOW).plan(a_finding(), a_fold())
    assert (plan.mode, plan.created_ns, plan.expires_ns) == (Mode.SHADOW, NOW_NS, NOW_NS + 60_000_000_000)


def test_the_default_mode_is_shadow() -> None:
    assert DeciderSettings().mode is Mode.SHADOW


@pytest.mark.parametrize("answer", [False, None, RuntimeError("broken"), TimeoutError(), []])
def test_one_guard_that_does_not_allow_refuses_whatever_the_others_say(answer: Any) -> None:
    decider = a_decider(guards=[Says(True), Says(answer), Says(True)])
    with pytest.raises(PlanRefused):
        decider.decide(a_plan())


def test_no_guards_refuse() -> None:
    with pytest.raises(PlanRefused, match="no guard answered"):
        Decider([]).decide(a_plan())


def test_a_refusal_carries_every_verdict_and_says_the_reasons_in_one_line() -> None:
    decider = a_decider(guards=[Says(True), Says(False)])
    with pytest.raises(PlanRefused) as caught:
        decider.decide(a_plan())
    assert [verdict.allow for verdict in caught.value.verdicts] == [True, False]
    assert str(caught.value).endswith("refused; says/rule: because")
    assert caught.value.exit_code == 1


def test_a_protected_source_is_refused_by_both_guards() -> None:
    decider = a_decider(protected=(SOURCE,))
    with pytest.raises(PlanRefused) as caught:
        decider.decide(decider.plan(a_finding(), a_fold()))
    against = {verdict.guard for verdict in caught.value.verdicts if verdict.allow is not True}
    assert against == {"floor", "rego:base"}


def test_mode_suggest_takes_a_person() -> None:
    decider = a_decider(Mode.SUGGEST)
    plan = decider.plan(a_finding(), a_fold())
    with pytest.raises(PlanRefused, match="a person has to approve"):
        decider.decide(plan)
    assert decider.decide(plan, approver="ada").approver == "ada"


@pytest.mark.parametrize("kind", sorted(FINAL))
def test_what_has_no_way_back_takes_a_person_in_mode_guarded(kind: FoldKind) -> None:
    with pytest.raises(PlanRefused, match=f"{kind.value} has no way back: in mode guarded a person has to approve"):
        a_decider().decide(an_object_plan(kind))
    assert a_decider().decide(an_object_plan(kind), approver="ada").approver == "ada"
    assert a_decider(Mode.AUTONOMOUS).decide(an_object_plan(kind, Mode.AUTONOMOUS)).approver == "guards"


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind not in FINAL])
def test_what_has_a_way_back_is_approved_by_the_guards(kind: FoldKind) -> None:
    assert a_decider().decide(an_object_plan(kind)).approver == "guards"


def test_what_is_at_work_counts_against_the_caps() -> None:
    decider = a_decider(active=lambda: {f"host/{SOURCE}": 4})
    with pytest.raises(PlanRefused, match="target_cap"):
        decider.decide(decider.plan(a_finding(), a_fold()))


def test_an_approval_is_signed_with_the_deciders_key() -> None:
    signer = Signer()
    decider = a_decider(signer=signer)
    plan = decider.plan(a_finding(), a_fold())
    signer.verify(plan, decider.decide(plan), NOW_NS)


def test_a_protected_entry_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="gateway"):
        FloorGuard(["gateway"])
