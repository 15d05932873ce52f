"""The ingestion API within the process, for the tests beside it: an ASGI client, the bus in memory, small captures."""

import asyncio
import atexit
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from loomidi.contracts.schemas import EVENTS, FLOW_RECORDS, METRICS
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.bus.memory import MemoryBus
from loomidi.services.ingest_api.serving import IngestApi
from loomidi.services.ingest_api.settings import PREFIX, IngestSettings

SCHEMAS = {"flows": FLOW_RECORDS, "metrics": METRICS, "events": EVENTS}
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
LENIENT = {"Prefer": "handling=lenient"}
ROW = {"source_id": "node-1", "metric_name": "cpu_usage", "value": 0.5}


def plain(rows: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as dictionaries, times as ns: Python has no nanoseconds of its own."""
    times = {field.name for field in rows.schema if pa.types.is_timestamp(field.type)}
    columns = {
        name: (column.cast(pa.int64()) if name in times else column).to_pylist()
        for name, column in zip(rows.schema.names, rows.columns, strict=True)
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_LOOP = asyncio.Runner()  # one loop for all calls: what one request leaves behind is there for the next
atexit.register(_LOOP.close)


class Client:
    """Calls the application; a synchronous face, so that tests read as claims."""

    def __init__(self, application: Any) -> None:
        self._transport = httpx.ASGITransport(application, client=("127.0.0.1", 5000))

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1:8080") as client:
                return await client.request(method, path, **given)

        return _LOOP.run(call())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)


class Service:
    """One run over a bus in memory."""

    def __init__(self, settings: IngestSettings | None = None, bus: MemoryBus | None = None, epoch: int = 7) -> None:
        self.bus = bus or MemoryBus()
        self.api = IngestApi(self.bus, settings or IngestSettings(bus_wait_s=0.1), node="n1", epoch=epoch)
        self.client = Client(self.api.application())

    def post(self, path: str, content: Any, **headers: str) -> Any:
        """A body under the API's prefix; names of headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"{PREFIX}/data/{path}", content=content, headers=named)

    def metrics(self, document: Any, **headers: str) -> Any:
        return self.post("system-metrics", json.dumps(document), **JSON, **headers)

    def flows(self, body: bytes, **headers: str) -> Any:
        return self.post("network-flow", body, **OCTETS, **headers)

    def held(self, stream: str) -> pa.Table:
        """What the bus holds of a stream."""
        envelopes = [envelope for _, _, envelope in self.bus.log(stream).messages]
        return pa.Table.from_batches([decode(one, SCHEMAS[stream]) for one in envelopes], SCHEMAS[stream])

    def count(self, stage: str, name: str, unit: str) -> int:
        return self.api.counts.value(stage, name, unit)


def packet(number: int = 0, kind: bytes = b"\x08\x00") -> bytes:
    """An Ethernet frame with an IPv4 UDP datagram of 8 octets."""
    udp = struct.pack("!HHHH", 1000 + number, 53, 16, 0) + b"8 octets"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return b"\x02\0\0\0\0\2\x02\0\0\0\0\1" + kind + ip + udp


def capture(frames: list[bytes]) -> bytes:
    """A pcap of them, a millisecond apart."""
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    records = (struct.pack("<IIII", 1_700_000_000, at * 1000, len(f), len(f)) + f for at, f in enumerate(frames))
    return head + b"".join(records)


def flows_table(folder: Path, frames: list[bytes]) -> pa.Table:
    """What the meter makes of them."""
    from loomidi.loom.flows import meter

    path = folder / "frames.pcap"
    path.write_bytes(capture(frames))
    with meter([path]) as stream:
        return pa.Table.from_batches(list(stream), stream.schema)
