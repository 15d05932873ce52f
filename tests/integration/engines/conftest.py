"""The engines of others, as `loomidi-lab build --with kyverno --with gatekeeper` makes them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks
from loomidi_lab.cluster import tools
from tests.rungs import ran

Binary = Callable[[str], Path]


@pytest.fixture(scope="session")
def binary() -> Binary:
    """A built binary, or a skip with the reason."""

    def find(command: str) -> Path:
        try:
            path = tools.binary(command)
        except EnvironmentLacks as error:
            pytest.skip(f"no {command} here: {error}")
        (module,) = [module for module in tools.MODULES.values() if command in module.commands]
        ran(command, module.version)
        return path

    return find
