"""One registry for the tests of this folder, and the real cosign."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks
from loomidi_lab.cluster import tools
from tests.integration.images.registries import Registry, serving
from tests.rungs import ran

CALL_S = 60

Cosign = Callable[..., str]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serving(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    """Call it in a folder of its own, where no configuration of the user is found."""
    try:
        binary = tools.binary("cosign")
    except EnvironmentLacks as error:
        pytest.skip(f"no cosign here: {error}")
    home = tmp_path_factory.mktemp("cosign")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "COSIGN_PASSWORD": ""}
    ran("cosign", tools.MODULES["cosign"].version)

    def call(*arguments: str, cwd: Path) -> str:
        done = subprocess.run(
            [str(binary), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call
