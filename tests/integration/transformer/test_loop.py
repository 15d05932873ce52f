"""What the pipeline finds and counts is what is told and judged by: over its lake, and over its bus."""

import asyncio
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from loomidi.contracts.streams import Envelope, Message, Stream
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.lake import Committer, Lake, LakeSettings
from loomidi.services.shared.findings import finding_row
from tests.integration.bus.brokers import NatsBroker
from tests.integration.ingest.running import until
from tests.integration.transformer.running import SCAN, Service
from tests.unit.ionic.making import NOW_NS, a_finding
from tests.unit.origami.picturing import batch, usual

ROOT = Path(__file__).resolve().parents[3]
FOUND = "finding-0123456789abcdef"


def found_now() -> pa.RecordBatch:
    """A scan that was seen a moment ago."""
    now_ns = time.time_ns()
    finding = a_finding("vertical_scan", first_ns=now_ns - 10**9, last_ns=now_ns)
    return finding_row(finding, "new", (), now_ns)


def recent() -> pa.RecordBatch:
    """The windows of the shop, the last of them just now."""
    rows = usual(450)
    late_ns = time.time_ns() - max(row["window_end"] for row in rows)
    moved = ("window_start", "window_end")
    return batch([row | {name: row[name] + late_ns for name in moved} for row in rows])


def envelope(stream: str, made: pa.RecordBatch) -> Envelope:
    return encode(made, stream=stream, producer="tests", epoch=1, seq=0, created_ns=NOW_NS)


def in_lake(folder: Path, rows: dict[str, pa.RecordBatch]) -> None:
    """As the committers leave it."""
    with Lake(LakeSettings(folder=folder)) as lake:
        for stream, made in rows.items():
            with Committer(lake, stream) as committer:
                committer.take([Message(envelope(stream, made), 0, 1)])
                committer.commit()


def on_bus(url: str, rows: dict[str, pa.RecordBatch]) -> None:
    """As the parts of the pipeline put it there."""

    async def put() -> None:
        bus = await open_bus(BusSettings(url=url))
        await bus.publish([envelope(stream, made) for stream, made in rows.items()])
        await bus.close()

    asyncio.run(put())


def answer(service: Service) -> dict[str, Any]:
    body = {"anomaly_id": FOUND}
    until(lambda: service.post("/action/propose-fold", body).status_code != 404, "the finding is heard")
    found: dict[str, Any] = service.post("/action/propose-fold", body).json()
    return found


def judged(service: Service) -> dict[str, Any]:
    until(lambda: service.post("/analyze/anomaly", SCAN).status_code == 200, "the reference is learned")
    found: dict[str, Any] = service.post("/analyze/anomaly", SCAN).json()
    return found


def test_a_finding_in_the_lake_is_answered_and_its_windows_are_the_reference(tmp_path: Path) -> None:
    service = Service(tmp_path, learned=False)
    in_lake(service.state / "lake", {Stream.FINDINGS: found_now(), Stream.EDGE_WINDOWS: recent()})
    service.start()
    told = answer(service)
    assert told["action_type"] == "RECONFIGURE_NETWORK"
    assert (judged(service)["detected_pattern"], judged(service)["reference"]["windows"]) == ("vertical_scan", 450)
    begun = service.post("/action/initiate", {"plan_id": told["plan_id"]}, key="k")
    assert begun.json()["state"] == "shadow", begun.text
    service.kill()
    service.start()
    assert service.get(f"/decisions/{told['plan_id']}")["state"] == "shadow"
    assert service.get(f"/findings/{FOUND}")["decisions"][0]["plan_id"]
    service.kill()


def test_a_finding_on_the_bus_is_answered_and_its_windows_are_the_reference(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path / "nats")
    broker.start()
    on_bus(broker.url, {Stream.FINDINGS: found_now(), Stream.EDGE_WINDOWS: recent()})
    service = Service(tmp_path, options=("--bus", broker.url), learned=False)
    service.start()
    assert answer(service)["action_type"] == "RECONFIGURE_NETWORK"
    assert service.get(f"/findings/{FOUND}")["origin"] == "loop"
    assert judged(service)["is_anomaly"]
    service.kill()
    broker.stop()


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    service = Service(tmp_path).start()
    page = (ROOT / "docs" / "transformer-api.md").read_text()
    (script,) = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = script.replace("http://127.0.0.1:8081/transformer-api", service.url).replace("curl -s", "curl -sS --fail")
    done = subprocess.run(["sh", "-e"], input=script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"state": "shadow"' in done.stdout
    service.kill()
