"""What HTTP servers tell by their counters and histograms, by values computed by hand."""

from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.streams import Stream
from loomidi.loom.windows import Closer, WindowSettings, WindowSpec
from loomidi.loom.windows.requests import project
from loomidi.loom.windows.synthetic import START_NS
from tests.unit.loom.windows.building import SECOND, metric, metrics, rows

NAME = "http_server_request_duration_seconds"
SETTINGS = WindowSettings(specs=(WindowSpec(10, 10),))


def scrape(at: float, fast: int, slow: int, failed: int = 0) -> list[dict[str, Any]]:
    """Requests until now: `fast` took at most 0.1 s, `slow` up to 1 s, and `failed` of another status as long."""
    label = "http_response_status_code"
    return [
        metric(at, f"{NAME}_bucket", fast, le="0.1", **{label: "200"}),
        metric(at, f"{NAME}_bucket", fast + slow, le="1.0", **{label: "200"}),
        metric(at, f"{NAME}_bucket", fast + slow, le="+Inf", **{label: "200"}),
        metric(at, f"{NAME}_count", fast + slow, **{label: "200"}),
        metric(at, f"{NAME}_count", failed, **{label: "503"}),
        metric(at, "process_cpu_seconds_total", 5.0),
    ]


def windows(*scrapes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    samples: dict[int, list[pa.RecordBatch]] = {}
    for told in scrapes:
        start = (told[0]["timestamp"] - START_NS) // (10 * SECOND) * 10 * SECOND + START_NS
        samples.setdefault(start, []).append(project(metrics(told)))
    closer = Closer(SETTINGS)
    closed = closer.close({}, samples, START_NS + 1000 * SECOND)
    return [
        row for one in closed for row in rows(pa.Table.from_batches([one.rows])) if one.stream == Stream.ENTITY_WINDOWS
    ]


def test_the_growth_of_counters_is_what_was_requested() -> None:
    (row,) = windows(scrape(1, 100, 0), scrape(15, 108, 2, failed=10))
    assert (row["entity"], row["window_start"]) == ("pod/shop/cart-0", 10)
    assert (row["http_server_request_count"], row["http_server_error_count"]) == (20, 10)
    assert row["http_server_error_ratio"] == 0.5
    assert (row["client_delta_flow_count"], row["server_response_p50_ns"]) == (0, None)


def test_durations_lie_on_a_straight_line_within_their_bucket() -> None:
    """8 of 10 within 0.1 s: the fifth at 5/8 of it, the ninth halfway from 0.1 to 1 s."""
    (row,) = windows(scrape(1, 0, 0), scrape(15, 8, 2))
    assert row["http_server_request_duration_p50_s"] == pytest.approx(0.0625)
    assert row["http_server_request_duration_p90_s"] == pytest.approx(0.55)


def test_a_counter_that_fell_began_anew_at_zero() -> None:
    (row,) = windows(scrape(1, 100, 0), scrape(15, 3, 0))
    assert row["http_server_request_count"] == 3


def test_the_first_value_of_a_series_tells_nothing() -> None:
    assert windows(scrape(1, 100, 0)) == []


def test_a_server_that_counts_twice_is_counted_once() -> None:
    both = [
        [*scrape(at, value, 0), metric(at, "http_requests_total", value, code="200")] for at, value in ((1, 5), (12, 9))
    ]
    (row,) = windows(*both)
    assert row["http_server_request_count"] == 4
