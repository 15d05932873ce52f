"""Every sample against the real API server: what is allowed is admitted, what is refused says what to do."""

from pathlib import Path

import pytest

from loomidi_lab.cluster.api import ApiRefused
from tests.integration.kube.definitions import ALLOWED, REFUSED, collection, conditions, message, sample
from tests.integration.kube.servers import Kube


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


def contains(made: object, given: object) -> bool:
    """Whether everything that was given is there; defaults may have come beside it."""
    if isinstance(given, dict) and isinstance(made, dict):
        return all(key in made and contains(made[key], value) for key, value in given.items())
    if isinstance(given, list) and isinstance(made, list):
        return len(made) == len(given) and all(map(contains, made, given))
    return made == given
