"""An order counts only when it is genuine, for this node, timely, and of who leads now; each refusal has its reason."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from loomidi.ionic.errors import OrderRefused
from loomidi.ionic.orders import CUT, FRESH_S, LONGEST_S, RELEASE, KeySealer, Order, admit

NOW = 1_800_000_000_000_000_000
SEALER = KeySealer(b"k" * 32)
ORDER = Order(CUT, "n1", "plan-1", "signature", NOW, NOW + 60 * 10**9, 5, pod="uid-1", namespace="shop", name="cart")


def refused(document: Any, token: int = 5, node: str = "n1") -> str:
    with pytest.raises(OrderRefused) as error:
        admit(document, SEALER, node=node, token=token, now_ns=NOW)
    return error.value.reason


def changed(**fields: Any) -> dict[str, Any]:
    """Sealed by who holds the key."""
    return dataclasses.replace(ORDER, **fields).sealed(SEALER)


def test_a_sealed_order_comes_back_as_it_was_sent() -> None:
    assert admit(ORDER.sealed(SEALER), SEALER, node="n1", token=5, now_ns=NOW) == ORDER


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Order)])
def test_every_field_is_under_the_seal(field: str) -> None:
    document = ORDER.sealed(SEALER)
    value = document[field]
    other: Any = RELEASE if field == "verb" else value + 1 if isinstance(value, int) else f"{value}x"
    assert refused(document | {field: other}) == "forged"


def test_another_key_makes_no_seal_of_ours() -> None:
    assert refused(ORDER.sealed(KeySealer(b"x" * 32))) == "forged"
    assert refused(ORDER.sealed(SEALER) | {"seal": ""}) == "forged"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (changed(node="n2"), "wrong-node"),
        (changed(until_ns=NOW), "expired"),
        (changed(until_ns=NOW + round((LONGEST_S + FRESH_S + 1) * 1e9)), "too-long"),
        (changed(issued_ns=NOW - round((FRESH_S + 1) * 1e9)), "stale"),
        (changed(issued_ns=NOW + round((FRESH_S + 1) * 1e9)), "stale"),
        (changed(token=4), "old-token"),
        (changed(token=0), "old-token"),
    ],
)
def test_who_holds_the_key_is_bound_as_well(document: dict[str, Any], reason: str) -> None:
    assert refused(document) == reason


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda _: None,
        lambda _: [],
        lambda order: {name: value for name, value in order.items() if name != "seal"},
        lambda order: {name: value for name, value in order.items() if name != "plan_id"},
        lambda order: order | {"verb": "explode"},
        lambda order: order | {"token": "5"},
        lambda order: order | {"token": True},
        lambda order: order | {"more": 1},
    ],
)
def test_what_cannot_be_read_is_malformed(spoiled: Callable[[dict[str, Any]], Any]) -> None:
    assert refused(spoiled(ORDER.sealed(SEALER))) == "malformed"


def test_without_a_token_of_a_lease_nothing_counts() -> None:
    assert refused(changed(token=0), token=0) == "old-token"


def test_a_release_needs_no_end() -> None:
    order = Order(RELEASE, "n1", "", "", NOW, 0, 5, rule=7)
    assert admit(order.sealed(SEALER), SEALER, node="n1", token=5, now_ns=NOW) == order


def test_a_short_key_is_none() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        KeySealer(b"short")
