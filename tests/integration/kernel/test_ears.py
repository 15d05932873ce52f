"""A link that is listened to: what is delivered and what comes in, behind cuts and for chosen peers, real packets."""

import ipaddress
import socket
from collections.abc import Iterator, Sequence

import pytest

from loomidi.contracts.errors import Refused
from loomidi.loom.capture import spaces
from loomidi.loom.capture.ears import Ear, Network
from loomidi.loom.capture.xdp.cutting import LinkCuts
from tests.integration.kernel.test_cuts import GATE, cut, cuts, node, says, silent
from tests.integration.watch.rooms import NODE, POD_A, POD_B, A, B

pytestmark = pytest.mark.kernel
__all__ = ["cuts", "node"]  # fixtures


@pytest.fixture
def ears(cuts: LinkCuts) -> Iterator[list[Ear]]:
    made: list[Ear] = []
    yield made
    for ear in made:
        ear.close()


def listened(ears: list[Ear], networks: Sequence[str] = (), *, only_out: bool = False) -> Ear:
    chosen: list[Network] = [ipaddress.ip_network(one) for one in networks]
    with spaces.inside(NODE):
        ears.append(Ear(["vethb"], chosen, only_out=only_out))
    return ears[-1]


def test_each_direction_is_told_by_the_address_at_the_other_end(ears: list[Ear]) -> None:
    ear = listened(ears)
    assert says(POD_A, POD_B, B)
    assert says(POD_B, POD_A, A)
    heard = ear.heard()
    assert (heard.out.get(A), heard.come.get(A), heard.lost) == (1, 1, 0)
    assert not ear.heard().out


def test_behind_a_cut_nothing_is_delivered_but_for_the_node_and_what_is_sent_is_still_met(
    ears: list[Ear], cuts: LinkCuts
) -> None:
    cuts.put(cut("vethb"))
    both, out = listened(ears), listened(ears, only_out=True)
    assert silent(POD_A, POD_B, B)
    assert silent(POD_B, POD_A, A)
    assert says(NODE, POD_B, B)
    heard = both.heard()
    assert (heard.out, heard.come.get(A)) == ({GATE: 1}, 1)
    assert (out.heard().out, out.heard().come) == ({GATE: 1}, {})


def test_a_claimed_address_turns_no_direction(ears: list[Ear], cuts: LinkCuts) -> None:
    """A pod behind its cut that sends to itself in another's name, so as to look as if that were delivered."""
    cuts.put(cut("vethb"))
    ear = listened(ears)
    forged = bytes([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0]) + socket.inet_aton(A) + socket.inet_aton(B)
    with spaces.inside(POD_B), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as speaks:
        speaks.sendto(forged, ("eth0", 0x0800, 0, 0, b"\xff" * 6))
    heard = ear.heard()
    assert not heard.out
    assert heard.come == {B: 1}


@pytest.mark.parametrize(
    ("networks", "met"),
    [(["10.244.1.0/24"], True), ([A], True), (["192.0.2.0/24", "2001:db8::/33"], False), (["0.0.0.0/0"], True)],
)
def test_the_kernel_leaves_out_whom_nobody_asked_for(ears: list[Ear], networks: list[str], met: bool) -> None:
    ear = listened(ears, networks)
    assert says(POD_A, POD_B, B)
    assert bool(ear.heard().out.get(A)) is met


def test_a_link_that_is_not_there_is_named(node: None) -> None:
    with spaces.inside(NODE), pytest.raises(Refused, match="link nolink0"):
        Ear(["nolink0"])
