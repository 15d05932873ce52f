"""Scraping real servers: the Python client's own exposition server, in both formats, and one that goes away."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from loomidi.loom.sources.exposition import is_stale
from loomidi.loom.sources.prometheus import Scraper, ScrapeSettings, Target, target_of


class Server:
    """A target with a counter and a histogram with exemplars."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls.", ["code"], registry=registry)
        self.took = Histogram("took_seconds", "How long.", registry=registry, unit="seconds")
        self._server, self._thread = start_http_server(0, addr="127.0.0.1", registry=registry)
        self.target: Target = target_of(f"demo=http://127.0.0.1:{self._server.server_port}")

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.end()


def rows(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.drop_columns(["timestamp", "received"]).to_pylist()]


async def scraped(target: Target, between: Any = None) -> list[pa.RecordBatch]:
    """Two scrapes of one target."""
    sent: list[pa.RecordBatch] = []

    async def send(batch: pa.RecordBatch) -> None:
        sent.append(batch)

    async with httpx.AsyncClient(trust_env=False) as client:
        scraper = Scraper([target], send, ScrapeSettings(every_s=5.0, timeout_s=2.0), client=client)
        await scraper.once(client, target)
        if between is not None:
            await asyncio.to_thread(between)
        await scraper.once(client, target)
    return sent


def test_counters_histograms_and_exemplars_of_a_real_server_come_through(server: Server) -> None:
    server.calls.labels("200").inc(3)
    server.took.observe(0.2, {"trace_id": "abc"})
    _, second = asyncio.run(scraped(server.target))
    found = {(row["metric_name"], dict(row["attributes"]).get("le")): row for row in rows([second])}
    assert found["calls_total", None]["value"] == 3.0
    assert (found["calls_total", None]["kind"], found["calls_total", None]["source_id"][:5]) == ("counter", "demo/")
    assert found["took_seconds_bucket", "+Inf"]["kind"] == "histogram_bucket"
    assert found["took_seconds_sum", None]["unit"] == "seconds"
    exemplars = [json.loads(row["extra"])["exemplar"]["labels"] for row in found.values() if row["extra"]]
    assert exemplars == [{"trace_id": "abc"}]
    assert found["up", None]["value"] == 1.0


def test_a_server_that_goes_away_leaves_its_series_stale(server: Server) -> None:
    server.calls.labels("200").inc()
    away = Server()
    away.calls.labels("500").inc()
    first, second = asyncio.run(scraped(away.target, away.end))
    shown = {row["metric_name"] for row in rows([first])} - {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
    stale = {row["metric_name"] for row in rows([second]) if is_stale(row["value"])}
    assert stale == shown
    assert next(row["value"] for row in rows([second]) if row["metric_name"] == "up") == 0.0
