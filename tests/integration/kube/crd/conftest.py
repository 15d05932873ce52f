"""One API server for the session, with the resources as they are committed."""

from collections.abc import Iterator

import pytest
import yaml

from tests.integration.kube.crd.definitions import DEFINITIONS, establish
from tests.integration.kube.crd.servers import Kube, running


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """The API server with both resources as they are committed."""
    with running(tmp_path_factory.mktemp("kube")) as kube:
        for path in DEFINITIONS:
            establish(kube, yaml.safe_load(path.read_text()))
        yield kube
