"""Flows on the bus of a real pipeline become findings in the lake; without a cluster nothing is proposed."""

import io

import pyarrow as pa
import pytest

from tests.integration.pipeline.running import Pipeline, eventually
from tests.unit.origami.making import batch, half_open

pytestmark = [pytest.mark.required, pytest.mark.slow]


def test_a_scan_that_is_posted_is_a_row_of_findings_with_what_would_answer_it(pipeline: Pipeline) -> None:
    pipeline.environment["LOOMIDI_DETECT_ON"] = "true"
    pipeline.start("bus,probes,ingest,detect,commit:findings")
    eventually(pipeline.ready, "the pipeline to be ready")
    eventually(pipeline.listens, "the ingestion API")
    flows = batch([half_open(0.0, "10.0.0.1", port=port, source_port=30000 + port) for port in range(1, 400)])
    with io.BytesIO() as file:
        with pa.ipc.new_stream(file, flows.schema) as stream:
            stream.write_batch(flows)
        posted = pipeline.post("/data/network-flow", file.getvalue(), "application/octet-stream")
    assert posted.status_code == 202, posted.text
    asked = "select state, pattern, entities[1] as who, folds from findings order by told"
    seen = eventually(lambda: "findings" in pipeline.loomidi("lake", "tables") and pipeline.query(asked), "a finding")
    assert (seen[0]["state"], seen[0]["pattern"], seen[0]["who"]) == ("new", "vertical_scan", "host/10.0.0.1")
    assert '"action": "rate"' in seen[0]["folds"]
    assert pipeline.stop("bus,probes,ingest,detect,commit:findings") == 0
