"""A run for real: through guards, approval and engine; failed runs are taken back; bounds hold; people are asked."""

import dataclasses
from pathlib import Path

import pytest

from loomidi.contracts import InputError, Mode, Severity
from loomidi.ionic.errors import BadPlaybook, NotActing, RunHeld
from loomidi.ionic.playbooks import RunLimits
from tests.unit.ionic.making import SOURCE, a_finding
from tests.unit.ionic.playbooks.playing import (
    DROP,
    END,
    MANUAL,
    SLOW,
    a_table,
    action,
    book,
    fold,
    key,
    probe,
    undo,
)

A, B, C, E2 = key("action", "a"), key("action", "b"), key("action", "c"), key("end", "2")
SEVERITY = {"__severity__": {"type": "string", "external": True}}


def test_each_fold_is_a_plan_with_an_approval_an_inverse_and_receipts() -> None:
    table = a_table()
    report = table.runner.start(book(A, {A: action(SLOW, probe(), DROP)}), a_finding(), dry=False)
    assert report.state == "completed", report.why
    assert table.blocked() == [("drop", SOURCE)]
    steps = [receipt.step.value for receipt in table.store.all()]  # type: ignore[attr-defined]
    assert steps == ["intent", "applied", "verified", "verified", "intent", "applied", "verified"]


def test_what_a_later_fold_stands_in_the_place_of_is_not_asked_whether_it_holds() -> None:
    table = a_table()
    report = table.runner.start(book(A, {A: action(SLOW, DROP, probe())}), a_finding(), dry=False)
    assert (report.state, table.blocked()) == ("completed", [("drop", SOURCE)])


def test_a_dry_run_touches_nothing_and_plans_the_same_folds() -> None:
    table, playbook = a_table(), book(A, {A: action(SLOW, DROP)})
    dry = table.runner.start(playbook, a_finding())
    assert (table.blocked(), table.store.all()) == ([], [])  # type: ignore[attr-defined]
    assert dry.folds == table.runner.start(playbook, a_finding(), dry=False).folds


def test_a_failure_that_nobody_handles_takes_back_everything() -> None:
    table = a_table()
    wrong = fold(kind="CORDON", target="node/worker-1", action="cordon", ttl_s=60, undo="uncordon it")
    report = table.runner.start(book(A, {A: action(SLOW, wrong)}), a_finding(), dry=False)
    assert report.state == "failed"
    assert "takes a Kubernetes driver" in report.why
    assert (table.blocked(), list(table.store.open_plans())) == ([], [])


def test_on_failure_is_taken_and_its_undo_gives_back() -> None:
    table = a_table()
    steps = {
        A: action(SLOW, on_success=B, on_failure=C),
        B: action({"type": "bash", "command": "iptables -A INPUT"}, on_success=END, on_failure=C),
        C: action(undo(), then=E2),
        E2: {"type": "end"},
    }
    report = table.runner.start(book(A, steps), a_finding(), dry=False)
    assert [(place, ok) for place, ok, _ in report.steps][1:] == [(A, True), (B, False), (C, True)]
    assert (report.state, table.blocked()) == ("completed", [])
    assert "bash is not carried out" in report.steps[2][2]


def test_what_the_guards_refuse_is_a_failed_step_and_no_effect() -> None:
    table = a_table(protected=(f"{SOURCE}/32",))
    report = table.runner.start(book(A, {A: action(DROP)}), a_finding(), dry=False)
    assert (report.state, table.blocked()) == ("failed", [])
    assert "floor/protected" in report.why


def test_mode_shadow_runs_nothing_for_real() -> None:
    with pytest.raises(NotActing, match="mode shadow touches nothing"):
        a_table(Mode.SHADOW).runner.start(book(A, {A: action(DROP)}), a_finding(), dry=False)


def test_in_mode_suggest_a_person_is_asked_for_exactly_this_fold_and_named_in_the_approval() -> None:
    table = a_table(Mode.SUGGEST)
    report = table.runner.start(book(A, {A: action(DROP)}), a_finding(), dry=False)
    assert (report.state, table.blocked()) == ("waiting", [])
    ((place, why),) = report.waits
    assert "drop host/203.0.113.7 for 300 s" in why
    report = table.runner.answer(report.run.id, place, "ada", yes=True)
    assert (report.state, table.blocked()) == ("completed", [("drop", SOURCE)])
    assert table.store.all()[0].detail["approval"]["approver"] == "ada"  # type: ignore[attr-defined]


def test_a_no_fails_the_step_and_a_strange_place_is_told() -> None:
    table = a_table()
    report = table.runner.start(book(A, {A: action(DROP, MANUAL)}), a_finding(), dry=False)
    with pytest.raises(RunHeld, match="does not wait at 'elsewhere'"):
        table.runner.answer(report.run.id, "elsewhere", "ada", yes=True)
    report = table.runner.answer(report.run.id, report.waits[0][0], "ada", yes=False)
    assert (report.state, table.blocked()) == ("failed", [])
    assert "ada said no" in report.why


def test_who_does_not_answer_in_time_has_not_done_it() -> None:
    table = a_table()
    report = table.runner.start(book(A, {A: action(MANUAL, timeout=60_000)}), a_finding(), dry=False)
    table.clock.sleep(61)
    assert "ACTION_TIMEOUT" in table.runner.resume(report.run.id).why


def test_a_loop_ends_by_its_condition_or_by_its_bound() -> None:
    ask = {"__plan_id__": {"type": "string", "value": ""}}
    loop = key("while-condition")
    steps = {
        loop: {"type": "while-condition", "condition": "__plan_id__:value = ''", "on_true": A, "on_completion": END},
        A: action(SLOW, out_args=["__plan_id__"], then=E2),
        E2: {"type": "end"},
    }
    playbook = book(loop, steps, playbook_variables=ask)
    assert len(a_table().runner.start(playbook, a_finding()).folds) == 1
    steps[A] = action(SLOW, then=E2)
    report = a_table(limits=RunLimits(rounds=3)).runner.start(book(loop, steps, playbook_variables=ask), a_finding())
    assert (report.state, len(report.folds)) == ("failed", 3)
    assert "after 3 rounds" in report.why


def test_a_run_has_so_many_steps_and_no_more() -> None:
    limits = RunLimits(steps=2)
    report = a_table(limits=limits).runner.start(book(A, {A: action(SLOW, then=B), B: action(DROP)}), a_finding())
    assert (report.state, "more than 2 steps" in report.why) == ("failed", True)


@pytest.mark.parametrize(("severity", "action_"), [("high", "drop"), ("low", "rate")])
def test_if_takes_the_branch_that_the_finding_says(severity: str, action_: str) -> None:
    step, held = key("if-condition"), "__severity__:value IN ('high', 'critical')"
    steps = {
        step: {"type": "if-condition", "condition": held, "on_true": A, "on_false": B, "on_completion": END},
        A: action(DROP, then=E2),
        B: action(SLOW, then=E2),
        E2: {"type": "end"},
    }
    finding = dataclasses.replace(a_finding(), severity=Severity(severity))
    report = a_table().runner.start(book(step, steps, playbook_variables=SEVERITY), finding)
    assert [told["action"] for told in report.folds] == [action_]


@pytest.mark.parametrize(("pattern", "state"), [("syn_flood", "completed"), ("beaconing", "failed")])
def test_switch_takes_its_case_and_fails_without_one(pattern: str, state: str) -> None:
    step, seen = key("switch-condition"), {"__pattern__": {"type": "string", "external": True}}
    body = {"type": "switch-condition", "switch": "__pattern__:value", "cases": {"syn_flood": A}, "on_completion": END}
    playbook = book(step, {step: body, A: action(SLOW, then=E2), E2: {"type": "end"}}, playbook_variables=seen)
    report = a_table().runner.start(playbook, a_finding(pattern))
    assert report.state == state


def test_parallel_runs_every_branch_also_when_one_fails_or_waits() -> None:
    step, table = key("parallel"), a_table()
    steps = {
        step: {"type": "parallel", "next_steps": [A, B], "on_completion": END},
        A: action(MANUAL, then=E2),
        B: action(DROP, then=E2),
        E2: {"type": "end"},
    }
    report = table.runner.start(book(step, steps), a_finding(), dry=False)
    assert (report.state, table.blocked()) == ("waiting", [("drop", SOURCE)])
    assert table.runner.answer(report.run.id, report.waits[0][0], "ada", yes=True).state == "completed"
    assert table.blocked() == [("drop", SOURCE)]


def test_a_playbook_calls_another_with_arguments_and_never_itself() -> None:
    address = {"__address__": {"type": "ipv4-addr", "external": True}}
    whole = {"kind": "RECONFIGURE_NETWORK", "target": "host/__address__:value", "action": "drop", "ttl_s": 60}
    inner_fold = fold(**whole, match={"source": "__address__:value"}, undo="it ends by itself")
    inner = book(A, {A: action(inner_fold)}, id=key("playbook", "inner"), playbook_variables=address)
    call = key("playbook-action")
    calls = {
        call: {"type": "playbook-action", "playbook_id": inner.id, "in_args": ["__address__"], "on_completion": END}
    }
    outer = book(call, calls, playbook_variables=address)
    report = a_table(books=(inner,)).runner.start(outer, a_finding())
    assert [told["match"]["source"] for told in report.folds] == [SOURCE]
    calls[call]["playbook_id"] = outer.id
    itself = book(call, calls, playbook_variables=address)
    assert "call each other without end" in a_table(books=(itself,)).runner.start(itself, a_finding()).why


def test_a_value_never_becomes_syntax() -> None:
    text = {"__entity__": {"type": "string", "external": True}}
    whole = {"kind": "RECONFIGURE_NETWORK", "target": "__entity__:value", "action": "drop", "undo": "ends"}
    playbook = book(A, {A: action(fold(**whole, match={"source": SOURCE}))}, playbook_variables=text)
    evil = 'host/x", "ttl_s": 99999, "target": "host/y'
    report = a_table().runner.start(playbook, a_finding(), {"__entity__": evil})
    assert report.steps[-1][1] is True or evil in str(report.entries)
    assert all(told["ttl_s"] == 60.0 for told in report.folds)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"__severity__": "high", "__no__": "1"}, "__no__ is no external"),
        ({"__n__": "x"}, "is of type integer"),
    ],
)
def test_values_that_do_not_fit_are_told_before_anything_is_written(given: dict[str, str], told: str) -> None:
    declared = {**SEVERITY, "__n__": {"type": "integer", "external": True}}
    with pytest.raises(BadPlaybook, match=told):
        a_table().runner.start(book(A, {A: action(SLOW)}, playbook_variables=declared), a_finding(), given)


def test_a_delay_is_waited_for_and_a_dry_run_only_tells_of_it() -> None:
    table, playbook = a_table(), book(A, {A: action(SLOW, delay=5_000)})
    began = table.clock.now_ns()
    table.runner.start(playbook, a_finding())
    assert table.clock.now_ns() == began
    table.runner.start(playbook, a_finding(), dry=False)
    assert table.clock.now_ns() == began + 5_000_000_000


@pytest.mark.parametrize("more", [{"revoked": True}, {"valid_until": "2026-01-01T00:00:00.000Z"}])
def test_a_playbook_that_is_not_valid_now_is_not_run_for_real(more: dict[str, object]) -> None:
    with pytest.raises(NotActing, match=r"revoked|valid"):
        a_table().runner.start(book(A, {A: action(SLOW)}, **more), a_finding(), dry=False)


def test_a_step_that_is_assumed_to_fail_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no step nowhere"):
        a_table().runner.start(book(A, {A: action(SLOW)}), a_finding(), assumed=["nowhere"])


def test_http_is_refused_unless_somebody_allowed_a_host() -> None:
    command = {"type": "http-api", "command": "POST /tickets HTTP/1.1"}
    playbook, seen = book(A, {A: action(command)}), []
    assert "nobody allowed a host" in a_table().runner.start(playbook, a_finding(), dry=False).why
    table = a_table(call=lambda request: seen.append(request["idempotency_key"]) or {"status": 201})
    assert table.runner.start(playbook, a_finding(), dry=False).state == "completed"
    assert len(seen) == 1
