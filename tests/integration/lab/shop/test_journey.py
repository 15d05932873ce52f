"""A visitor buys something: pages, metrics, traces and the mail that follows, on loopback."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest


def eventually(claim: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """The first true value of a claim; its last value when there was none in time."""
    until = time.monotonic() + timeout_s
    while not (value := claim()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


@pytest.fixture
def visitor(local_shop: Any) -> Any:
    with httpx.Client(base_url=local_shop.url("frontend")) as client:
        yield client


def buy(visitor: httpx.Client, sku: str = "YA0000") -> httpx.Response:
    assert visitor.get("/").status_code == 200
    assert visitor.post("/cart/items", json={"sku": sku, "quantity": 2}).status_code == 201
    return visitor.post("/checkout", json={})


class TestPages:
    def test_every_page_answers(self, visitor: httpx.Client) -> None:
        paths = ["/", "/category/yarn", "/product/YA0000", "/search?q=linen", "/cart", "/orders", "/static/style.css"]
        paths += ["/static/shop.js", "/static/YA0000.svg", "/api/products?q=wool", "/api/cart"]
        assert [(path, visitor.get(path).status_code) for path in paths if visitor.get(path).status_code != 200] == []

    def test_what_is_not_there_is_404(self, visitor: httpx.Client) -> None:
        paths = ["/product/XX9999", "/category/cars", "/static/nothing", "/orders/999999", "/nowhere"]
        assert {visitor.get(path).status_code for path in paths} == {404}

    def test_bad_input_is_refused_with_400(self, visitor: httpx.Client) -> None:
        assert (
            visitor.post("/cart/items", content=b"{", headers={"content-type": "application/json"}).status_code == 400
        )

    def test_a_visitor_buys_and_sees_the_order(self, visitor: httpx.Client) -> None:
        answer = buy(visitor)
        assert answer.status_code == 201
        order = answer.json()
        assert order["status"] == "sent"
        assert order["payment"].startswith("P")
        assert str(order["id"]) in visitor.get("/orders").text
        assert visitor.get("/api/cart").json()["lines"] == []

    def test_the_same_key_is_one_order(self, visitor: httpx.Client) -> None:
        visitor.get("/")
        visitor.post("/cart/items", json={"sku": "YA0000"})
        first = visitor.post("/checkout", json={"key": "once-only"}).json()
        assert visitor.post("/checkout", json={"key": "once-only"}).json() == first


class TestMetrics:
    def test_a_request_is_counted_by_route_and_code(self, local_shop: Any, visitor: httpx.Client) -> None:
        name = 'shop_requests_total{code="200",method="GET",route="/category"}'
        before = local_shop.metrics("frontend").get(name, 0.0)
        visitor.get("/category/yarn")
        assert local_shop.metrics("frontend")[name] == before + 1

    def test_a_process_shows_what_it_holds(self, local_shop: Any) -> None:
        found = local_shop.metrics("orders")
        wanted = ["process_resident_memory_bytes", "process_open_fds", "shop_in_flight", "shop_loop_lag_seconds"]
        wanted += [
            'shop_pool_size{store="postgres"}',
            'shop_store_up{store="postgres"}',
            'shop_queue_depth{queue="mail"}',
        ]
        assert [name for name in wanted if name not in found] == []
        assert found['shop_store_up{store="redis"}'] == 1

    def test_payment_shows_the_end_of_its_certificate(self, local_shop: Any) -> None:
        end = local_shop.metrics("payment")["shop_tls_not_after_seconds"]
        assert 29 * 86_400 < end - time.time() <= 30 * 86_400


class TestTraces:
    def test_a_checkout_is_one_tree_over_all_services_and_the_queue(
        self, local_shop: Any, visitor: httpx.Client
    ) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        visitor.get("/")
        visitor.post("/cart/items", json={"sku": "YA0000"})
        header = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert visitor.post("/checkout", json={}, headers=header).status_code == 201

        def mine() -> list[dict[str, Any]]:
            return [span for span in local_shop.spans.spans if span["traceId"] == trace]

        services = {"frontend", "orders", "cart", "catalog", "payment", "shipping", "mailer"}
        assert eventually(lambda: {span["service"] for span in mine()} >= services)
        known = {span["spanId"]: span for span in mine()}
        roots = [span for span in known.values() if span["parentSpanId"] not in known]
        assert [(span["service"], span["parentSpanId"]) for span in roots] == [("frontend", "00f067aa0ba902b7")]
        consumer = next(span for span in known.values() if span["kind"] == 5)
        assert known[consumer["parentSpanId"]]["kind"] == 4
        for span in known.values():
            above = known.get(span["parentSpanId"])
            if span["kind"] == 2 and above is not None:
                assert above["kind"] == 3
                assert above["service"] != span["service"]

    def test_the_mail_is_sent(self, local_shop: Any, visitor: httpx.Client) -> None:
        name = 'shop_mail_total{outcome="sent"}'
        before = local_shop.metrics("mailer").get(name, 0.0)
        assert buy(visitor).status_code == 201
        assert eventually(lambda: local_shop.metrics("mailer").get(name, 0.0) > before)
