"""The model on a real bus: learned, calibrated, a scan told once with its reason and cause, killed in between."""

import asyncio
import json
import time
from collections.abc import Sequence

import httpx
import pyarrow as pa
import pytest

from loomidi.contracts.streams import Stream
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import encode
from tests.integration.pipeline.running import Pipeline, eventually
from tests.unit.origami.shops import Shop
from tests.unit.services.test_noticing import LEARNED, SETTINGS

pytestmark = [pytest.mark.required, pytest.mark.slow]

PARTS = "bus,probes,anomalies,commit:findings"
GROUP = {
    "LEARN_S": SETTINGS.learn_s,
    "CALIBRATE_S": SETTINGS.calibrate_s,
    "LEARN_ROWS": SETTINGS.learn_rows,
    "KEPT_ROWS": SETTINGS.kept_rows,
    "SNAPSHOT_S": 0.5,
}
ASKED = "select state, pattern, entities[1] as who, explanation, evidence from findings order by told"


def publish(pipeline: Pipeline, windows: Sequence[pa.RecordBatch], seq: int) -> None:
    """As the window runner does."""

    async def all_of_them() -> None:
        async with await open_bus(BusSettings(folder=pipeline.folder / "bus", join=True)) as bus:
            about = {"stream": Stream.EDGE_WINDOWS, "producer": "windows-10", "epoch": 1}
            now = time.time_ns()
            some = [encode(one, seq=seq + at, created_ns=now, **about) for at, one in enumerate(windows)]
            await bus.publish(some)

    asyncio.run(all_of_them())


def metric(pipeline: Pipeline, name: str) -> float:
    """Of /metrics; 0 when it is not there."""
    try:
        lines = httpx.get(f"http://127.0.0.1:{pipeline.probes}/metrics").text.splitlines()
    except httpx.HTTPError:
        return 0.0
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


def scored(pipeline: Pipeline) -> float:
    return metric(pipeline, 'loomidi_anomalies_total{what="scored"}')


def findings(pipeline: Pipeline) -> list[dict[str, str]]:
    return list(pipeline.query(ASKED)) if "findings" in pipeline.loomidi("lake", "tables") else []


def test_a_scan_is_found_after_warm_up_with_reason_and_cause_and_told_once_over_a_kill(pipeline: Pipeline) -> None:
    pipeline.environment |= {f"LOOMIDI_ANOMALIES_{name}": f"{value:g}" for name, value in GROUP.items()}
    shop = Shop(seed=1)
    pipeline.start(PARTS)
    eventually(pipeline.ready, "the pipeline to be ready")
    usual = list(shop.windows(LEARNED))
    publish(pipeline, usual, 0)
    telling = 'loomidi_anomalies_phase{phase="telling"}'
    eventually(lambda: metric(pipeline, telling) == 1, "the end of the warm-up")
    assert findings(pipeline) == []
    quiet = list(shop.windows(5))
    publish(pipeline, quiet, LEARNED)
    eventually(lambda: scored(pipeline) >= sum(one.num_rows for one in quiet), "the usual windows")
    time.sleep(1.0)  # a snapshot
    pipeline.kill(PARTS)

    pipeline.start(PARTS)
    eventually(lambda: metric(pipeline, telling) == 1, "what was learned, from the snapshot")
    publish(pipeline, [shop.scan(0), *shop.windows(1)], LEARNED + 5)
    (seen,) = eventually(lambda: findings(pipeline), "the scan")
    assert (seen["state"], seen["pattern"], seen["who"]) == ("new", "anomaly", "workload/tenants/scanner")
    assert "Likely cause: Most likely: workload/tenants/scanner" in seen["explanation"]
    assert {"p_value", "budget", "strange_edges"} <= {one["name"] for one in json.loads(seen["evidence"])}
    latency = {at: metric(pipeline, f'loomidi_anomalies_alert_seconds{{quantile="{at}"}}') for at in ("0.5", "0.99")}
    print("event to alert, s:", latency)

    pipeline.kill(PARTS)
    pipeline.start(PARTS)
    eventually(lambda: metric(pipeline, telling) == 1, "what was learned, from the snapshot")
    more = list(shop.windows(3))
    before = scored(pipeline)
    publish(pipeline, more, LEARNED + 7)
    eventually(lambda: scored(pipeline) > before, "further windows")
    assert pipeline.stop(PARTS) == 0
    assert len(findings(pipeline)) == 1
