"""Kernel, twin and user-space meter give identical flow records for the same packets: every nDPI capture."""

import collections
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.loom.capture.xdp import loading
from tests.integration.kernel import replaying
from tests.integration.kernel.conftest import SECOND, Kernel, Traffic, Twin, frame

SIZES = {"watch": None, "flows": replaying.OUTER, "max_flows": 131_072}


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Any]]:
    """Loaded once: verifying takes longer than most captures."""
    made = {"xdp": Kernel(loading.XDP, **SIZES), "twin": Twin(**SIZES)}
    yield made
    for each in made.values():
        each.close()


def _at_zero(rung: Any) -> Any:
    """As new: nothing open, no time passed."""
    list(rung.shield.flush())
    if isinstance(rung, Twin):
        rung.shield._twin.clock_ns = 0
    else:
        rung._now = 0
    return rung


def _compare(rung: Any, packets: list[tuple[bytes, int, int]]) -> None:
    expected, found = replaying.by_meter(packets), replaying.by_rung(_at_zero(rung), packets)
    if replaying.goes_back(packets):
        assert replaying.totals(found) == replaying.totals(expected)
        return
    differing = [name for name in expected.schema.names if not expected[name].equals(found[name])]
    assert (found.num_rows, differing) == (expected.num_rows, [])


@pytest.mark.kernel
@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["xdp", "twin"])
def test_every_capture_gives_the_records_of_the_meter(
    programs: dict[str, Any], name: str, ndpi: Path, subtests_of: Callable[[str], Any]
) -> None:
    skipped: collections.Counter[str] = collections.Counter()
    for capture in sorted((ndpi / "pcap").iterdir()):
        with subtests_of(capture.name):
            _compare(programs[name], list(replaying.wrapped(capture, skipped)))
    assert set(skipped) <= {"link type 104 is not wrapped"}, skipped


@pytest.fixture
def subtests_of() -> Callable[[str], Any]:
    """Names the capture in a failure; the first one ends the test."""
    import contextlib

    @contextlib.contextmanager
    def naming(name: str) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error

    return naming


def _story() -> list[tuple[bytes, int, int]]:
    """Handshake, data, FIN both ways, a new SYN at once; silence beyond idle; a long flow that is cut; reordering."""
    a, b = ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")
    there, back = (40_000, 80), (80, 40_000)
    steps = [
        *((a, there, 0x02, 0, 0.0), (b, back, 0x12, 0, 0.01), (a, there, 0x10, 0, 0.02), (a, there, 0x18, 500, 0.03)),
        *((b, back, 0x18, 1400, 0.05), (a, there, 0x11, 0, 0.06), (b, back, 0x11, 0, 0.07), (a, there, 0x10, 0, 0.08)),
        *((a, there, 0x02, 0, 0.1), (b, back, 0x14, 0, 0.2), (a, there, 0x10, 0, 90.0), (a, there, 0x10, 9, 89.0)),
        *((b, back, 0x12, 0, 200.0), *((a, there, 0x10, 7, 201.0 + 30 * i) for i in range(8))),
    ]
    made = []
    for (source, target), ports, flags, payload, at_s in steps:
        octets = frame(source, target, ports=ports, flags=flags, payload=payload)
        made.append((octets, len(octets), round((1000 + at_s) * SECOND)))
    return made


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["xdp", "tc", "twin"])
def test_splits_directions_and_reordering_agree(kind: str) -> None:
    make = {
        "xdp": lambda: Kernel(loading.XDP, **SIZES),
        "tc": lambda: Traffic(loading.TC, **SIZES),
        "twin": lambda: Twin(**SIZES),
    }
    rung = make[kind]()
    try:
        _compare(rung, _story())
    finally:
        rung.close()
