"""Entity ids read as addresses, ports and places in a cluster."""

import pytest

from loomidi.ionic.decide.places import Place, address, place


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        ("host/10.0.0.1", Place("host", "10.0.0.1", name="10.0.0.1")),
        ("network/203.0.113.0/24", Place("network", "203.0.113.0/24", name="203.0.113.0/24")),
        ("service/10.0.0.2:80/tcp", Place("service", "10.0.0.2", 80, 6, name="10.0.0.2:80/tcp")),
        ("service/[2001:db8::1]:53/udp", Place("service", "2001:db8::1", 53, 17, name="[2001:db8::1]:53/udp")),
        ("pod/shop/cart-0", Place("pod", namespace="shop", name="cart-0")),
        ("service/shop/cart:80/tcp", Place("service", "", 80, 6, namespace="shop", name="cart")),
        ("pod/shop/cart-0:6379/udp", Place("pod", "", 6379, 17, namespace="shop", name="cart-0")),
        ("service/shop/cart", Place("service", namespace="shop", name="cart")),
        ("node/n1", Place("node", name="n1")),
        ("host/not-an-address", Place("host", name="not-an-address")),
        ("", Place("")),
    ],
)
def test_an_entity_id_is_read(entity: str, expected: Place) -> None:
    assert place(entity) == expected


@pytest.mark.parametrize(
    ("text", "shortest"),
    [("10.0.0.1/32", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("10.0.0.9/24", "10.0.0.0/24"), ("x", "")],
)
def test_an_address_is_put_in_its_shortest_form(text: str, shortest: str) -> None:
    assert address(text) == shortest
