"""What a policy may be at all: every reason is told, and nothing is taken that changes, calls out or hides."""

import json
from typing import Any

import pytest

from loomidi.ionic.errors import BadPolicy
from loomidi.ionic.policies import PolicyType, read_policy
from loomidi.ionic.policies.reading import CONTENT_OCTETS, judges_objects, judges_plans, verdict_rules
from tests.unit.ionic.policies.ruling import kyverno, manifest, rego

GOOD = rego().content


def reasons(name: str, kind: PolicyType, content: str) -> str:
    with pytest.raises(BadPolicy) as raised:
        read_policy(name, kind, content)
    return "\n".join(raised.value.reasons)


def test_a_policy_of_each_type_is_read() -> None:
    assert rego().package == "shop.images"
    assert kyverno().manifest["kind"] == "ClusterPolicy"


def test_the_digest_is_of_type_and_text_and_not_of_the_name() -> None:
    assert rego().digest == rego(name="other").digest != rego(":edge").digest


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "a/b", "a b", "a" * 64, "status", "deploy", "test"])
def test_a_name_is_a_label_and_no_path_of_the_api(name: str) -> None:
    assert "policy_name" in reasons(name, PolicyType.REGO, GOOD)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ("a\x00b", "control characters"),
        ("\ud800", "surrogate"),
        ("#" * (CONTENT_OCTETS + 1), "make two policies of it"),
    ],
)
def test_a_text_that_is_no_text_is_refused(content: str, why: str) -> None:
    assert why in reasons("x", PolicyType.REGO, content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("deny contains 1 if true", "this has 0"),
        (GOOD + "package other\n", "this has 2"),
        ('package a["b"]\ndeny := 1\n', "not a plain path"),
        (GOOD.replace("shop.images", "loomidi.guardrails.base"), "would change what our guards say"),
        (GOOD.replace("shop.images", "loomidi"), "is reserved"),
        (GOOD.replace("shop.images", "system.authz"), "it rules OPA itself"),
        (GOOD.replace("some container", "x := http . send({}); some container"), "http.send reaches beyond"),
        (GOOD.replace("some container", "x := opa.runtime(); some container"), "opa.runtime reaches beyond"),
        ("package a\n\nimport rego.v1\n\nnames contains 1 if true\n", "gives a verdict"),
    ],
)
def test_rego_that_hides_reaches_out_or_says_nothing_is_refused(content: str, why: str) -> None:
    assert why in reasons("x", PolicyType.REGO, content)


def test_words_in_comments_and_texts_are_not_calls() -> None:
    text = GOOD + '\n# http.send is not used\nnote := "opa.runtime"\npath := `package other`\n'
    assert read_policy("x", PolicyType.REGO, text).package == "shop.images"


def test_all_reasons_are_told_at_once() -> None:
    content = "package system.x\n\np := http.send({})\n"
    assert reasons("x", PolicyType.REGO, content).count("\n") == 2


def test_what_a_policy_asks_about_is_told_by_its_input() -> None:
    plans = "package a\nimport rego.v1\ndeny contains 1 if input.plan.mode == 1\n"
    assert (judges_plans(plans), judges_objects(plans)) == (True, False)
    assert (judges_plans(GOOD), judges_objects(GOOD)) == (False, True)
    assert verdict_rules("package a\ndefault allow := false\nviolation contains 1 if true\n") == ("violation", "allow")


def changed(path: str, value: Any) -> str:
    """The good manifest with one place changed; None takes it out."""
    document: Any = manifest("x")
    *way, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    holder = document
    for step in way:
        holder = holder[step]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: [", "not a manifest"),
        ("x: &a [1]\ny: *a\nkind: Pod\n", "aliases"),
        (json.dumps(manifest("x")) + "\n---\n" + json.dumps(manifest("y")), "holds 2 objects"),
        (changed("kind", "MutatingPolicy"), "is not taken: send a ClusterPolicy"),
        (changed("apiVersion", "kyverno.io/v9"), "no version 'v9'"),
        (changed("metadata/name", "y"), "they must be the same"),
        (changed("metadata/namespace", "shop"), "has no namespace"),
        (changed("kind", "Policy"), "needs metadata.namespace"),
        (changed("metadata/finalizers", ["a/b"]), "the API server's to set"),
        (changed("metadata/labels", {"a": 1}), "object of texts"),
        (changed("status", {}), "Kyverno's to write"),
        (changed("extra", 1), "no field of a ClusterPolicy"),
        (changed("spec", None), "spec is missing"),
        (changed("spec/rules", []), "at least one rule"),
        (changed("spec/rules/0/name", None), "rule 1 has no name"),
        (changed("spec/rules/0/match", None), "matches nothing"),
        (changed("spec/rules/0/validate", None), "neither validates nor verifies"),
        (changed("spec/rules/0/mutate", {}), "changes the cluster with Kyverno's rights"),
        (changed("spec/rules/0/generate", {}), "changes the cluster with Kyverno's rights"),
        (changed("spec/rules/0/context", [{"apiCall": {"service": {"url": "http://a"}}}]), "calls a service"),
        ('{"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "metadata": {"name": "x"}, '
         '"spec": {"validations": []}}', "at least one validation"),
    ],
)  # fmt: skip
def test_kyverno_that_is_malformed_changes_things_or_calls_out_is_refused(content: str, why: str) -> None:
    assert why in reasons("x", PolicyType.KYVERNO, content)
