"""Windows of what was posted are in the lake too, and their sums are those of the flows."""

from pathlib import Path

import pytest

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
