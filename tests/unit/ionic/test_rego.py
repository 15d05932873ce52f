"""The Rego guard: nothing but an explicit yes of every rule is a yes."""

import gc
import json
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import Verdict
from loomidi.ionic.decide import BASE_RULES, RegoGuard
from loomidi.ionic.decide.guards.rego import base_policy
from loomidi.ionic.documents import read_plan
from loomidi.ionic.errors import NoPolicyEngine
from tests.unit.ionic.making import a_fold, a_plan, the_facts

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = sorted((ROOT / "rules" / "guardrails" / "samples").rglob("*.json"))
HEAD = "package loomidi.guardrails.own\nimport rego.v1\n"
GOOD = HEAD + 'holds contains "small" if input.plan.fold.ttl_s <= 300\nreason["small"] := "ttl"\n'


def asked(policy: str, expected: tuple[str, ...] = ("small",), **given: Any) -> Sequence[Verdict]:
    guard = RegoGuard(policy, package="loomidi/guardrails/own", expected=expected, **({"timeout_s": 10} | given))
    return guard.judge(a_plan(), the_facts())


def answers(policy: str, expected: tuple[str, ...] = ("small",), **given: Any) -> dict[str, bool | None]:
    return {verdict.rule: verdict.allow for verdict in asked(policy, expected, **given)}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_sample_is_judged_as_its_file_expects(path: Path) -> None:
    sample = json.loads(path.read_text())
    verdicts = RegoGuard(timeout_s=10).judge(read_plan(sample["plan"]), sample["facts"])
    assert [verdict.rule for verdict in verdicts if verdict.allow is not True] == sample["expect"]["against"]
    assert [verdict.rule for verdict in verdicts if verdict.allow is None] == sample["expect"]["silent"]
    assert bool(sample["expect"]["against"]) == (path.parent.name == "refused")


def test_every_rule_of_the_base_policy_has_a_sample_that_it_refuses() -> None:
    refused = {rule for path in SAMPLES for rule in json.loads(path.read_text())["expect"]["against"]}
    assert refused == set(BASE_RULES)


def test_the_base_policy_has_exactly_the_expected_rules() -> None:
    named = [re.findall(rf'^{way}"(\w+)"', base_policy(), re.MULTILINE) for way in (r"reason\[", "holds contains ")]
    assert named[0] == list(BASE_RULES)
    assert set(named[1]) == set(BASE_RULES)


def test_the_rules_folder_and_the_package_hold_the_same_policy() -> None:
    assert (ROOT / "rules" / "guardrails" / "base.rego").read_text() == base_policy()


def test_a_rule_that_holds_allows_and_one_that_does_not_denies() -> None:
    assert answers(GOOD) == {"small": True}
    assert answers(GOOD.replace("<= 300", "<= 3")) == {"small": False}


@pytest.mark.parametrize(
    "policy",
    [
        HEAD,  # nothing in it
        HEAD + 'holds contains "other" if true\nreason["other"] := "x"\n',  # the rule is missing
        HEAD + 'holds contains "small" if input.no.such.field == 1\n',  # undefined
        HEAD + 'holds contains "small" if input.plan.fold.ttl_s / 0 == 1\n',  # an error in a built-in
        HEAD + "holds := 7\nreason := {}\n",  # malformed
        HEAD + 'holds := {"small": true}\nreason := {}\n',  # an object, not a set
        HEAD + 'holds contains "small" if {',  # does not parse
        HEAD + 'holds contains "small" if nobody.knows(input)\n',  # an unknown built-in
        "package elsewhere\nholds := {1}\n",  # another package
        "",
    ],
)
def test_anything_but_an_answer_is_no_answer(policy: str, capfd: pytest.CaptureFixture[str]) -> None:
    verdict = asked(policy)[0]
    assert (verdict.rule, verdict.allow) == ("small", None)
    assert verdict.reason.startswith("no answer")
    assert "\n" not in verdict.reason


def test_a_rule_that_nobody_expected_is_heard_too() -> None:
    extra = GOOD + 'holds contains "never" if false\nreason["never"] := "a rule somebody added"\n'
    assert answers(extra) == {"small": True, "never": False}


def test_a_guard_that_expects_nothing_allows_nothing() -> None:
    assert answers(HEAD + 'holds contains "x" if false\nreason := {}\n', expected=()) == {"any": None}


def test_a_number_beyond_64_bits_is_no_answer() -> None:
    verdicts = RegoGuard(timeout_s=10).judge(a_plan(), the_facts(now_ns=2**64))
    assert {verdict.allow for verdict in verdicts} == {None}


def test_text_that_the_engine_would_cut_short_is_no_answer() -> None:
    verdicts = RegoGuard(timeout_s=10).judge(a_plan(fold=a_fold(target="host/203.0.113.7\0")), the_facts())
    assert {verdict.allow for verdict in verdicts} == {None}
    assert "NUL" in verdicts[0].reason


def test_without_the_engine_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regopy", None)
    verdicts = RegoGuard(timeout_s=10).judge(a_plan(), the_facts())
    assert {verdict.allow for verdict in verdicts} == {None}
    assert "install regopy" in verdicts[0].reason


def test_a_late_answer_is_a_denial_and_so_is_everything_until_the_engine_is_back() -> None:
    going, guard = threading.Event(), RegoGuard(timeout_s=0.01)
    guard._engine._make = lambda: lambda asked: (going.wait(10), (list(BASE_RULES), {}))[1]  # type: ignore[assignment,return-value]
    first, second = (guard.judge(a_plan(), the_facts())[0] for _ in range(2))
    assert (first.allow, second.allow) == (None, None)
    assert "took longer" in first.reason
    assert "still busy" in second.reason
    late = guard._engine._pending
    going.set()
    assert late is not None
    late.put(late.get(timeout=10))  # the engine is back
    guard._timeout_s = 10
    assert {verdict.allow for verdict in guard.judge(a_plan(), the_facts())} == {True}


def test_a_guard_that_nobody_holds_any_more_frees_its_engine() -> None:
    guard = RegoGuard(timeout_s=10)
    guard.judge(a_plan(), the_facts())
    thread = guard._engine._thread
    assert thread is not None
    del guard
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_policy_file_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(NoPolicyEngine, match=r"^[^\n]*cannot read the policy"):
        RegoGuard.of_file(tmp_path / "none.rego", package="x", expected=("y",))
