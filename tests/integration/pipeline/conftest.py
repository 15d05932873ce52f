"""One pipeline of real processes for a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.pipeline.running import Pipeline


@pytest.fixture
def pipeline(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """Not started yet; whatever of it runs at the end is killed, and its log is shown when the test failed."""
    running = Pipeline(tmp_path)
    yield running
    running.close()
    print(running.log())
