"""An hour of flows, accelerated, and what the operators make of it, for the tests that compare runners."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITY_WINDOWS
from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import WindowSettings
from loomidi.loom.windows.synthetic import START_NS, flow_records
from tests.unit.loom.windows.building import metric
from tests.unit.loom.windows.building import metrics as batch_of_metrics

SECOND = 10**9
OUT = {Stream.EDGE_WINDOWS: EDGE_WINDOWS, Stream.ENTITY_WINDOWS: ENTITY_WINDOWS}
Rows = dict[str, pa.Table]  # "producer stream" -> all rows in the order of their numbers


def flows(seconds: int, *, step: int = 5, each: int = 30) -> list[pa.RecordBatch]:
    """A batch for every `step` seconds, in order."""
    return [
        flow_records(each, seed=k, start_ns=START_NS + k * step * SECOND, seconds=step, pods=10, outside=6)
        for k in range(seconds // step)
    ]


def metrics(seconds: int) -> list[pa.RecordBatch]:
    """Scrapes of an HTTP server every 15 s; a tenth of its requests fail."""
    found = []
    for scrape, at in enumerate(range(0, seconds, 15)):
        counted = {"200": scrape * 90, "500": scrape * 10}
        samples = [metric(at, "http_requests_total", value, code=code) for code, value in counted.items()]
        found.append(batch_of_metrics(samples))
    return found


def envelopes(batches: Sequence[pa.RecordBatch], stream: Stream = Stream.FLOWS) -> list[Envelope]:
    return [encode(batch, stream=stream, producer="node-1", epoch=1, seq=k) for k, batch in enumerate(batches)]


def local(
    batches: Sequence[pa.RecordBatch],
    windows: WindowSettings,
    end_s: int | None,
    samples: Sequence[pa.RecordBatch] = (),
) -> list[Envelope]:
    """What the local runner's machine gives, windows closed as they become due; with `end_s` all at the end."""
    machine = WindowMachine(windows, epoch=7)
    found = list[Envelope]()
    for batch in samples:
        machine.absorb_metrics(batch)
    for batch in batches:
        machine.absorb(batch)
        due = machine.due()
        found += machine.close(due) if due is not None else []
    return found + (machine.close(START_NS + (end_s + 1000) * SECOND) if end_s is not None else [])


def rows(some: Iterable[Envelope]) -> Rows:
    """All rows by producer and stream. Asserts that the numbers are without gap or double."""
    by_series = dict[str, dict[int, Envelope]]()
    for one in some:
        series = by_series.setdefault(f"{one.producer} {one.stream}", {})
        assert one.seq not in series, f"{one.stream} has {one.id} twice"
        series[one.seq] = one
    tables = Rows()
    for name, series in by_series.items():
        assert sorted(series) == list(range(len(series)))
        batches = [decode(series[seq], OUT[Stream(series[seq].stream)]) for seq in sorted(series)]
        tables[name] = pa.Table.from_batches(batches).combine_chunks()
    return tables
