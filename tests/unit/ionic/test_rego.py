"""The Rego guard: nothing but an explicit yes of every rule is a yes."""

import gc
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import Verdict
from loomidi.ionic.decide import BASE_RULES, RegoGuard
from loomidi.ionic.decide.guards import engine
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


@pytest.fixture
def working() -> tuple[RegoGuard, int]:
    """A guard that has answered, and its process."""
    guard = RegoGuard(timeout_s=10)
    assert {verdict.allow for verdict in guard.judge(a_plan(), the_facts())} == {True}
    process = guard._engine._process
    assert process is not None
    return guard, process.pid


def test_a_late_answer_is_a_denial_and_so_is_everything_until_the_engine_is_back(
    working: tuple[RegoGuard, int],
) -> None:
    guard, pid = working
    guard._timeout_s = 0.05
    os.kill(pid, signal.SIGSTOP)
    first, second = (guard.judge(a_plan(), the_facts())[0] for _ in range(2))
    assert (first.allow, second.allow) == (None, None)
    assert "took longer" in first.reason
    assert "still busy" in second.reason
    os.kill(pid, signal.SIGCONT)
    guard._timeout_s = 10
    refused = {verdict.allow for verdict in guard.judge(a_plan(expires_ns=0), the_facts())}
    assert refused == {True, False}  # of this question, not of the one before


def test_an_engine_that_was_killed_denies_once_and_is_started_anew(working: tuple[RegoGuard, int]) -> None:
    guard, pid = working
    os.kill(pid, signal.SIGKILL)
    first, second = (guard.judge(a_plan(), the_facts())[0] for _ in range(2))
    assert (first.allow, second.allow) == (None, True)
    assert "has ended" in first.reason


def test_an_engine_that_does_not_start_denies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "_PROGRAM", tmp_path / "none.py")
    guard = RegoGuard(timeout_s=10)
    for _ in range(2):
        assert {verdict.allow for verdict in guard.judge(a_plan(), the_facts())} == {None}


def test_an_engine_that_hangs_is_killed_and_another_started(
    working: tuple[RegoGuard, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, pid = working
    guard._timeout_s = 0.05
    os.kill(pid, signal.SIGSTOP)
    guard.judge(a_plan(), the_facts())
    monkeypatch.setattr(engine, "HUNG_S", 0.0)
    guard._timeout_s = 10
    assert guard.judge(a_plan(), the_facts())[0].allow is True
    assert not Path(f"/proc/{pid}").exists()


def test_a_guard_that_nobody_holds_any_more_ends_its_engine() -> None:
    guard = RegoGuard(timeout_s=10)
    guard.judge(a_plan(), the_facts())
    process = guard._engine._process
    assert process is not None
    pid = process.pid
    del guard, process
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()


def test_signals_to_the_whole_group_do_not_end_the_engine_before_its_owner(working: tuple[RegoGuard, int]) -> None:
    guard, pid = working
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert guard.judge(a_plan(), the_facts())[0].allow is True


def test_the_engine_ends_with_a_process_that_is_killed() -> None:
    code = (
        "import os, signal; from loomidi.ionic.decide import RegoGuard; guard = RegoGuard(timeout_s=10);"
        " guard.evaluate({}); print(guard._engine._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left, until = Path(f"/proc/{int(killed.stdout)}"), time.monotonic() + 10
    while left.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not left.exists()


def test_questions_cost_no_memory_even_beside_libraries_with_another_allocator() -> None:
    import pyarrow  # noqa: F401 - loaded before the engine, whose allocator would mix with its own in one process

    guard = RegoGuard(timeout_s=10)

    def held_mib(times: int) -> float:
        for _ in range(times):
            guard.judge(a_plan(expires_ns=0), the_facts())
        process = guard._engine._process
        assert process is not None
        pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in ("self", process.pid))
        return pages * resource.getpagesize() / 2**20

    before = held_mib(50)
    assert held_mib(200) - before < 5  # it was 24


def test_a_policy_file_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(NoPolicyEngine, match=r"^[^\n]*cannot read the policy"):
        RegoGuard.of_file(tmp_path / "none.rego", package="x", expected=("y",))
