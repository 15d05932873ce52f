"""One release of the chart for the tests that follow each other."""

from collections.abc import Iterator

import pytest

from loomidi_lab.cluster import Lab
from tests.integration.helm import charts
from tests.integration.lab.deployment.releases import Release
from tests.integration.lab.deployment.shops import Shop


@pytest.fixture(scope="module")
def release(imaged: Lab) -> Iterator[Release]:
    """Not installed yet; whatever a test leaves is removed."""
    space = {"metadata": {"name": charts.NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    imaged.api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", **space})
    yield Release(imaged)
    imaged.kubectl("delete", "crd", "folds.loomidi.io", "foldpolicies.loomidi.io", timeout_s=120, check=False)
    imaged.kubectl("delete", "namespace", charts.NAMESPACE, timeout_s=120, check=False)


@pytest.fixture(scope="module")
def shop(imaged: Lab) -> Iterator[Shop]:
    """A server and a client, on a node each."""
    shop = Shop(imaged)
    shop.open()
    yield shop
    shop.close()
