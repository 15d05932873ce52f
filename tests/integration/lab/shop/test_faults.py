"""What the shop does when something breaks: degrade, refuse, count, recover. Real stores, real processes, real bugs."""

import datetime
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from loomidi_lab.shop import certificates
from loomidi_lab.shop.app.settings import UPSTREAMS

pytestmark = pytest.mark.slow
WAIT_S = 20.0


def eventually(claim: Any, timeout_s: float = WAIT_S) -> Any:
    """The first true value of a claim; its last value when there was none in time."""
    until = time.monotonic() + timeout_s
    while not (value := claim()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


@pytest.fixture
def changed(local_shop: Any) -> Iterator[Any]:
    """Start services of the shop in another way; afterwards they are as before."""
    names: list[str] = []

    def change(service: str, **more: str) -> None:
        names.append(service)
        local_shop.restart(service, **more)

    yield change
    for service in names:
        local_shop.restart(service)


@pytest.fixture
def visitor(local_shop: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=local_shop.url("frontend"), timeout=10.0) as client:
        yield client


def count(local_shop: Any, service: str, name: str) -> float:
    return float(local_shop.metrics(service).get(name, 0.0))


class TestStores:
    def test_without_redis_the_pages_stand_and_the_cart_says_503(self, local_shop: Any, visitor: httpx.Client) -> None:
        local_shop.stop("redis")
        try:
            assert eventually(lambda: count(local_shop, "cart", 'shop_store_up{store="redis"}') == 0)
            assert visitor.get("/").status_code == 200
            assert visitor.get("/product/YA0000").status_code == 200
            assert visitor.get("/cart").status_code == 503
            assert httpx.get(f"{local_shop.url('cart')}/readyz").status_code == 200
        finally:
            local_shop.start_redis()
        assert eventually(lambda: visitor.get("/cart").status_code == 200)

    def test_without_postgres_products_are_shown_without_stock(self, local_shop: Any, visitor: httpx.Client) -> None:
        local_shop.stop("postgres")
        try:
            assert eventually(lambda: count(local_shop, "orders", 'shop_store_up{store="postgres"}') == 0)
            assert eventually(lambda: "ask us" in visitor.get("/product/YA0000").text)
            assert visitor.get("/orders").status_code == 503
        finally:
            local_shop.start_postgres()
        assert eventually(lambda: visitor.get("/orders").status_code == 200)


class TestUpstreams:
    def test_a_dead_upstream_is_refused_then_not_asked_any_more(self, local_shop: Any, visitor: httpx.Client) -> None:
        local_shop.stop("recommendations")
        try:
            kinds = {
                k: f'shop_upstream_errors_total{{kind="{k}",upstream="recommendations"}}'
                for k in ("refused", "breaker")
            }
            assert {visitor.get("/").status_code for _ in range(12)} == {200}
            assert count(local_shop, "frontend", kinds["refused"]) > 0
            assert count(local_shop, "frontend", kinds["breaker"]) > 0
            assert count(local_shop, "frontend", 'shop_breaker_state{upstream="recommendations"}') == 2
        finally:
            local_shop.start("recommendations")
            local_shop.wait_ready("recommendations")
        assert eventually(lambda: "You may like" in visitor.get("/").text)

    def test_a_name_that_is_not_there_is_a_dns_error(self, local_shop: Any, changed: Any) -> None:
        changed("frontend", RECOMMENDATIONS_URL="http://recommendations.invalid:1")
        assert httpx.get(local_shop.url("frontend")).status_code == 200
        assert count(local_shop, "frontend", 'shop_upstream_errors_total{kind="dns",upstream="recommendations"}') > 0

    def test_a_deadline_is_passed_on_and_kept(self, local_shop: Any, changed: Any) -> None:
        changed("payment", PAYMENT_SECONDS="5")
        changed("frontend", REQUEST_DEADLINE_S="1.0")
        with httpx.Client(base_url=local_shop.url("frontend")) as visitor:
            visitor.get("/")
            visitor.post("/cart/items", json={"sku": "YA0000"})
            answer = visitor.post("/checkout", json={})
        assert answer.status_code == 504
        kinds = ("timeout", "deadline")
        names = [f'shop_upstream_errors_total{{kind="{kind}",upstream="payment"}}' for kind in kinds]
        assert sum(count(local_shop, "orders", name) for name in names) > 0

    def test_an_expired_certificate_is_a_tls_error_and_a_new_one_is_taken_over(self, local_shop: Any) -> None:
        folder = local_shop.folder / "tls"
        before = {name: (folder / name).read_text() for name in ("tls.crt", "tls.key", "ca.crt")}
        authority = certificates.authority()
        ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

        def serve(not_after: datetime.datetime | None) -> None:
            pair = certificates.issue(authority, "payment", "shop", not_after=not_after, hosts=("localhost",))
            (folder / "tls.key").write_text(pair.key)
            (folder / "tls.crt").write_text(pair.certificate)

        def order() -> int:
            with httpx.Client(base_url=local_shop.url("frontend"), timeout=10.0) as visitor:
                visitor.get("/")
                visitor.post("/cart/items", json={"sku": "YA0000"})
                return visitor.post("/checkout", json={}).status_code

        (folder / "ca.crt").write_text(authority.certificate)
        try:
            serve(ended)
            for service in ("payment", "orders"):
                local_shop.restart(service)
            assert order() == 502
            assert count(local_shop, "orders", 'shop_upstream_errors_total{kind="tls",upstream="payment"}') > 0
            assert eventually(lambda: count(local_shop, "payment", "shop_tls_not_after_seconds") > 0)
            assert count(local_shop, "payment", "shop_tls_not_after_seconds") < time.time()
            serve(None)
            assert eventually(lambda: order() == 201)
        finally:
            for name, text in before.items():
                (folder / name).write_text(text)
            for service in ("payment", "orders"):
                local_shop.restart(service)


class TestReleases:
    def test_leaked_connections_use_up_the_pool(self, local_shop: Any, changed: Any, visitor: httpx.Client) -> None:
        changed("orders", SHOP_RELEASE="1.3-connection-leak", DATABASE_POOL_SIZE="2", DATABASE_POOL_WAIT_S="0.2")
        codes = [visitor.get("/orders").status_code for _ in range(4)]
        assert codes[:2] == [200, 200]
        assert codes[2:] == [503, 503]
        assert count(local_shop, "orders", 'shop_pool_in_use{store="postgres"}') == 2
        assert count(local_shop, "orders", 'shop_pool_timeouts_total{store="postgres"}') > 0

    def test_leaked_descriptors_end_at_the_limit(self, local_shop: Any, changed: Any) -> None:
        changed("shipping", SHOP_RELEASE="1.2-fd-leak", MAX_OPEN_FILES="48")
        codes = []
        with httpx.Client(base_url=local_shop.url("shipping")) as client:
            for _ in range(60):
                codes.append(client.get("/quotes").status_code)
                if codes[-1] >= 500:
                    break
        assert codes[0] == 200
        assert codes[-1] == 500

    def test_leaked_memory_grows_with_every_answer(self, local_shop: Any, changed: Any) -> None:
        changed("shipping", SHOP_RELEASE="1.1-memory-leak")
        before = count(local_shop, "shipping", "process_resident_memory_bytes")
        for _ in range(100):
            httpx.get(f"{local_shop.url('shipping')}/quotes")
        assert count(local_shop, "shipping", "process_resident_memory_bytes") - before > 20e6

    def test_a_crash_at_start_is_a_traceback(self, local_shop: Any) -> None:
        done = run(local_shop, "cart", SHOP_RELEASE="1.5-crash")
        assert done.returncode == 1
        assert "KeyError: 'SHOP_WAREHOUSE_REGION'" in done.stderr

    def test_one_that_is_never_ready_lives(self, local_shop: Any) -> None:
        local_shop.stop("shipping")
        local_shop.start("shipping", SHOP_RELEASE="1.7-never-ready")
        try:
            assert eventually(lambda: alive(local_shop.url("shipping")))
            assert httpx.get(f"{local_shop.url('shipping')}/readyz").status_code == 503
        finally:
            local_shop.restart("shipping")


class TestProcess:
    def test_a_bad_setting_ends_it_with_one_line(self, local_shop: Any) -> None:
        done = run(local_shop, "orders", DATABASE_POOL_SIZE="ten")
        assert done.returncode == 78
        line = json.loads(done.stdout)
        assert line["event"] == "configuration error"
        assert "DATABASE_POOL_SIZE" in line["reason"]
        assert done.stderr == ""

    def test_what_is_under_way_at_the_end_is_answered(self, local_shop: Any, changed: Any) -> None:
        changed("payment", PAYMENT_SECONDS="1.0")
        with httpx.Client(base_url=local_shop.url("frontend"), timeout=10.0) as visitor, ThreadPoolExecutor(1) as pool:
            visitor.get("/")
            visitor.post("/cart/items", json={"sku": "YA0000"})
            going = pool.submit(visitor.post, "/checkout", json={})
            assert eventually(lambda: count(local_shop, "payment", "shop_in_flight") == 1)
            assert local_shop.stop("payment") == 0
            assert going.result(20).status_code == 201
        local_shop.start("payment")
        local_shop.wait_ready("payment")

    def test_spans_that_nobody_takes_are_dropped_and_counted(self, local_shop: Any, changed: Any) -> None:
        changed("shipping", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", TRACE_BUFFER="20")
        for _ in range(100):
            assert httpx.get(f"{local_shop.url('shipping')}/quotes").status_code == 200
        assert eventually(lambda: count(local_shop, "shipping", 'shop_spans_total{outcome="dropped_full"}') >= 80)

    def test_the_report_counts_what_was_ordered(self, local_shop: Any, visitor: httpx.Client) -> None:
        visitor.get("/")
        visitor.post("/cart/items", json={"sku": "YA0000"})
        assert visitor.post("/checkout", json={}).status_code == 201
        done = run(local_shop, "report")
        assert done.returncode == 0
        line = json.loads(done.stdout.splitlines()[-1])
        assert line["event"] == "report written"
        assert line["rows"] >= 1

    def test_an_unknown_service_is_refused(self, local_shop: Any) -> None:
        done = run(local_shop, "nothing")
        assert done.returncode == 2
        assert all(name in done.stderr for name in UPSTREAMS)


def run(local_shop: Any, service: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = local_shop.environment(service if service in local_shop.ports else "shipping")
    words = [local_shop.python, str(local_shop.app), service]
    return subprocess.run(words, env={**environment, **more}, capture_output=True, text=True, timeout=30, check=False)


def alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.HTTPError:
        return False
