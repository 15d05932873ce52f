"""Kyverno's admission controller and a real API server: what the rules refuse is refused, with our words, and no more.

The API server fills in defaults before it asks, so every sample is judged by the rules as the server sees it.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from loomidi.ionic.decide import ManifestGuard, load_library
from tests.integration.engines.conftest import Binary
from tests.integration.engines.controllers import kyverno_admission, until
from tests.integration.engines.samples import rules, samples
from tests.integration.kube.servers import kube_server
from tools.engines import KYVERNO, LIBRARY, policy_name, source

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
PATHS = {
    "cluster-policies": "/apis/kyverno.io/v1/clusterpolicies",
    "validating-policies": "/apis/policies.kyverno.io/v1/validatingpolicies",
}
LEAST = 140  # of the samples; the API server itself refuses the others, such as a hostPath with `..`
BAD = "refused-node-port-0"
CLUSTER_WIDE = ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")
TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


def place(manifest: Mapping[str, Any]) -> str:
    """Where an object of that kind is created."""
    kind = source()["kinds"][manifest["kind"]]
    base = f"/apis/{kind['group']}/{kind['version']}" if kind["group"] else f"/api/{kind['version']}"
    namespace = "" if manifest["kind"] in CLUSTER_WIDE else manifest["metadata"].get("namespace", "default")
    return f"{base}/{f'namespaces/{namespace}/' if namespace else ''}{kind['plural']}"


def tried(admin: httpx.Client, name: str) -> httpx.Response:
    """What the API server says to a sample, of which nothing stays."""
    manifest = completed(samples()[name])
    return admin.post(place(manifest), params={"dryRun": "All"}, json=manifest)


def completed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """With what the API server asks for and samples leave out: a selector, what a Job does at its end."""
    whole: dict[str, Any] = copy.deepcopy(dict(manifest))
    if whole["kind"] in TEMPLATED:
        whole["spec"]["selector"] = {"matchLabels": whole["spec"]["template"]["metadata"]["labels"]}
    if whole["kind"] in ("Job", "CronJob"):
        spec = whole["spec"] if whole["kind"] == "Job" else whole["spec"]["jobTemplate"]["spec"]
        spec["template"]["spec"].setdefault("restartPolicy", "Never")
    return whole


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kyverno") / "kyverno.log"


@pytest.fixture(scope="module")
def admin(binary: Binary, log: Path) -> Iterator[httpx.Client]:
    """An administrator of a server that asks Kyverno."""
    controller = binary("kyverno-controller")
    with kube_server(log.parent, controllers=False) as server, server.admin() as client:
        for name in {manifest["metadata"].get("namespace") for manifest in samples().values()} - {None, "default"}:
            client.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
        with kyverno_admission(server, client, controller, log.parent):
            yield client


@pytest.fixture(scope="module")
def taken(admin: httpx.Client) -> dict[str, dict[str, Any]]:
    """Name -> sample as the API server sees it, for those that it takes at all."""
    answers = {name: tried(admin, name) for name in samples()}
    return {name: answer.json() for name, answer in answers.items() if answer.is_success}


def refusing(path: Path) -> dict[str, Any]:
    """A policy as it is committed, told to refuse."""
    policy: dict[str, Any] = yaml.safe_load(path.read_text())
    if policy["kind"] == "ClusterPolicy":
        policy["spec"]["rules"][0]["validate"]["failureAction"] = "Enforce"
    else:
        policy["spec"]["validationActions"] = ["Deny"]
    return policy


def ready(policy: Mapping[str, Any]) -> bool:
    """In force at admission. Whether Kyverno's other controllers have their rights is not asked: they do not run."""
    status = policy.get("status", {})
    told = [*status.get("conditions", ()), *status.get("conditionStatus", {}).get("conditions", ())]
    conditions = {each["type"]: each["status"] for each in told}
    return "True" in (conditions.get("Ready"), conditions.get("WebhookConfigured"))


@pytest.fixture(scope="module", params=PATHS)
def policies(request: pytest.FixtureRequest, admin: httpx.Client, taken: Any, log: Path) -> Iterator[str]:
    """All policies of one kind, refusing."""
    path = PATHS[request.param]
    for file in sorted((KYVERNO / request.param).glob("*.yaml")):
        answer = admin.post(path, json=refusing(file))
        assert answer.is_success, f"{file.name}: {answer.text}"
    until(lambda: all(map(ready, admin.get(path).raise_for_status().json()["items"])), log)
    until(lambda: not tried(admin, BAD).is_success, log)
    yield request.param
    admin.delete(path).raise_for_status()
    until(lambda: tried(admin, BAD).is_success, log)


def test_what_the_rules_refuse_is_refused_by_admission_and_nothing_else(
    policies: str, admin: httpx.Client, taken: Mapping[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    guard = ManifestGuard(library=load_library(LIBRARY))
    differences, refused = [], 0
    for name, manifest in taken.items():
        ours = {verdict.rule for verdict in guard.judge(manifest) if verdict.allow is not True}
        answer = tried(admin, name)
        theirs = named(answer)
        refused += not answer.is_success
        if ours != theirs or answer.is_success == bool(ours):
            differences.append(f"{name}: {sorted(ours ^ theirs)}: {answer.text[:600]}")
    with capsys.disabled():
        print(f"\n{policies}: {len(taken)} samples at admission, {refused} refused")
    assert differences == []
    assert len(taken) >= LEAST


def named(answer: httpx.Response) -> set[str]:
    """The rules that a refusal names."""
    if answer.is_success:
        return set()
    message = answer.json()["message"]
    return {rule for rule in rules() if re.search(rf"{policy_name(rule)}\b(?!-)", message)}


def test_a_refusal_says_why_and_what_to_do(policies: str, admin: httpx.Client) -> None:
    answer = tried(admin, BAD)
    assert answer.status_code in (400, 403), answer.text
    message = answer.json()["message"]
    assert [word for word in ("No Service of type NodePort", "Use a ClusterIP") if word not in message] == []


def test_a_whole_shop_is_admitted(policies: str, admin: httpx.Client) -> None:
    shop = [name for name in samples() if name.startswith("allowed-a-whole-shop")]
    answers = [tried(admin, name) for name in shop]
    assert [answer.text for answer in answers if not answer.is_success] == []
