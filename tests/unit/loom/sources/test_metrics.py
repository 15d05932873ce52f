"""Metrics: text of Prometheus targets, staleness, scrapes, and every type of OTLP in both encodings."""

import asyncio
import json
import math
from collections import Counter
from typing import Any

import httpx
import pyarrow as pa
import pytest

from loomidi.contracts.errors import Retryable, UsageError
from loomidi.contracts.schemas import METRICS
from loomidi.loom.sources.exposition import STALE, is_stale, samples
from loomidi.loom.sources.otlp import JSON, PROTOBUF, parse_otlp
from loomidi.loom.sources.prometheus import Scraped, Scraper, ScrapeSettings, Target, scrape_rows, target_of
from loomidi.loom.sources.rows import BadBody

TEXT = """# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
# TYPE latency histogram
latency_bucket{le="0.05"} 24054
latency_bucket{le="+Inf"} 144320
latency_sum 53423
latency_count 144320
# TYPE rpc summary
rpc{quantile="0.5"} 4773
rpc_sum 1.7560473e+07
rpc_count 2693
# TYPE up_time gauge
up_time 3.5
plain 1
"""
TARGET = Target("http://10.0.0.5:9100/metrics", "node", labels=(("zone", "a"),))
TIMES = ["timestamp", "received"]
PLAIN = "text/plain; version=0.0.4"


def kinds(text: str, content_type: str = PLAIN) -> dict[str, str | None]:
    return {one.name: one.kind for one in samples(text, content_type, Counter())}


def test_each_part_of_a_family_has_its_kind() -> None:
    assert kinds(TEXT) == {
        "http_requests_total": "counter",
        "latency_bucket": "histogram_bucket",
        "latency_sum": "histogram_sum",
        "latency_count": "histogram_count",
        "rpc": "summary",
        "rpc_sum": "summary",
        "rpc_count": "summary",
        "up_time": "gauge",
        "plain": None,
    }


def test_open_metrics_brings_units_and_exemplars() -> None:
    text = (
        "# TYPE call_seconds histogram\n# UNIT call_seconds seconds\n"
        'call_seconds_bucket{le="1.0"} 4 # {trace_id="abc"} 0.67 1520879607.789\n'
        'call_seconds_bucket{le="+Inf"} 5\ncall_seconds_sum 3.0\ncall_seconds_count 5\n# EOF\n'
    )
    first = samples(text, "application/openmetrics-text; version=1.0.0; charset=utf-8", Counter())[0]
    assert (first.unit, first.exemplar) == (
        "seconds",
        {"labels": {"trace_id": "abc"}, "value": 0.67, "timestamp": 1520879607.789},
    )


def test_one_bad_line_costs_itself_alone() -> None:
    refusals: Counter[str] = Counter()
    found = samples(TEXT + "what is this{\nafter 2\n", PLAIN, refusals)
    assert (len(found), found[-1].name, refusals["not a sample"]) == (11, "after", 1)
    assert found[1].kind == "histogram_bucket"


def scraped(text: str = TEXT, problem: str = "") -> Scraped:
    return Scraped(10**18, 0.25, text, PLAIN, problem)


def test_a_scrape_says_up_duration_and_samples() -> None:
    made, shown = scrape_rows(TARGET, scraped(), frozenset(), Counter())
    about = {row["metric_name"]: row["value"] for row in made[-3:]}
    assert about == {"scrape_duration_seconds": 0.25, "scrape_samples_scraped": 10.0, "up": 1.0}
    assert len(shown) == 10
    assert made[0]["timestamp"] == 1395066363 * 10**9
    assert made[0]["attributes"] == {"zone": "a", "method": "post", "code": "200"}
    assert made[0]["source_id"] == "node/10.0.0.5:9100"


def test_a_series_that_is_gone_and_a_target_that_is_down_are_stale() -> None:
    _, shown = scrape_rows(TARGET, scraped(), frozenset(), Counter())
    made, left = scrape_rows(TARGET, scraped("plain 1\n"), shown, Counter())
    stale = [row for row in made if is_stale(row["value"])]
    assert (len(stale), len(left)) == (9, 1)
    assert all(json.loads(row["extra"]) == {"stale": True} for row in stale)
    made, left = scrape_rows(TARGET, scraped(problem="no answer"), left, Counter())
    assert [row["value"] for row in made if row["metric_name"] == "up"] == [0.0]
    assert (made[0]["metric_name"], is_stale(made[0]["value"]), left) == ("plain", True, frozenset())


def test_a_target_that_shows_too_much_is_refused_as_a_whole() -> None:
    refusals: Counter[str] = Counter()
    made, _ = scrape_rows(TARGET, scraped(), frozenset(), refusals, most=8)
    assert (made[-1]["value"], refusals) == (0.0, {"scrapes with too many samples": 1})


@pytest.mark.parametrize(
    ("text", "url", "job"),
    [
        ("10.0.0.5:9100", "http://10.0.0.5:9100/metrics", ""),
        ("node=https://n1:10250/metrics/cadvisor", "https://n1:10250/metrics/cadvisor", "node"),
        ("http://n1/probe?target=a=b", "http://n1/probe?target=a=b", ""),
    ],
)
def test_targets_are_written_with_or_without_a_job(text: str, url: str, job: str) -> None:
    assert (target_of(text).url, target_of(text).job) == (url, job)


@pytest.mark.parametrize("text", ["", "ftp://x/metrics", "job="])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        target_of(text)


def scrape(handler: Any, settings: ScrapeSettings | None = None, times: int = 1) -> tuple[list[Any], Scraper]:
    sent: list[dict[str, Any]] = []

    async def send(batch: pa.RecordBatch) -> None:
        assert batch.schema == METRICS
        sent.extend(batch.drop_columns(TIMES).to_pylist())

    async def played() -> Scraper:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            scraper = Scraper([TARGET], send, settings, client=client)
            for _ in range(times):
                await scraper.once(client, TARGET)
            return scraper

    return sent, asyncio.run(played())


def test_a_target_is_asked_for_both_formats_and_its_answer_sent() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept"])
        return httpx.Response(200, text=TEXT, headers={"content-type": PLAIN})

    sent, scraper = scrape(answer)
    assert (len(sent), scraper.counts["samples"]) == (13, 10)
    assert asked[0].startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("response", "problem"),
    [(httpx.Response(503), "status 503"), (httpx.Response(200, content=b"x" * 2000), "more than 1000 octets")],
)
def test_an_answer_that_cannot_be_used_is_down_with_the_reason(response: httpx.Response, problem: str) -> None:
    sent, scraper = scrape(lambda _request: response, ScrapeSettings(most_octets=1000))
    assert (sent[-1]["metric_name"], sent[-1]["value"]) == ("up", 0.0)
    assert json.loads(sent[-1]["extra"]) == {"problem": problem}
    assert scraper.counters()["scrapes without an answer"] == 1


def test_a_scrape_that_cannot_be_sent_keeps_the_series_for_their_staleness() -> None:
    tried: list[int] = []

    async def send(batch: pa.RecordBatch) -> None:
        tried.append(batch.num_rows)
        if len(tried) == 1:
            raise Retryable("away")

    async def played() -> None:
        transport = httpx.MockTransport(lambda _request: httpx.Response(200, text="plain 1\n"))
        async with httpx.AsyncClient(transport=transport) as client:
            scraper, ending = Scraper([TARGET], send, ScrapeSettings(every_s=0.01, timeout_s=0.01)), asyncio.Event()
            scraper._client = client
            task = asyncio.create_task(scraper.run(ending))
            while len(tried) < 3:
                await asyncio.sleep(0)
            ending.set()
            await task
            assert scraper.counts["scrapes that could not be sent"] == 1

    asyncio.run(played())


# ---- OTLP


def point(**more: Any) -> dict[str, Any]:
    given = {"timeUnixNano": "1700000000000000000", "startTimeUnixNano": "1690000000000000000"}
    return given | {"attributes": [{"key": "route", "value": {"stringValue": "/cart"}}]} | more


EXEMPLAR = {
    "timeUnixNano": "1700000000000000001",
    "asDouble": 0.4,
    "spanId": "eee19b7ec3c1b174",
    "traceId": "5b8efff798038103d269b633813fc60c",
}
MET: list[dict[str, Any]] = [
    {"name": "temperature", "unit": "Cel", "gauge": {"dataPoints": [point(asDouble=21.5, exemplars=[EXEMPLAR])]}},
    {"name": "jobs", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point(asInt="7")]}},
    {"name": "open", "sum": {"aggregationTemporality": 1, "dataPoints": [point(asInt="-3")]}},
    {
        "name": "latency",
        "unit": "s",
        "histogram": {
            "aggregationTemporality": 2,
            "dataPoints": [
                point(count="6", sum=3.5, min=0.1, max=2.0, bucketCounts=["1", "2", "3"], explicitBounds=[0.5, 1])
            ],
        },
    },
    {
        "name": "sizes",
        "exponentialHistogram": {
            "aggregationTemporality": 2,
            "dataPoints": [
                point(
                    count="7",
                    sum=9,
                    scale=0,
                    zeroCount="1",
                    positive={"offset": 0, "bucketCounts": ["2", "3"]},
                    negative={"offset": 1, "bucketCounts": ["1"]},
                )
            ],
        },
    },
    {
        "name": "rpc",
        "summary": {"dataPoints": [point(count="4", sum=2, quantileValues=[{"quantile": 0.5, "value": 1}])]},
    },
]


def request(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    about = {"service.name": "cart", "k8s.namespace.name": "shop", "k8s.pod.name": "cart-0"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in about.items()]
    scope = {"scope": {"name": "meter", "version": "1"}, "metrics": metrics, "unknownField": 1}
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [scope]}]}


def encoded(metrics: list[dict[str, Any]], kind: str) -> bytes:
    if kind == JSON:
        return json.dumps(request(metrics)).encode()
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    from loomidi.loom.sources.otlp import _with_ids

    made: bytes = ParseDict(
        _with_ids(request(metrics)), ExportMetricsServiceRequest(), ignore_unknown_fields=True
    ).SerializeToString()
    return made


@pytest.fixture(params=[PROTOBUF, JSON + "; charset=utf-8"])
def told(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    kind = request.param
    return (
        parse_otlp(encoded(MET, JSON if kind.startswith(JSON) else kind), kind, received_ns=5)
        .drop_columns(TIMES)
        .to_pylist()
    )


def values(told: list[dict[str, Any]], name: str) -> list[tuple[str, float]]:
    return [(row["kind"], row["value"]) for row in told if row["metric_name"] == name]


def test_gauges_and_sums(told: list[dict[str, Any]]) -> None:
    assert values(told, "temperature") == [("gauge", 21.5)]
    assert values(told, "jobs") == [("counter", 7.0)]
    assert values(told, "open") == [("gauge", -3.0)]
    assert (told[0]["unit"], told[0]["entity"], told[0]["source_id"]) == ("Cel", "pod/shop/cart-0", "cart")


def test_exemplars_temporality_and_scope_are_kept(told: list[dict[str, Any]]) -> None:
    extra = json.loads(told[0]["extra"])
    assert extra["exemplars"] == [
        {
            "value": 0.4,
            "time_ns": 1700000000000000001,
            "trace_id": "5b8efff798038103d269b633813fc60c",
            "span_id": "eee19b7ec3c1b174",
        }
    ]
    assert (extra["scope"], json.loads(told[2]["extra"])["temporality"]) == ("meter 1", "delta")


def test_a_histogram_is_cumulative(told: list[dict[str, Any]]) -> None:
    assert values(told, "latency") == [
        ("histogram_bucket", 1.0),
        ("histogram_bucket", 3.0),
        ("histogram_bucket", 6.0),
        ("histogram_sum", 3.5),
        ("histogram_count", 6.0),
    ]
    latency = [row for row in told if row["metric_name"] == "latency"]
    assert [dict(row["attributes"])["le"] for row in latency[:3]] == ["0.5", "1", "+Inf"]
    assert json.loads(latency[-1]["extra"])["max"] == 2.0


def test_an_exponential_histogram_goes_from_the_most_negative_bound_up(told: list[dict[str, Any]]) -> None:
    sizes = [row for row in told if row["metric_name"] == "sizes"]
    bounds = [dict(row["attributes"]).get("le") for row in sizes]
    assert bounds == ["-2", "0", "2", "4", "+Inf", None, None]
    assert [row["value"] for row in sizes] == [1.0, 2.0, 4.0, 7.0, 7.0, 9.0, 7.0]
    assert json.loads(sizes[-1]["extra"])["positive"] == {"offset": 0, "counts": [2, 3]}


def test_a_summary_has_quantiles_sum_and_count(told: list[dict[str, Any]]) -> None:
    assert [row["value"] for row in told if row["metric_name"].startswith("rpc")] == [1.0, 2.0, 4.0]


def test_a_point_without_a_value_is_stale() -> None:
    batch = parse_otlp(encoded([{"name": "x", "gauge": {"dataPoints": [point(flags=1)]}}], PROTOBUF))
    assert is_stale(batch.column("value")[0].as_py())


def test_metrics_that_cannot_be_used_are_counted() -> None:
    refusals: Counter[str] = Counter()
    bad = [{"name": "x"}, {"name": "", "gauge": {"dataPoints": [point(asInt="1")]}}]
    bad.append({"name": "y", "gauge": {"dataPoints": [point(asInt="1", timeUnixNano=str(2**64 - 1))]}})
    assert parse_otlp(encoded(bad, JSON), JSON, refusals).num_rows == 0
    assert sorted(refusals) == ["metric without a name", "metric without data", "time beyond the year 2262"]


@pytest.mark.parametrize(("body", "kind"), [(b"\xff\xff", PROTOBUF), (b"{", JSON), (b"[]", JSON)])
def test_what_is_no_request_is_refused_as_a_whole(body: bytes, kind: str) -> None:
    with pytest.raises(BadBody):
        parse_otlp(body, kind)


def test_the_marker_is_told_from_other_values_that_are_none() -> None:
    assert is_stale(STALE)
    assert not is_stale(math.nan)


@pytest.mark.parametrize("scale", [-(2**31), -11, 20, 2**31 - 1])
def test_an_exponential_histogram_of_any_scale_is_read(scale: int) -> None:
    data = {"dataPoints": [point(count="1", scale=scale, positive={"offset": 2**31 - 1, "bucketCounts": ["1"]})]}
    batch = parse_otlp(encoded([{"name": "x", "exponentialHistogram": data}], PROTOBUF))
    assert batch.column("kind").to_pylist()[-1] == "histogram_count"
