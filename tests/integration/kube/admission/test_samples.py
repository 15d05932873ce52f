"""Every sample of an admission policy, asked of a real API server."""

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.kube.admission.floors import Floor, applied, granted
from tests.integration.kube.admission.requests import Asked, policies, samples
from tests.integration.kube.operator.granting import RBAC

FOLDS = {"apiGroups": ["loomidi.io"], "resources": ["folds"], "verbs": ["get", "create", "patch"]}
KEYS = {"apiGroups": ["loomidi.io"], "resources": ["approverkeys"], "verbs": ["use"]}
KEY = KEYS | {"resourceNames": ["00112233445566ff"]}


@pytest.fixture(scope="session")
def people(admin: httpx.Client) -> None:
    """Alice may approve (`install`) and has a key; carol may write Folds, and approve none."""
    for name, user, rule in (("writes-folds", "carol", FOLDS), ("key-of-alice", "alice", KEY)):
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
        applied(admin, f"{RBAC}/clusterroles/{name}", role | {"rules": [rule]})
        granted(admin, name, user)


@pytest.fixture
def asked(request: pytest.FixtureRequest, floor: Floor, people: None) -> Iterator[Asked]:
    asked = Asked(floor, request.param)
    yield asked
    asked.close()


@pytest.mark.parametrize("asked", samples(), ids=str, indirect=True)
def test_a_sample_is_answered_as_it_says(asked: Asked) -> None:
    asked.prepared()
    answer = asked.answer()
    if "refused" in asked.told:
        assert answer.status_code in (403, 422), answer.text
        assert asked.told["refused"] in answer.json()["message"]
    else:
        assert answer.is_success, answer.text


def test_every_policy_has_samples_that_are_allowed_and_refused() -> None:
    def with_end(refused: bool) -> set[str]:
        return {one.policy for one in samples() if ("refused" in one.told) == refused}

    assert with_end(refused=True) == with_end(refused=False) == policies()


def test_a_sample_is_a_claim_of_its_own() -> None:
    says = [str(one) for one in samples()]
    assert sorted(set(says)) == sorted(says)
