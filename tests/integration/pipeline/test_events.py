"""Findings of a real pipeline reach a file and a webhook; one that was away gets them later, also after a kill."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest

from tests.contracts.receivers import Web
from tests.integration.pipeline.running import Pipeline, eventually
from tests.unit.ionic.events.judging import ocsf, stix
from tests.unit.origami.making import batch, half_open

pytestmark = [pytest.mark.required, pytest.mark.slow]
PARTS = "bus,probes,ingest,detect,events,commit:findings"


def scan(pipeline: Pipeline) -> None:
    flows = batch([half_open(0.0, "10.0.0.1", port=port, source_port=30000 + port) for port in range(1, 400)])
    with io.BytesIO() as file:
        with pa.ipc.new_stream(file, flows.schema) as stream:
            stream.write_batch(flows)
        posted = pipeline.post("/data/network-flow", file.getvalue(), "application/octet-stream")
    assert posted.status_code == 202, posted.text


def test_a_scan_is_told_to_every_sink_also_to_one_that_was_away_while_we_were_killed(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    out, web = tmp_path / "told" / "events.jsonl", Web(tmp_path)
    pipeline.environment |= {
        "LOOMIDI_DETECT_ON": "true",
        "LOOMIDI_EVENTS_FILE_PATH": str(out),
        "LOOMIDI_EVENTS_WEBHOOK_URL": f"http://127.0.0.1:{web.port}/hook",
        "LOOMIDI_EVENTS_WEBHOOK_SECRET": str(tmp_path / "secret"),
        "LOOMIDI_EVENTS_WEBHOOK_FORMAT": "stix",
    }
    pipeline.start(PARTS)
    eventually(pipeline.ready, "the pipeline to be ready")
    eventually(pipeline.listens, "the ingestion API")
    scan(pipeline)
    eventually(lambda: out.is_file() and out.read_text(), "an event in the file")
    event = ocsf(json.loads(out.read_text().splitlines()[0]))
    assert (event["class_uid"], event["finding_info"]["types"]) == (2004, ["vertical_scan"])
    assert event["finding_info"]["attacks"][0]["technique"]["uid"] == "T1046"
    eventually(lambda: '"retried:away"' in pipeline.loomidi("events", "status", "--json"), "the webhook to be away")
    pipeline.kill(PARTS)
    web.up()
    pipeline.start(PARTS)
    try:
        bundle = eventually(lambda: web.got(), "the webhook to be told once it is back")[0]
    finally:
        web.down()
    assert stix(bundle)["type"] == "bundle"
    assert pipeline.stop(PARTS) == 0
