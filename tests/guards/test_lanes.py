"""Lanes of tests that run beside each other: each names what is there, and what shares the machine is in its lane."""

import re
from pathlib import Path

import pytest

from tests import sharing

ROOT = Path(__file__).resolve().parents[2]
OF_THE_MACHINE = re.compile(r"mark\.kernel|netns|watch\.rooms")
TESTS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]


@pytest.mark.parametrize("place", [place for places in sharing.LANES.values() for place in places])
def test_a_lane_names_a_place_that_is_there(place: str) -> None:
    assert (ROOT / place).exists()


def test_what_makes_namespaces_or_loads_programs_is_in_the_lane_of_the_machine() -> None:
    real = [name for name in TESTS if name.startswith(("tests/integration/", "tests/contracts/"))]
    found = [name for name in real if OF_THE_MACHINE.search((ROOT / name).read_text())]
    assert found
    assert [name for name in found if sharing.lane(f"{name}::test") != "machine"] == []


def test_a_test_that_shares_nothing_has_the_lane_of_its_file() -> None:
    assert sharing.lane("tests/unit/kit/test_clock.py::test_a[b::c]") == "tests/unit/kit/test_clock.py"


def test_the_lane_of_the_machine_starts_first_and_what_is_short_last() -> None:
    starts = [sharing.urgency(f"{name}::test") for name in ("tests/integration/lab/x.py", "tests/unit/x.py")]
    assert starts == [0, len(sharing.FIRST)]
