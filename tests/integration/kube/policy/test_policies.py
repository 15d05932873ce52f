"""Kyverno policies on a real API server: applied as ours, verified, taken back, never written over somebody else's."""

import secrets

import httpx
import pytest

from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.errors import BadPolicy, ClusterDenies, PolicyHeld, PolicyNotInForce
from loomidi.ionic.policies import FAULTS, PolicyType, read_policy
from tests.integration.kube.policy.stages import ASKER, Stage, document


@pytest.fixture
def name() -> str:
    return f"p-{secrets.token_hex(4)}"


def message(stage: Stage, policy: object) -> str | None:
    """Of the rule in the cluster; None when there is no object."""
    found = stage.found(policy)  # type: ignore[arg-type]
    return found["spec"]["rules"][0]["validate"]["message"] if found else None


def test_a_policy_is_applied_as_ours_and_active_once_kyverno_says_ready(stage: Stage, name: str) -> None:
    policy = stage.deploy(document(name))
    found = stage.found(policy)
    assert found is not None
    assert {entry["manager"] for entry in found["metadata"]["managedFields"] if entry["operation"] == "Apply"} == {
        "loomidi/policy"
    }
    assert found["metadata"]["annotations"]["loomidi.io/policy-digest"] == policy.digest
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "loomidi"
    assert stage.standing(name) == "Active"


def test_one_that_nobody_says_is_ready_is_taken_back(stage: Stage, name: str) -> None:
    stage.ready = None
    with pytest.raises(PolicyNotInForce, match="no Kyverno has said that it is ready"):
        stage.deploy(document(name))
    assert stage.now is not None
    assert stage.found(stage.now) is None
    assert stage.standing(name) == "Error"


def test_a_second_version_that_fails_gives_the_first_one_back(stage: Stage, name: str) -> None:
    first = stage.deploy(document(name, "one"))
    stage.ready = False
    with pytest.raises(PolicyNotInForce, match="not ready: bad"):
        stage.deploy(document(name, "two"))
    assert message(stage, first) == "one"
    stage.say(first, ready=True)
    assert (stage.standing(name), stage.shelf.in_force(name)) == ("Active", 1)


def test_an_object_that_is_not_ours_is_never_written_over(stage: Stage, name: str) -> None:
    theirs = document(name, "theirs")
    assert stage.admin.post("/apis/kyverno.io/v1/clusterpolicies", json=theirs).is_success
    with pytest.raises(PolicyHeld, match="in the cluster and not ours"):
        stage.deploy(document(name, "ours"))
    assert message(stage, stage.now) == "theirs"


def test_what_the_api_server_refuses_is_told_in_its_words(stage: Stage, name: str) -> None:
    wrong = document(name)
    wrong["spec"]["rules"][0]["validate"]["mesage"] = "a slip"
    with pytest.raises(BadPolicy, match="mesage"):
        stage.deploy(wrong)
    assert stage.standing(name) == "Error"


def test_what_somebody_changed_in_the_cluster_is_an_error(stage: Stage, name: str) -> None:
    policy = stage.deploy(document(name))
    change = [{"op": "replace", "path": "/spec/rules/0/validate/message", "value": "changed"}]
    headers = {"Content-Type": "application/json-patch+json"}
    assert stage.admin.patch(stage.engine.place(policy), json=change, headers=headers).is_success
    status = stage.deployer.status(name)
    assert status is not None
    assert (status.standing.value, "somebody has changed the spec" in status.reasons[0]) == ("Error", True)
    stage.admin.delete(stage.engine.place(policy))
    assert stage.standing(name) == "Error"


def test_back_to_the_version_before_and_out_of_the_cluster(stage: Stage, name: str) -> None:
    for text in ("one", "two"):
        policy = stage.deploy(document(name, text))
    stage.now = read_policy(name, PolicyType.KYVERNO, stage.shelf.versions(name)[0].content)
    assert stage.deployer.rollback(name, None, ASKER) == 1
    assert (message(stage, policy), stage.standing(name)) == ("one", "Active")
    assert stage.deployer.rollback(name, None, ASKER) == 0
    assert (stage.found(policy), stage.standing(name)) == (None, "Inactive")


def test_a_policy_of_a_namespace_and_a_validating_policy_are_taken_too(stage: Stage, name: str) -> None:
    inside = document(name, namespace="default") | {"kind": "Policy"}
    stage.deploy(inside)
    assert stage.standing(name) == "Active"
    constraints = {
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    }
    spec = {
        "matchConstraints": constraints,
        "validations": [{"expression": "!has(object.spec.hostPID)", "message": "no"}],
    }
    head = {"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "metadata": {"name": f"{name}-cel"}}
    stage.deploy(head | {"spec": spec})
    assert stage.standing(f"{name}-cel") == "Active"


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_anywhere_store_and_cluster_agree_after_the_next_start(stage: Stage, name: str, fault: str) -> None:
    stage.deploy(document(name, "one"))
    stage.ready = not fault.startswith("undone")
    stage.die(fault, lambda: stage.deploy(document(name, "two")))
    stage.deployer.settle()
    number = stage.shelf.in_force(name)
    version = stage.shelf.version(name, number)
    assert version is not None
    assert message(stage, stage.now) == ("two" if fault == "recorded" else "one")
    assert f'"message": "{message(stage, stage.now)}"' in version.content
    assert stage.shelf.open_steps() == []


def test_violations_are_read_from_the_reports_of_the_cluster(stage: Stage, name: str) -> None:
    result = {"policy": name, "rule": "host-pid", "result": "fail", "message": "no", "source": "kyverno"}
    report = {
        "apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport", "metadata": {"name": name},
        "scope": {"kind": "Pod", "namespace": "default", "name": "web"},
        "results": [result, result | {"result": "pass"}],
    }  # fmt: skip
    path = "/apis/wgpolicyk8s.io/v1alpha2/namespaces/default/policyreports"
    assert stage.admin.post(path, json=report).is_success
    opened = report | {"apiVersion": "openreports.io/v1alpha1", "kind": "Report"}
    answer = stage.admin.post("/apis/openreports.io/v1alpha1/namespaces/default/reports", json=opened)
    assert answer.is_success, answer.text
    stage.reports.look({name})
    assert stage.reports.problem == ""
    (told,), beyond = stage.reports.tally.of(name)
    assert (told["rule"], told["resource"], told["count"], told["source"], beyond) == (
        "host-pid", "Pod default/web", 2, "kyverno", 0,
    )  # fmt: skip


def test_violations_are_read_from_the_constraints_of_gatekeeper(stage: Stage, name: str) -> None:
    path = "/apis/constraints.gatekeeper.sh/v1beta1/k8snolatest"
    head = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": "K8sNoLatest"}
    metadata = {"name": f"c-{name}", "annotations": {"loomidi.io/policy": name}}
    assert stage.admin.post(path, json=head | {"metadata": metadata, "spec": {}}).is_success
    found = [{"kind": "Pod", "namespace": "default", "name": "web", "message": "no", "enforcementAction": "deny"}]
    status = {"auditTimestamp": "2026-11-26T12:00:00Z", "totalViolations": 3, "violations": found}
    headers = {"Content-Type": "application/merge-patch+json"}
    assert stage.admin.patch(f"{path}/c-{name}/status", json={"status": status}, headers=headers).is_success
    stage.reports.look({name})
    assert stage.reports.problem == ""
    entries, _ = stage.reports.tally.of(name)
    assert sorted((each["count"], each["resource"], each["source"]) for each in entries) == [
        (1, "Pod default/web", "gatekeeper"),
        (2, "", "gatekeeper"),
    ]


def test_without_the_role_it_is_told_and_nothing_is_written(stage: Stage, name: str, operator: httpx.Client) -> None:
    stage.engine._api = KubeApi(operator)
    with pytest.raises(ClusterDenies, match="deployments/rbac"):
        stage.deploy(document(name))
    assert stage.shelf.steps(name) == []
