"""Every sample against the real API server: what is allowed is admitted, what is refused says what to do."""

import re
from pathlib import Path

import pytest
import yaml

from loomidi_lab.cluster.api import ApiRefused
from tests.integration.kube.crd.definitions import (
    ALLOWED,
    DEPLOYMENTS,
    FOLDS,
    POLICIES,
    REFUSED,
    collection,
    conditions,
    message,
    sample,
)
from tests.integration.kube.crd.servers import Kube

YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_both_definitions_become_established(kube: Kube) -> None:
    found = kube.api.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    state = {one["metadata"]["name"]: sorted(conditions(one)) for one in found}
    healthy = ["Established", "NamesAccepted"]
    assert state == {"folds.loomidi.io": healthy, "foldpolicies.loomidi.io": healthy}


@pytest.mark.parametrize("path", ALLOWED, ids=lambda path: path.stem)
def test_an_allowed_sample_is_admitted(kube: Kube, path: Path) -> None:
    obj = sample(path)
    made = kube.api.post(collection(obj), obj)
    assert contains(made["spec"], obj["spec"])


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_a_refused_sample_gets_its_message(kube: Kube, path: Path) -> None:
    obj = sample(path)
    with pytest.raises(ApiRefused) as refused:
        kube.api.post(collection(obj), obj)
    assert refused.value.status == 422
    assert message(path) in str(refused.value)


@pytest.mark.parametrize("block", YAML.findall((DEPLOYMENTS.parent / "docs" / "folds.md").read_text()))
def test_an_example_of_the_page_is_admitted(kube: Kube, block: str) -> None:
    obj = yaml.safe_load(block)
    obj["metadata"] = {"generateName": "page-"} | ({"namespace": "default"} if obj["kind"] == "Fold" else {})
    path = FOLDS if obj["kind"] == "Fold" else POLICIES
    assert kube.dry_run(path, obj)["spec"]["mode"] == "guarded"


def test_a_policy_that_says_the_least_is_cautious(kube: Kube) -> None:
    least = {"when": {"patterns": ["*"]}, "allow": [{"kind": "ISOLATE_POD"}]}
    kind = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"generateName": "least-"}}
    spec = kube.dry_run(POLICIES, kind | {"spec": least})["spec"]
    assert (spec["mode"], spec["ttl"]) == ("shadow", {"defaultSeconds": 300, "maxSeconds": 900})
    assert spec["brakes"]["caps"] == {"workload": 1, "namespace": "10%", "node": "20%", "total": 10}
    assert spec["brakes"]["storm"]["mode"] == "shadow"
    assert "kube-system" in spec["protect"]["namespaces"]
    assert spec["protect"]["selector"]["matchExpressions"][0]["key"] == "loomidi.io/protected"


def contains(made: object, given: object) -> bool:
    """Whether everything that was given is there; defaults may have come beside it."""
    if isinstance(given, dict) and isinstance(made, dict):
        return all(key in made and contains(made[key], value) for key, value in given.items())
    if isinstance(given, list) and isinstance(made, list):
        return len(made) == len(given) and all(map(contains, made, given))
    return made == given
