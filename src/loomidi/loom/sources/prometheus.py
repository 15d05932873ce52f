"""Prometheus targets, scraped like Prometheus does it: `up`, duration, staleness, a limit on samples.

Called by `services`. In: a list of targets. Out: one batch of `METRICS` per scrape, handed to `send`. A series that a
scrape no longer shows ends with a stale marker, and so do all of a target that does not answer. Leaves finding of
targets to the configuration; a target that is slow delays itself alone.
"""

import asyncio
import contextlib
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import pyarrow as pa

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.kit.waiting import told_within
from loomidi.loom.sources import rows
from loomidi.loom.sources.exposition import STALE, Sample, is_stale, samples
from loomidi.loom.sources.rows import Refusals

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
Series = tuple[str, tuple[tuple[str, str], ...]]
Send = Callable[[pa.RecordBatch], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One thing to scrape."""

    url: str  # with scheme and path, such as http://10.0.0.5:9100/metrics
    job: str = ""  # empty: the URL's host
    instance: str = ""  # empty: the URL's host and port
    entity: str | None = None  # "pod/shop/cart-0", where it is known whose figures these are
    labels: tuple[tuple[str, str], ...] = ()  # added to each series, those of the target win

    @property
    def source_id(self) -> str:
        """`job/instance`."""
        found = httpx.URL(self.url)
        host = found.host + (f":{found.port}" if found.port else "")
        return f"{self.job or found.host}/{self.instance or host}"


@dataclasses.dataclass(frozen=True, slots=True)
class ScrapeSettings:
    """How often and how patiently."""

    every_s: float = 15.0
    # Between two scrapes of one target; targets are spread over it.
    timeout_s: float = 10.0
    # For the whole answer; not longer than `every_s`.
    most_samples: int = 100_000
    # Of one scrape; a target that shows more is refused as a whole, and `up` is 0.
    most_octets: int = 64 << 20
    # Of one answer, as above.

    def __post_init__(self) -> None:
        """Raises UsageError for times that make no sense."""
        if not 0 < self.timeout_s <= self.every_s:
            raise UsageError(f"timeout_s {self.timeout_s:g}: use more than 0 and at most every_s ({self.every_s:g})")


def target_of(text: str) -> Target:
    """`http://host:9100/metrics`, or `job=http://host:9100/metrics`. Raises UsageError."""
    job, equals, url = text.partition("=")
    if not equals or "://" in job:
        job, url = "", text
    found = httpx.URL(url if "://" in url else f"http://{url}")
    if found.scheme not in ("http", "https") or not found.host:
        raise UsageError(f"{text!r} is no target; write http://HOST:PORT/metrics or JOB=http://HOST:PORT/metrics")
    return Target(str(found.copy_with(path="/metrics") if found.path in ("", "/") else found), job)


@dataclasses.dataclass(frozen=True, slots=True)
class Scraped:
    """One answer; a problem instead of a text when there was none."""

    at_ns: int
    took_s: float
    text: str = ""
    content_type: str = ""
    problem: str = ""


def scrape_rows(
    target: Target, scraped: Scraped, before: frozenset[Series], refusals: Refusals, most: int = 100_000
) -> tuple[list[dict[str, Any]], frozenset[Series]]:
    """The rows of one scrape, and the series that it showed. `before`: those of the scrape before it."""
    found: list[Sample] = []
    problem = scraped.problem
    if not problem:
        found = samples(scraped.text, scraped.content_type, refusals)
        if len(found) > most:
            problem, found = f"more than {most} samples", []
            refusals["scrapes with too many samples"] += 1
    shown = frozenset(one.series for one in found)
    made = [_row(target, scraped.at_ns, one) for one in found]
    made += [_stale(target, scraped.at_ns, series) for series in sorted(before - shown)]
    for name, value in _about(scraped, problem, len(found)):
        made.append(_row(target, scraped.at_ns, Sample(name, value, "gauge", None, {}, None, None)))
    if problem:
        made[-1]["extra"] = rows.compact({"problem": problem})
    return made, shown


def _about(scraped: Scraped, problem: str, count: int) -> list[tuple[str, float]]:
    """What Prometheus itself says of a scrape; `up` comes last."""
    return [
        ("scrape_duration_seconds", scraped.took_s),
        ("scrape_samples_scraped", float(count)),
        ("up", float(not problem)),
    ]


def _row(target: Target, at_ns: int, one: Sample) -> dict[str, Any]:
    extra: dict[str, Any] = {"exemplar": one.exemplar} if one.exemplar else {}
    if is_stale(one.value):
        extra["stale"] = True
    return {
        "timestamp": at_ns if one.at_s is None else round(one.at_s * 1e9),
        "source_id": target.source_id,
        "metric_name": one.name,
        "value": one.value,
        "kind": one.kind,
        "unit": one.unit,
        "attributes": dict(target.labels) | one.labels,
        "entity": target.entity,
        "extra": rows.compact(extra) if extra else None,
        "received": at_ns,
    }


def _stale(target: Target, at_ns: int, series: Series) -> dict[str, Any]:
    name, labels = series
    return _row(target, at_ns, Sample(name, STALE, None, None, dict(labels), None, None))


class Scraper:
    """Scrapes targets until it is told to end."""

    def __init__(
        self,
        targets: Sequence[Target],
        send: Send,
        settings: ScrapeSettings | None = None,
        *,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        """`client`: for certificates and tokens, or tests; else a plain one is made."""
        self.settings = settings or ScrapeSettings()
        self.counts: Counter[str] = Counter()
        self.refusals: Refusals = Counter()
        self._targets, self._send, self._client = tuple(targets), send, client
        self._shown: dict[Target, frozenset[Series]] = {}

    def counters(self) -> Mapping[str, int]:
        """Scrapes, failures, samples, refusals by cause."""
        return dict(self.counts) | {f"refused: {cause}": count for cause, count in self.refusals.items()}

    async def run(self, ending: asyncio.Event) -> None:
        """Every target on its own, until `ending`."""
        async with contextlib.AsyncExitStack() as stack:
            client = self._client
            if client is None:
                client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
            async with asyncio.TaskGroup() as group:
                for target in self._targets:
                    group.create_task(self._follow(client, target, ending))

    async def once(self, client: httpx.AsyncClient, target: Target) -> int:
        """One scrape; how many rows were sent."""
        scraped = await self._fetch(client, target)
        before = self._shown.get(target, frozenset())
        made, shown = scrape_rows(target, scraped, before, self.refusals, self.settings.most_samples)
        self.counts["scrapes"] += 1
        self.counts["scrapes without an answer"] += bool(scraped.problem)
        self.counts["samples"] += len(shown)
        await self._send(rows.metrics(made))
        self._shown[target] = shown
        return len(made)

    async def _follow(self, client: httpx.AsyncClient, target: Target, ending: asyncio.Event) -> None:
        due = time.monotonic() + random.uniform(0, min(self.settings.every_s, 1.0) / 2)
        while not ending.is_set():
            if await told_within(ending, max(due - time.monotonic(), 0.001)):
                return
            due = max(due + self.settings.every_s, time.monotonic())
            try:
                await self.once(client, target)
            except Retryable:
                self.counts["scrapes that could not be sent"] += 1

    async def _fetch(self, client: httpx.AsyncClient, target: Target) -> Scraped:
        at_ns, began = time.time_ns(), time.monotonic()
        text, kind, problem = "", "", ""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                text, kind = await self._answer(client, target)
        except TimeoutError:
            problem = f"no answer within {self.settings.timeout_s:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, ConnectionError) as error:
            problem = str(error) or type(error).__name__
        return Scraped(at_ns, time.monotonic() - began, text, kind, problem)

    async def _answer(self, client: httpx.AsyncClient, target: Target) -> tuple[str, str]:
        octets = bytearray()
        async with client.stream("GET", target.url, headers={"Accept": ACCEPT}) as response:
            if response.status_code != httpx.codes.OK:
                raise ConnectionError(f"status {response.status_code}")
            async for chunk in response.aiter_bytes():
                octets += chunk
                if len(octets) > self.settings.most_octets:
                    raise ConnectionError(f"more than {self.settings.most_octets} octets")
            return octets.decode("utf-8", "replace"), response.headers.get("content-type", "")
