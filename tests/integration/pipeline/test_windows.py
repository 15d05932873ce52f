"""Windows of what was posted are in the lake too, and their sums are those of the flows."""

from pathlib import Path

import pytest

from tests.integration.bus.brokers import KafkaBroker
from tests.integration.pipeline.running import Pipeline, eventually

pytestmark = pytest.mark.required


def test_windows_of_a_capture_hold_its_flows_packets_and_octets(pipeline: Pipeline, ndpi: Path) -> None:
    pipeline.environment |= {"LOOMIDI_WINDOWS_IDLE_S": "1", "LOOMIDI_WINDOWS_SIZES_S": "10"}
    pipeline.start()
    eventually(pipeline.listens, "the ingestion API")
    capture = (ndpi / "pcap" / "ultrasurf.pcap").read_bytes()
    answer = pipeline.post("/data/network-flow", capture, "application/octet-stream")
    assert answer.status_code == 202, answer.text
    packets = "sum(packet_delta_count + reverse_packet_delta_count)::bigint"
    sums = f"select sum(flow_record_count)::bigint as flows, {packets} as packets"
    want = {"flows": answer.json()["accepted"]["rows"], "packets": answer.json()["packets"]["accounted"]}
    eventually(lambda: list(pipeline.query(f"{sums} from edge_windows where window_aligned")) == [want], f"{want}")
    assert pipeline.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_flink_job_makes_the_windows_where_it_is_asked_for(pipeline: Pipeline, ndpi: Path, tmp_path: Path) -> None:
    """rung: Kafka and Flink's mini-cluster."""
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    try:
        pipeline.environment |= {"LOOMIDI_BUS_URL": broker.url, "LOOMIDI_WINDOWS_SIZES_S": "10"}
        pipeline.environment |= {"LOOMIDI_WINDOWS_CHECKPOINT_S": "1", "LOOMIDI_WINDOWS_LATENESS_S": "0"}
        pipeline.launch("", "run", "--runner", "flink")
        eventually(pipeline.listens, "the ingestion API")
        for name in ("tor.pcap", "ultrasurf.pcap"):  # years apart: the later one closes the earlier's
            capture = (ndpi / "pcap" / name).read_bytes()
            assert pipeline.post("/data/network-flow", capture, "application/octet-stream").status_code == 202
        rows = "select count(*) as n, min(window_size_s) as size from edge_windows"
        eventually(lambda: [row for row in pipeline.query(rows) if row["n"]], "windows by Flink", 420.0)
        assert pipeline.query(rows)[0]["size"] == 10
    finally:
        pipeline.close()
        broker.stop()
