"""A lab's addresses are free of what the host routes, and lie inside one block."""

from ipaddress import IPv4Network as Net

import pytest

from loomidi.contracts.errors import Conflict, UsageError
from loomidi_lab.cluster import addressing
from loomidi_lab.cluster.addressing import Ranges, choose


def test_a_host_without_private_routes_gets_the_first_block() -> None:
    assert choose(routed=[]).block == "10.64.0.0/15"


def test_a_block_that_the_host_routes_even_in_part_is_passed_over() -> None:
    routed = [Net("10.65.7.0/24"), Net("10.66.0.1/32"), Net("192.168.0.0/16")]
    assert choose(routed=routed).block == "10.68.0.0/15"


def test_two_labs_side_by_side_do_not_overlap() -> None:
    first = choose(routed=[])
    second = choose(routed=[Net(first.pods), Net(first.services), Net(first.lan)])
    assert not Net(first.block).overlaps(Net(second.block))


def test_a_wanted_block_that_is_routed_is_refused_with_the_route() -> None:
    with pytest.raises(Conflict, match=r"10\.88\.0\.0/15 overlaps 10\.89\.1\.0/24"):
        choose("10.88.0.0/15", routed=[Net("10.89.1.0/24")])


@pytest.mark.parametrize("wanted", ["10.88.0.0/16", "8.8.0.0/15", "10.89.0.0/15", "pods", "fd00::/48"])
def test_a_block_that_cannot_be_one_is_refused_with_an_example(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"such as 10\.88\.0\.0/15"):
        choose(wanted, routed=[])


def test_nothing_free_is_said() -> None:
    with pytest.raises(Conflict, match="every /15"):
        choose(routed=[Net("10.0.0.0/8")])


def test_pods_services_and_lan_are_apart_and_inside_the_block() -> None:
    ranges = Ranges("10.64.0.0/15")
    parts = [Net(ranges.pods), Net(ranges.services), Net(ranges.lan)]
    assert all(part.subnet_of(Net(ranges.block)) for part in parts)
    assert not any(a.overlaps(b) for a in parts for b in parts if a is not b)


def test_every_possible_node_has_an_address_of_the_lan_and_pods_of_its_own() -> None:
    ranges = Ranges("10.64.0.0/15")
    numbers = range(1, addressing.MOST_NODES + 1)
    addresses = {ranges.node(number) for number in numbers} | {ranges.router, ranges.host, ranges.outside}
    assert len(addresses) == addressing.MOST_NODES + 3
    assert len({ranges.pods_of(number) for number in numbers}) == addressing.MOST_NODES
