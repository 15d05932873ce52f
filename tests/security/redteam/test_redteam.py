"""A handful of attacks for real, in namespaces: found, cut, nobody honest harmed, everything taken back."""

import os
from collections.abc import Iterator

import pytest

from loomidi_lab.redteam.carrying import Carrying
from loomidi_lab.redteam.catalogue import chosen
from loomidi_lab.redteam.grounds import Ground, ground
from loomidi_lab.redteam.serving import missing

HANDFUL = ("syn-flood-6", "scan-syn", "flood-as-established", "scan-as-established", "arp-spoofing", "nd-spoofing")

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    if os.geteuid() != 0:
        pytest.skip("needs root: loads BPF programs and makes network namespaces")
    with ground() as made:
        yield made


@pytest.mark.parametrize("name", HANDFUL)
def test_it_is_found_and_nobody_honest_is_harmed(place: Ground, name: str) -> None:
    (attack,) = chosen([name])
    if lacking := missing(attack.needs):
        pytest.skip(f"{', '.join(lacking)} not installed; run tools/install_ebpf_deps.sh --redteam")
    row = Carrying(place, attack, "guarded").run()
    assert row.detected, row
    assert (row.lost_outside, row.connections_cut, row.collateral, row.others) == (0, 0, (), ())
    assert row.undone == row.entries
    assert row.balance


def test_nothing_is_left_of_a_ground(place: Ground) -> None:
    from pyroute2 import netns

    assert place.network.name_of("node") in netns.listnetns()
    place.network.close()
    assert place.network.name_of("node") not in netns.listnetns()
