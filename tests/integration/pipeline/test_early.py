"""A running pipeline tells a scan by windows that are still open. How soon is the bench's matter, not a test's."""

import asyncio
from pathlib import Path

import pytest

from bench.alert_delay import measured

pytestmark = [
    pytest.mark.required,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]  # it learns for minutes where it is busy


def test_a_scan_is_told_by_a_window_that_is_still_open_and_confirmed_or_taken_back(tmp_path: Path) -> None:
    told = asyncio.run(measured(tmp_path, 1, 1))
    print(told)
    assert None not in told["words"]
    assert told["counts"]["early"] >= 1
