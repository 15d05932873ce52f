"""The Prometheus metrics that services share; what only one service has is defined in its file.

`serving`, `calling`, `stores` and the services set them; `/metrics` shows them beside the process's own (resident
memory, open files, processor time), which the client library brings.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

requests = Counter("shop_requests", "Requests answered", ["route", "method", "code"])
request_seconds = Histogram(
    "shop_request_seconds", "From the request to the end of its answer", ["route"], buckets=_FINE
)
in_flight = Gauge("shop_in_flight", "Requests being worked on")
errors = Counter("shop_errors", "Requests that failed by a fault", ["route", "kind"])

upstream_requests = Counter("shop_upstream_requests", "Calls answered by an upstream", ["upstream", "code"])
upstream_seconds = Histogram("shop_upstream_seconds", "One attempt of a call", ["upstream"], buckets=_FINE)
upstream_errors = Counter("shop_upstream_errors", "Attempts that failed", ["upstream", "kind"])
retries = Counter("shop_retries", "Second attempts, and those not sent, with the reason", ["upstream", "outcome"])
breaker_state = Gauge("shop_breaker_state", "0 closed, 1 half open, 2 open", ["upstream"])

store_up = Gauge("shop_store_up", "Whether the store answered last", ["store"])
store_errors = Counter("shop_store_errors", "Operations that failed", ["store", "kind"])
pool_size = Gauge("shop_pool_size", "Connections at most", ["store"])
pool_in_use = Gauge("shop_pool_in_use", "Connections lent out", ["store"])
pool_waiting = Gauge("shop_pool_waiting", "Tasks that wait for a connection", ["store"])
pool_wait_seconds = Histogram("shop_pool_wait_seconds", "Wait for a connection", ["store"], buckets=_FINE)
pool_timeouts = Counter("shop_pool_timeouts", "Waits that ended without a connection", ["store"])

queue_depth = Gauge("shop_queue_depth", "Messages waiting", ["queue"])
queue_oldest = Gauge("shop_queue_oldest_seconds", "Age of the message that waits longest", ["queue"])

spans = Counter("shop_spans", "Spans by what became of them", ["outcome"])
ready = Gauge("shop_ready", "Whether /readyz says yes")
loop_lag = Gauge("shop_loop_lag_seconds", "How late the event loop woke up last")
clock = Gauge("shop_clock_seconds", "Wall clock of the process, Unix time")
release = Gauge("shop_release_info", "Always 1", ["service", "release"])


def text() -> bytes:
    """All metrics in Prometheus' text format."""
    return bytes(generate_latest(REGISTRY))
