"""What came in, what was taken, what was refused and why: as rows of the loss balance and as Prometheus samples.

Called by every file of this folder (`add`), by the pipeline (`batch`) and by the probes (`exposed`). Two components:
rows under an Idempotency-Key are counted as `ingest-keyed`, because their ids outlive a run of this service.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa

from loomidi.contracts.schemas import COUNTERS
from loomidi.services.shared import counting
from loomidi.services.shared.probes import Sample

COMPONENT = "ingest"
KEYED = "ingest-keyed"
_NOTHING = pa.RecordBatch.from_pylist([], COUNTERS)
_NAMES = ("component", "stage", "stream", "scope", "name", "unit")


class Counts:
    """Counters of one run. Only added to in the loop's thread."""

    def __init__(self, node: str, epoch: int) -> None:
        self.node, self.epoch = node, epoch
        self._values: Counter[tuple[str, ...]] = Counter()
        self._seconds: Counter[str] = Counter()  # path -> us, of requests answered

    def add(
        self, stage: str, place: tuple[str, str], unit: str, values: Mapping[str, int], *, keyed: bool = False
    ) -> None:
        """`place`: stream and scope. `values`: name -> how many more."""
        for name, value in values.items():
            if value:
                self._values[KEYED if keyed else COMPONENT, stage, str(place[0]), str(place[1]), name, unit] += value

    def request(self, path: str, outcome: str, octets: int, seconds: float) -> None:
        """One answer. `outcome`: accepted or the reason of the problem."""
        self._values[COMPONENT, "request", "", path, outcome, "requests"] += 1
        self._values[COMPONENT, "request", "", path, "received" if outcome == "accepted" else outcome, "octets"] += (
            octets
        )
        self._seconds[path] += round(seconds * 1e6)

    def value(self, stage: str, name: str, unit: str, *, keyed: bool | None = None) -> int:
        """The sum over streams and scopes."""
        components = {None: (COMPONENT, KEYED), False: (COMPONENT,), True: (KEYED,)}[keyed]
        return sum(
            value
            for (component, at, _stream, _scope, found, of), value in self._values.items()
            if (at, found, of) == (stage, name, unit) and component in components
        )

    def batch(self, now_ns: int) -> pa.RecordBatch:
        """All of them, as of now, in the schema `COUNTERS`."""
        parts = [self._of(component).batch(counts, now_ns) for component, counts in self._by_component()]
        return pa.Table.from_batches(parts, COUNTERS).combine_chunks().to_batches()[0] if parts else _NOTHING

    def _of(self, component: str) -> counting.Counter:
        return counting.Counter(self.node, component, self.epoch)

    def _by_component(self) -> Iterator[tuple[str, list[counting.Count]]]:
        for component in (COMPONENT, KEYED):
            found = [
                counting.Count(stage, stream, scope, name, unit, value)
                for (who, stage, stream, scope, name, unit), value in self._values.items()
                if who == component
            ]
            if found:
                yield component, found

    def exposed(self) -> Iterator[Sample]:
        """For /metrics."""
        told = "Requests, rows, packets, flows and octets by what became of them (docs/ingest.md)"
        for key, value in self._values.items():
            labels = dict(zip(_NAMES, key, strict=True))
            yield Sample("loomidi_ingest_total", "counter", told, value, labels)
        for path, micros in self._seconds.items():
            spent = "Seconds from a request's headers to its answer, summed"
            yield Sample("loomidi_ingest_request_seconds_total", "counter", spent, micros / 1e6, {"scope": path})
