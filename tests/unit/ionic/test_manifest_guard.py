"""The policy library for Kubernetes manifests: every rule refuses, admits and answers, and nothing else is a yes."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import EnvironmentLacks, InputError
from loomidi.ionic.decide import ManifestGuard, load_library
from loomidi.ionic.decide.guards.library import PROFILES
from loomidi.ionic.manifests import read_manifests

LIBRARY = Path(__file__).resolve().parents[3] / "rules" / "guardrails" / "kubernetes"
RULES = load_library(LIBRARY).rules
PODS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob")
SEVERITIES = {"low", "medium", "high", "critical"}


@functools.cache
def whole_guard() -> ManifestGuard:
    return ManifestGuard(library=load_library(LIBRARY))


def against(manifest: dict[str, Any]) -> set[str]:
    return {verdict.rule for verdict in whole_guard().judge(manifest) if verdict.allow is not True}


def of_sample(folder: str, name: str) -> set[str]:
    """The rules against any object of a sample."""
    text = (LIBRARY / "samples" / folder / f"{name}.yaml").read_text()
    return set().union(*map(against, read_manifests(text)))


def a_workload(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A manifest of that kind around a pod."""
    template: dict[str, Any] = {"metadata": {"labels": {}}, "spec": spec}
    if kind == "Pod":
        return {"kind": kind} | template
    return {"kind": kind, "spec": {"jobTemplate": {"spec": {"template": template}}, "template": template}}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_refuses_its_refused_sample_and_admits_its_allowed_one(rule: str) -> None:
    assert rule in of_sample("refused", rule)
    assert rule not in of_sample("allowed", rule)


def test_a_workload_that_leaves_nothing_to_object_to_is_admitted_by_every_rule() -> None:
    assert of_sample("allowed", "a_whole_shop") == set()


def test_every_rule_gives_a_reason_for_its_refusal() -> None:
    for rule in RULES:
        (manifest,) = read_manifests((LIBRARY / "samples" / "refused" / f"{rule}.yaml").read_text())
        (verdict,) = [verdict for verdict in whole_guard().judge(manifest) if verdict.rule == rule]
        assert verdict.allow is False, verdict
        assert not verdict.reason.startswith("no answer"), verdict


@pytest.mark.parametrize("kind", PODS)
@pytest.mark.parametrize("field", ["containers", "initContainers", "ephemeralContainers"])
def test_pods_are_found_in_every_workload_and_containers_in_every_list(kind: str, field: str) -> None:
    bad = {"name": "x", "securityContext": {"privileged": True}}
    assert "privileged" in against(a_workload(kind, {"containers": [{"name": "web"}]} | {field: [bad]}))
    assert "privileged" not in against(a_workload(kind, {"containers": [{"name": "web"}]}))


def test_a_kind_that_nobody_knows_is_judged_by_the_pod_template_that_it_carries() -> None:
    spec = {"containers": [{"name": "web"}], "hostPID": True}
    assert "host_namespaces" in against({"kind": "Rollout", "spec": {"template": {"spec": spec}}})
    assert against({"kind": "Rollout", "spec": {}}) == set()


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"kind": 7},
        {"kind": "Pod"},
        {"kind": "Pod", "spec": None},
        {"kind": "Pod", "spec": {"containers": []}},
        {"kind": "Pod", "spec": {"containers": "web"}},
        {"kind": "Pod", "spec": {"containers": ["web"]}},
        {"kind": "Pod", "spec": {"containers": [{"name": "web", "securityContext": "none"}]}},
        {"kind": "Pod", "spec": {"containers": [{"name": "web"}], "volumes": {"name": "x"}}},
        {"kind": "Deployment", "spec": {"template": {}}},
        {"kind": "CronJob", "spec": {"template": {"spec": {"containers": [{"name": "web"}]}}}},
    ],
)
def test_what_is_not_shaped_as_the_api_asks_for_is_refused(manifest: dict[str, Any]) -> None:
    assert "well_formed" in against(manifest)


def test_a_role_that_is_not_shaped_as_the_api_asks_for_is_refused() -> None:
    assert "rbac_wildcard_verbs" in against({"kind": "Role", "rules": [{"verbs": "get"}]})


def test_text_of_the_manifest_neither_breaks_nor_forges_an_answer() -> None:
    name = '"], "holds": ["privileged\n\\'
    spec = {"containers": [{"name": name, "image": name, "securityContext": {"privileged": True}}]}
    verdicts = {verdict.rule: verdict for verdict in whole_guard().judge({"kind": "Pod", "spec": spec})}
    assert set(verdicts) == set(RULES)
    assert verdicts["privileged"].allow is False
    assert verdicts["host_path"].allow is True


def test_only_the_chosen_rules_answer_and_one_that_is_not_there_is_an_error() -> None:
    guard = ManifestGuard(("privileged", "host_path"), library=load_library(LIBRARY))
    assert [verdict.rule for verdict in guard.judge({"kind": "Service"})] == ["privileged", "host_path"]
    with pytest.raises(InputError, match="no such rule: nonsense"):
        ManifestGuard(("nonsense",), library=load_library(LIBRARY))


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_says_what_it_is_for_and_its_file_holds_no_other(rule: Any) -> None:
    assert rule.profile in PROFILES
    assert rule.severity in SEVERITIES
    assert min(map(len, (rule.title, rule.description, rule.remediation))) > 5
    assert set(re.findall(r'^(?:holds contains |reason\[)"(\w+)"', rule.text, re.MULTILINE)) == {rule.name}


def test_no_rule_negates_inside_every() -> None:
    # rego-cpp takes `every x in xs { not f(x) }` for true, whatever f says
    for path in LIBRARY.rglob("*.rego"):
        bodies = re.findall(r"^\s*every [^{]*\{([^}]*)\}", path.read_text(), re.MULTILINE)
        assert [body for body in bodies if re.search(r"\bnot\b", body)] == [], path.name


def test_a_profile_holds_the_milder_ones() -> None:
    sizes = [set(load_library(LIBRARY).of_profile(profile)) for profile in PROFILES]
    assert sizes[0] < sizes[1] < sizes[2] == set(RULES)


def test_a_library_that_is_not_there_or_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="no rules there"):
        load_library(tmp_path)
    (tmp_path / "bare.rego").write_text("package loomidi.guardrails.kubernetes\n")
    with pytest.raises(InputError, match="cannot use its METADATA"):
        load_library(tmp_path)


def test_a_rule_that_does_not_compile_denies_everything(tmp_path: Path) -> None:
    text = RULES["privileged"].text
    (tmp_path / "privileged.rego").write_text(text + "\nbroken if {\n")
    verdicts = ManifestGuard(library=load_library(tmp_path)).judge({"kind": "Service"})
    assert [(verdict.rule, verdict.allow) for verdict in verdicts] == [("privileged", None)]
