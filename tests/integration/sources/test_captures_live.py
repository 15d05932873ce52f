"""Captures in this process: links that come and go, links that refuse a program, and sums that hold all the while."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from loomidi.loom.capture import open_shield, spaces
from loomidi.loom.flows.links import LIVE
from loomidi.loom.sources.capturing import Capture, Taken, packets_in
from loomidi.loom.sources.mixing import MixedCapture
from loomidi.loom.sources.shields import ShieldCapture
from loomidi.loom.sources.sockets import SocketCapture
from tests.integration.watch.rooms import NODE, POD_A, ip, rooms, silence, talk, until

pytestmark = [pytest.mark.kernel, pytest.mark.required]
FILTERS = [(NODE, "veth?")]


@pytest.fixture(autouse=True, scope="module")
def machine() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and BPF need root")
    with rooms():
        yield


@pytest.fixture(params=["shield", "sockets", "mixed"])
def capture(request: pytest.FixtureRequest) -> Iterator[Capture]:
    made: Capture
    if request.param == "sockets":
        made = SocketCapture(FILTERS)
    else:
        shields = ShieldCapture(FILTERS)
        made = shields if request.param == "shield" else MixedCapture(shields, LIVE)
    yield made
    made.close()


def adds_up(capture: Capture) -> bool:
    tallies = capture.tallies().values()
    sums = [one.packets["received"] == sum(one.packets.values()) - one.packets["received"] for one in tallies]
    return all(sums) and all(one.open >= 0 for one in tallies)


def extra(name: str) -> None:
    """One more link at the node, whose other end sends a few packets into it."""
    ip("-n", NODE, "link", "add", name, "type", "veth", "peer", "name", "far", "netns", POD_A)
    for room, device in ((NODE, name), (POD_A, "far")):
        silence(room, device)
        ip("-n", room, "link", "set", device, "up")
    ip("-n", POD_A, "addr", "add", "10.9.9.1/24", "dev", "far")


def test_a_link_that_comes_and_goes_is_counted_to_its_end(capture: Capture) -> None:
    place, taken = f"{NODE}/vethx", list[Taken]()

    def seen() -> bool:
        taken.extend(capture.take())
        return place in capture.tallies()

    for _ in range(2):  # the second time it is another link of the same name
        extra("vethx")
        until(seen, "the link is not seen")
        talk(5)
        assert seen()
        assert adds_up(capture)
        ip("-n", NODE, "link", "del", "vethx")
        assert seen()
    taken += capture.finish()
    flown = sum(packets_in(one.flows) for one in taken)
    tallies = capture.tallies()
    assert place in tallies
    assert adds_up(capture)
    assert all(one.open == 0 for one in tallies.values())
    assert flown == sum(one.packets["accounted"] for one in tallies.values()) >= 20


def test_a_link_that_refuses_a_program_has_a_socket() -> None:
    with contextlib.ExitStack() as stack:
        with spaces.inside(NODE):
            stack.enter_context(open_shield("vetha"))
        mixed = MixedCapture(ShieldCapture(FILTERS), LIVE)
        stack.callback(mixed.close)
        talk(20)
        until(lambda: sum(one.packets["accounted"] for one in mixed.tallies().values()) >= 60, "not accounted")
        mixed.finish()
        rungs = {name: one.rung for name, one in mixed.tallies().items()}
        assert rungs[f"{NODE}/vetha"] == "sockets"
        assert rungs[f"{NODE}/vethb"] != "sockets"
        assert mixed.rung == "mixed"
        assert any("has a shield already" in line for line in mixed.problems)
        assert adds_up(mixed)
