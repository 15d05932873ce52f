"""What a load came to: counts by kind and quantiles, as a record, as JSON and as Prometheus text.

Filled by `sending`, read back by `driving`. Latency is counted from the moment a request was meant to be sent.
"""

import dataclasses
import json
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from loomidi.contracts.errors import InputError

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """A load, finished or so far."""

    seed: int
    started_ns: int
    seconds: float
    requests: int
    rate: float  # requests per second that were sent
    errors: dict[str, int]  # by kind: 5xx codes and what gave no answer
    refused: dict[str, int]  # 4xx codes
    p50_ms: float
    p95_ms: float
    p99_ms: float
    routes: dict[str, dict[str, float]]  # route -> count, p50_ms, p95_ms, p99_ms
    late_p99_ms: float  # how late the sender itself was
    late_most_ms: float
    processor_s: float  # of the sender

    @property
    def error_share(self) -> float:
        """Errors per request."""
        return sum(self.errors.values()) / self.requests if self.requests else 0.0

    def as_json(self) -> str:
        """One document."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def read(cls, path: Path) -> "LoadSummary":
        """Back from a file. Raises InputError."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is no summary of a load: {error}") from error


class Tally:
    """Counts while a load runs."""

    def __init__(self, seed: int, started_ns: int) -> None:
        self.seed, self.started_ns = seed, started_ns
        self.answers: Counter[tuple[str, str]] = Counter()  # (route, code or kind of failure)
        self._latency_ms: dict[str, array[float]] = {}
        self._late_ms = array("f")
        self.last_ns = started_ns
        self.in_flight = 0

    def count(self, route: str, outcome: str, latency_ms: float, late_ms: float, now_ns: int) -> None:
        """One request is over."""
        self.answers[route, outcome] += 1
        self._latency_ms.setdefault(route, array("f")).append(latency_ms)
        self._late_ms.append(late_ms)
        self.last_ns = max(self.last_ns, now_ns)

    def summary(self, processor_s: float) -> LoadSummary:
        """All so far."""
        kinds: Counter[str] = Counter()
        for (_, outcome), count in self.answers.items():
            kinds[outcome] += count
        everything = sorted(value for values in self._latency_ms.values() for value in values)
        total, late = len(everything), sorted(self._late_ms)
        seconds = max(1e-9, (self.last_ns - self.started_ns) / 1e9)
        good = {kind for kind in kinds if kind[:1] in "123"}
        refused = {kind: count for kind, count in kinds.items() if kind[:1] == "4"}
        p50, p95, p99 = (quantile(everything, q) for q in QUANTILES)
        return LoadSummary(
            seed=self.seed,
            started_ns=self.started_ns,
            seconds=seconds,
            requests=total,
            rate=total / seconds,
            errors={kind: count for kind, count in sorted(kinds.items()) if kind not in good and kind not in refused},
            refused=dict(sorted(refused.items())),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            routes={route: _of(sorted(values)) for route, values in sorted(self._latency_ms.items())},
            late_p99_ms=quantile(late, 0.99),
            late_most_ms=late[-1] if late else 0.0,
            processor_s=processor_s,
        )

    def prometheus(self) -> str:
        """Text format; the same names for every load."""
        lines = ["# TYPE load_requests_total counter"]
        for (route, outcome), count in sorted(self.answers.items()):
            lines.append(f'load_requests_total{{route="{route}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE load_latency_ms summary")
        for route, values in sorted(self._latency_ms.items()):
            recent = sorted(values[-2000:])
            lines += [f'load_latency_ms{{route="{route}",quantile="{q}"}} {quantile(recent, q):.3f}' for q in QUANTILES]
            lines.append(f'load_latency_ms_count{{route="{route}"}} {len(values)}')
        lines += ["# TYPE load_in_flight gauge", f"load_in_flight {self.in_flight}"]
        lines += ["# TYPE load_late_ms gauge", f"load_late_ms {max(self._late_ms[-200:], default=0.0):.3f}"]
        return "\n".join(lines) + "\n"


def quantile(ordered: "list[float]", share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 of nothing."""
    if not ordered:
        return 0.0
    place = max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))
    return ordered[place]


def _of(ordered: "list[float]") -> dict[str, float]:
    found = {f"p{round(q * 100)}_ms": quantile(ordered, q) for q in QUANTILES}
    return {"count": float(len(ordered)), **found}
