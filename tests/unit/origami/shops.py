"""Windows of a small shop out of nothing: workloads that talk as usual, releases among them, what may go wrong.

Read by tests of features, causes and the model's part of the pipeline. The same seed gives the same windows. Numbers
are plausible, not real.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITIES

SECOND = 10**9
START = 1_800_000_000 * SECOND
STEP_NS = 10 * SECOND
DB, CART, FRONT = "deployment/shop/db", "deployment/shop/cart", "deployment/shop/frontend"
SCANNER = "deployment/tenants/scanner"
CALLS = (  # source, destination, port, flows a window, response in s
    ("198.51.100.7", FRONT, 443, 40, 0.08),
    (FRONT, CART, 8080, 30, 0.03),
    (FRONT, "deployment/shop/catalog", 8080, 25, 0.02),
    (CART, DB, 5432, 30, 0.004),
    ("deployment/shop/catalog", DB, 5432, 20, 0.004),
    ("deployment/shop/orders", DB, 5432, 10, 0.004),
    (FRONT, "deployment/shop/orders", 8080, 10, 0.04),
    ("deployment/shop/orders", "deployment/shop/queue", 5672, 10, 0.003),
    *(
        ("deployment/monitoring/prometheus", f"deployment/shop/{name}", 9090, 1, 0.01)
        for name in ("frontend", "cart", "catalog", "orders", "db", "queue")
    ),
    *(
        (f"deployment/shop/{name}", "deployment/kube-system/dns", 53, 8, 0.001)
        for name in ("frontend", "cart", "catalog", "orders")
    ),
)


@dataclasses.dataclass
class Shop:
    """Gives one window of ten seconds after the other."""

    seed: int = 0
    at: int = 0  # windows so far
    slow: dict[str, float] = dataclasses.field(default_factory=dict)  # destination -> s on top
    failing: dict[str, float] = dataclasses.field(default_factory=dict)  # destination -> share of flows unanswered
    release: dict[str, int] = dataclasses.field(default_factory=dict)  # workload -> number of its release

    def windows(self, count: int) -> Iterator[pa.RecordBatch]:
        """The next ones; every seventh minute a workload gets a new release, as usual."""
        for _ in range(count):
            if self.at % 42 == 41:
                name = CALLS[1 + self.at // 42 % 6][1]
                self.release[name] = self.release.get(name, 0) + 1
            yield self.window()

    def window(self, *more: dict[str, Any]) -> pa.RecordBatch:
        """The next one, with rows beside the usual ones."""
        random = np.random.default_rng([self.seed, self.at])
        rows = [self._row(random, *call) for call in CALLS] + [self._strange(row) for row in more]
        self.at += 1
        return batch(rows)

    def scan(self, first: int, many: int = 40) -> pa.RecordBatch:
        """A window in which a stranger tries many ends, and nobody answers."""
        ends = [f"deployment/shop/target-{number}" for number in range(first, first + many)]
        return self.window(*({"source": SCANNER, "destination": end, "reset_flow_count": 9} for end in ends))

    def exfiltration(self, octets: int = 400_000_000) -> pa.RecordBatch:
        """A window in which the cart sends much to somebody outside."""
        sent = {"octet_delta_count": octets, "payload_octet_count": octets, "delta_flow_count": 3}
        return self.window({"source": CART, "destination": "203.0.113.9", **sent})

    @property
    def ns(self) -> int:
        """Begin of the next window."""
        return START + self.at * STEP_NS

    def _row(
        self, random: np.random.Generator, source: str, destination: str, port: int, *usual: float
    ) -> dict[str, Any]:
        flows = max(1, int(random.poisson(usual[0])))
        response = usual[1] + self.slow.get(destination, 0.0)
        for below, extra in self.slow.items():  # who waits for it is slow, too
            response += extra * any(call[0] == destination and call[1] == below for call in CALLS)
        failed = int(random.binomial(flows, self.failing.get(destination, 0.002)))
        octets = int(flows * 800 * random.lognormal(0, 0.2))
        return self._strange(
            {
                "source": source,
                "destination": destination,
                "destination_transport_port": port,
                "delta_flow_count": flows,
                "octet_delta_count": octets,
                "payload_octet_count": octets * 3 // 4,
                "reverse_octet_delta_count": octets * 4,
                "reverse_payload_octet_count": octets * 3,
                "unanswered_flow_count": failed,
                "response_count": flows - failed,
                "response_p50_ns": response * random.lognormal(0, 0.15) * 1e9,
                "handshake_count": flows - failed,
                "handshake_p50_ns": 200_000 * random.lognormal(0, 0.2),
                "source_transport_port_entropy": float(np.log2(flows + 1)),
                "flow_start_gap_variation": random.normal(1.0, 0.1),
            }
        )

    def _strange(self, row: dict[str, Any]) -> dict[str, Any]:
        start = self.ns
        filled = {"delta_flow_count": 9, "protocol_identifier": 6, "destination_transport_port": 80} | row
        flows = filled["delta_flow_count"]
        filled |= dict.fromkeys(("flow_record_count", "original_flows_completed"), flows)
        filled |= {"packet_delta_count": 6 * flows, "reverse_packet_delta_count": 5 * flows, "new_peer": False}
        filled |= {f"{name}_ratio": filled.get(f"{name}_flow_count", 0) / flows for name in ("unanswered", "reset")}
        times = {"window_start": start, "window_end": start + STEP_NS, "window_size_s": 10, "window_aligned": True}
        return filled | times | self._named(filled)

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        """Pods of the workloads; their names change with the release."""
        told: dict[str, Any] = {}
        for end in ("source", "destination"):
            kind, _, rest = row[end].partition("/")
            if kind == "deployment":
                told[f"{end}_workload"] = row[end]
                told[end] = f"pod/{rest}-r{self.release.get(row[end], 0)}-0"
        return told


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of EDGE_WINDOWS; what is not given is 0, or null where it may be."""
    columns = []
    for field in EDGE_WINDOWS:
        values = [row.get(field.name, None if field.nullable else 0) for row in rows]
        array = pa.array(values, pa.int64() if pa.types.is_timestamp(field.type) else field.type)
        columns.append(array.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=EDGE_WINDOWS)


def pods(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows of ENTITIES for pods of deployments: name, owner, node, revision, address, from and perhaps to."""
    told = []
    for row in rows:
        plain = dict.fromkeys(("uid", "cluster", "ports"), "") | {"kind": "Pod", "namespace": "shop", "to": None}
        plain |= {"owner_kind": "Deployment", "services": [], "seen": row["from"], "address": "10.0.0.1"} | row
        plain["labels"] = [("pod-template-hash", plain.pop("revision"))]
        told.append(plain)
    return pa.RecordBatch.from_pylist(told, schema=ENTITIES)
