"""Before a policy is in force it is asked about our samples and about what must never be refused."""

import json
import stat
from pathlib import Path

import pytest

from loomidi.ionic.errors import BadPolicy, NoPolicyEngine, PolicyBreaks
from loomidi.ionic.policies import Judge, JudgeSettings, PolicyType, read_policy
from loomidi.ionic.policies.enforcing import enforces
from loomidi.ionic.policies.rego_judging import Refusal, _moved, refusals
from loomidi.ionic.policies.samples import PROTECTED, samples
from tests.unit.ionic.policies.ruling import kyverno, manifest, rego

PLAIN = "package a.b\n\nimport rego.v1\n\n"


def judge(text: str) -> list[str]:
    return list(Judge().judge(read_policy("x", PolicyType.REGO, text)).allowed_refused)


def test_the_samples_are_objects_plans_and_the_protected() -> None:
    groups = [(sample.group, sample.subject) for sample in samples()]
    assert groups.count((PROTECTED, "object")) >= 10
    assert {("allowed", "object"), ("refused", "object"), ("allowed", "plan"), ("refused", "plan")} <= set(groups)
    assert len({sample.id for sample in samples()}) == len(groups)


def test_a_policy_that_refuses_a_sample_that_we_allow_is_told_with_its_reason() -> None:
    found = Judge().judge(rego())
    assert found.allowed_refused == ("Pod shop/web (allowed/pull_always.yaml#1): deny: web ends in :latest",)
    assert found.engines == ("in process (regopy)",)


def test_a_policy_that_refuses_what_is_protected_is_refused_and_names_it() -> None:
    text = PLAIN + 'deny contains "no" if input.object.metadata.namespace == "kube-system"\n'
    with pytest.raises(PolicyBreaks, match="must never be refused") as raised:
        judge(text)
    assert any("kube-proxy" in line for line in raised.value.refused)


def test_our_own_parts_are_protected_too() -> None:
    with pytest.raises(PolicyBreaks) as raised:
        judge(PLAIN + 'deny contains "no" if input.request.namespace == "loomidi-system"\n')
    assert any("DaemonSet loomidi-system/loomidi-agent" in line for line in raised.value.refused)


def test_a_policy_about_plans_is_asked_about_plans_alone() -> None:
    found = judge(PLAIN + 'deny contains "no" if input.plan.fold.action == "scale"\n')
    assert [line.rpartition(": deny")[0][-24:] for line in found] == ["(allowed/scale_out.json)"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PLAIN + "deny contains 1 if {\n", "line 5"),
        (PLAIN + "deny contains 1 if no_such_function(1)\n", "does not compile"),
        (
            PLAIN
            + 'deny contains x if { a := numbers.range(1, 9999); some i in a; some j in a; x := {"a": [i, j]} }\n',
            "for our samples",
        ),
    ],
)
def test_what_does_not_compile_or_takes_too_much_is_refused(
    text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loomidi.ionic.policies.rego_judging.ASKING_S", 1)
    with pytest.raises(BadPolicy, match=why):
        judge(text)


@pytest.mark.parametrize(
    ("answer", "rules", "against"),
    [
        ({"deny": []}, ("deny",), []),
        ({"deny": ["a", {"msg": "b"}]}, ("deny",), [Refusal("deny", "a"), Refusal("deny", "b")]),
        ({"deny": "no"}, ("deny",), [Refusal("deny", "no")]),
        ({"deny": True}, ("deny",), [Refusal("deny", "denied")]),
        ({"violation": {"m": True}}, ("violation",), [Refusal("violation", "m")]),
        ({"violation": {"msg": "m"}}, ("violation",), [Refusal("violation", "m")]),
        ({"allow": True}, ("allow",), []),
        ({}, ("allow",), [Refusal("allow", "allow is not true")]),
        ({"holds": ["a"], "reason": {"a": "x", "b": "y"}}, ("holds",), [Refusal("b", "y")]),
        ({}, ("holds",), [Refusal("holds", "no rule answered")]),
        (None, ("deny",), [Refusal("any", "no answer")]),
    ],
)
def test_an_answer_refuses_unless_it_says_otherwise(answer: object, rules: tuple[str, ...], against: object) -> None:
    assert refusals(answer, rules) == against


def test_a_shadow_lies_in_a_package_of_its_own() -> None:
    text = "package a.b\n\nimport data.a.b.c\n\nx := data.a.b.y\n\nz := data.a.bc\n"
    assert _moved(text, "a.b", "s.d1") == "package s.d1\n\nimport data.s.d1.c\n\nx := data.s.d1.y\n\nz := data.a.bc\n"


def test_without_the_kyverno_command_a_kyverno_policy_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoPolicyEngine, match="name it with --kyverno"):
        Judge(JudgeSettings(tmp_path / "kyverno")).judge(kyverno())


def fake_kyverno(folder: Path, output: str, exit_code: int = 0) -> JudgeSettings:
    """A script in the place of the command, for what is made of its output; the real one is in tests/integration."""
    path = folder / "kyverno"
    path.write_text(
        f"#!/bin/sh\nif [ $1 = version ]; then echo Version: 9; exit; fi\ncat <<'E'\n{output}\nE\nexit {exit_code}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return JudgeSettings(path)


def result(of: str, at: int, rule: str = "host-pid", policy: str = "no-host-pid") -> dict[str, object]:
    return {
        "policy": policy,
        "rule": rule,
        "result": of,
        "message": "m",
        "resources": [{"uid": f"loomidi-sample-{at}"}],
    }


def report(*results: dict[str, object]) -> str:
    witnessed = [result("pass", at, "seen", "loomidi-witness") for at in range(len(ASKED))]
    return json.dumps({"kind": "ClusterReport", "results": [*results, *witnessed]})


ASKED = sorted((one for one in samples() if one.subject == "object"), key=lambda one: one.group != PROTECTED)
ALLOWED = next(at for at, sample in enumerate(ASKED) if sample.group == "allowed")


def test_results_of_kyverno_are_told_by_sample(tmp_path: Path) -> None:
    output = "Warning: policy.yaml: old\n" + report(result("fail", ALLOWED), result("pass", 0))
    found = Judge(fake_kyverno(tmp_path, output)).judge(kyverno())
    assert found.allowed_refused == (f"{ASKED[ALLOWED].told}: host-pid: m",)
    assert (found.engines, found.notes) == (("kyverno 9",), ("Warning: policy.yaml: old",))


def test_samples_that_kyverno_did_not_look_at_are_not_allowed_by_silence(tmp_path: Path) -> None:
    output = json.dumps({"results": [result("pass", 0, "seen", "loomidi-witness")]})
    with pytest.raises(NoPolicyEngine, match="looked at 1 of"):
        Judge(fake_kyverno(tmp_path, output)).judge(kyverno())


def test_a_rule_that_only_reports_is_a_warning_whatever_the_command_makes_of_it(tmp_path: Path) -> None:
    made = manifest()
    made["spec"]["rules"][0]["validate"]["failureAction"] = "Audit"
    judge = Judge(fake_kyverno(tmp_path, report(result("fail", 0, "autogen-host-pid"))))
    assert judge.judge(kyverno(made)).warned == (f"{ASKED[0].told}: autogen-host-pid: m",)
    with pytest.raises(PolicyBreaks):
        judge.judge(kyverno())


AUDIT, ENFORCE = {"failureAction": "Audit"}, {"failureAction": "Enforce"}


@pytest.mark.parametrize(
    ("spec", "rule", "refuses"),
    [
        ({"rules": [{"name": "a", "validate": ENFORCE}]}, "a", True),
        ({"rules": [{"name": "a", "validate": AUDIT}]}, "a", False),
        ({"rules": [{"name": "a", "validate": AUDIT}, {"name": "b", "validate": ENFORCE}]}, "autogen-b", True),
        ({"rules": [{"name": "a", "validate": AUDIT}]}, "no such rule", True),
        ({"rules": [{"name": "a", "validate": {}}]}, "autogen-cronjob-a", False),
        ({"rules": [{"name": "a", "validate": {}}], "validationFailureAction": "enforce"}, "a", True),
        ({"rules": [{"name": "a", "validate": AUDIT}], "validationFailureActionOverrides": [{}]}, "a", True),
        ({"rules": [{"name": "a", "validate": AUDIT | {"failureActionOverrides": [{}]}}]}, "a", True),
        ({"rules": [{"name": "a", "verifyImages": [{}]}]}, "a", True),
        ({"rules": [{"name": "a", "verifyImages": [AUDIT]}]}, "a", False),
    ],
)
def test_a_rule_refuses_unless_the_manifest_says_plainly_that_it_reports(
    spec: dict[str, object], rule: str, refuses: bool
) -> None:
    assert enforces({"kind": "ClusterPolicy", "spec": spec}, rule) is refuses


@pytest.mark.parametrize(
    ("actions", "refuses"), [(None, True), ([], True), (["Audit"], False), (["Audit", "Deny"], True), ("Audit", True)]
)
def test_a_validating_policy_refuses_unless_its_actions_leave_deny_out(actions: object, refuses: bool) -> None:
    assert enforces({"kind": "ValidatingPolicy", "spec": {"validationActions": actions}}, "") is refuses


def test_what_kyverno_does_not_take_is_told_in_its_words(tmp_path: Path) -> None:
    settings = fake_kyverno(tmp_path, "Invalid Policies:\n1. x: no such field")
    with pytest.raises(BadPolicy, match="no such field"):
        Judge(settings).judge(kyverno())
