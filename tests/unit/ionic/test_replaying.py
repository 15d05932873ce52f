"""Replayed blast radius: which flows that were kept a fold would have cut, and which ways of users with them."""

from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts import FoldKind, FoldSpec, Match
from loomidi.ionic.decide.radius import networks
from loomidi.ionic.decide.replaying import MOST_PEERS, REPLAYED, replayed, unknown

SPAN = (1, 2)
FRONTEND, CART, REDIS = "deployment/shop/frontend", "deployment/shop/cart", "statefulset/shop/redis"
PODS = {FRONTEND: ("10.0.0.1", "pod/shop/frontend-0"), CART: ("10.0.0.2", "pod/shop/cart-0")}
PODS[REDIS] = ("10.0.0.3", "pod/shop/redis-0")


def call(source: str, destination: str, octets: int, port: int = 80, **more: Any) -> dict[str, Any]:
    """One sum of flows; an end is a workload of ours or an address."""
    row = dict.fromkeys(REPLAYED.names) | {"source_transport_port": -1, "destination_transport_port": port}
    for end, name in (("source", source), ("destination", destination)):
        address, entity = PODS.get(name, (name, None))
        row |= {f"{end}_ip_address": address, f"{end}_entity": entity}
        row |= {f"{end}_workload": name if name in PODS else None}
    return row | {"protocol_identifier": 6, "flows": 1, "octets": octets} | more


SHOP = (
    call("198.51.100.7", FRONTEND, 600),
    call("203.0.113.9", FRONTEND, 100),
    call(FRONTEND, CART, 200),
    call(CART, REDIS, 90, 6379),
    call("10.0.9.9", CART, 10, source_entity="node/n1"),
)
ISOLATION = FoldSpec(FoldKind.ISOLATE_POD, "pod/shop/cart-0", "isolate", Match(source="10.0.0.2"))
DROP = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "host/203.0.113.9", "drop", Match(source="203.0.113.9"))


def asked(fold: FoldSpec, *rows: dict[str, Any], **more: Any) -> Any:
    return replayed(fold, pa.Table.from_pylist([*(rows or SHOP)], REPLAYED), SPAN, **more)


def test_an_isolation_cuts_both_directions_and_names_peers_and_the_ways_of_users() -> None:
    told = asked(ISOLATION)
    assert (told.peers, told.flows, told.octets, told.share_of_octets) == (3, 3, 300, 0.3)
    assert told.named == ("pod/shop/frontend-0", "pod/shop/redis-0", "node/n1")
    assert told.paths == (f"users -> {FRONTEND} -> {CART}", f"users -> {FRONTEND} -> {CART} -> {REDIS}")


def test_who_is_dropped_from_outside_is_no_user() -> None:
    told = asked(DROP)
    assert (told.peers, told.octets, told.paths) == (1, 100, ())


def test_a_limit_on_a_service_touches_its_users_by_its_port() -> None:
    match = Match(destination="10.0.0.1", destination_port=80, protocol=6)
    limit = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "service/10.0.0.1:80/tcp", "rate", match)
    told = asked(limit)
    assert (told.octets, told.paths) == (700, (f"users -> {FRONTEND}",))
    other = FoldSpec(FoldKind.RECONFIGURE_NETWORK, limit.target, "rate", Match(destination="10.0.0.1", protocol=17))
    assert asked(other).octets == 0


def test_an_address_that_was_another_pods_then_is_not_counted_for_this_one() -> None:
    before = call(FRONTEND, CART, 50) | {"destination_entity": "pod/shop/cart-old"}
    assert asked(ISOLATION, before, call(CART, REDIS, 7)).octets == 7


def test_a_workload_that_is_named_alone_is_met_by_its_name() -> None:
    restart = FoldSpec(FoldKind.RESTART, "workload/shop/cart", "restart")
    assert asked(restart).octets == 300


def test_a_network_meets_every_address_in_it() -> None:
    near = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "network/203.0.113.0/24", "rate", Match(source="203.0.113.0/24"))
    assert asked(near).octets == 100


@pytest.mark.parametrize("kind", [FoldKind.SCALE_OUT, FoldKind.CORDON, FoldKind.RESIZE])
def test_what_cuts_nothing_would_have_cut_nothing(kind: FoldKind) -> None:
    told = asked(FoldSpec(kind, "workload/shop/cart", "any"))
    assert (told.state, told.peers, told.rows) == ("measured", 0, len(SHOP))


def test_the_protected_set_is_named_and_a_named_source_counts_by_itself() -> None:
    protected = networks(["10.0.0.3/32"])
    limit = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "service/10.0.0.3:6379/tcp", "rate", Match(destination="10.0.0.3"))
    assert asked(limit, protected=protected).protected == ("host/10.0.0.3",)
    assert asked(ISOLATION, protected=protected).protected == ()
    assert asked(DROP, call("203.0.113.9", REDIS, 1), protected=protected).protected == ()
    assert asked(DROP, protected=networks(["203.0.113.0/24"])).protected == ("host/203.0.113.9",)


def test_names_are_bounded_and_peers_count_all() -> None:
    many = [call(f"198.51.{at // 200}.{at % 200}", CART, 1) for at in range(MOST_PEERS + 36)]
    told = asked(ISOLATION, *many)
    assert (told.peers, len(told.named)) == (MOST_PEERS + 36, MOST_PEERS)


def test_nothing_that_was_kept_is_no_share() -> None:
    told = replayed(ISOLATION, REPLAYED.empty_table(), SPAN)
    assert (told.state, told.share_of_octets, told.paths) == ("measured", 0.0, ())


def test_what_is_not_known_says_why_in_one_line() -> None:
    told = unknown("the lake\nis away")
    assert (told.measured, told.why) == (False, "the lake is away")
