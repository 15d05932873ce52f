"""Captures, Arrow flows and frames are told apart by content, become flows, and every packet is accounted for."""

import io
import random
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import FLOWS
from loomidi.services.http.problems import Problem
from loomidi.services.ingest_api.committing import slices
from loomidi.services.ingest_api.settings import IngestSettings
from loomidi.services.ingest_api.sniffing import Kind, kind_of
from loomidi.services.ingest_api.unpacking import unpacked_octets
from tests.unit.services.ingesting import LENIENT, Service, capture, flows_table, packet, plain

ARP = packet(kind=b"\x08\x06")


def ipc(table: pa.Table, *, file: bool = False, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_capture_becomes_flows_with_its_packets_accounted_for() -> None:
    service = Service()
    answer = service.client.post(
        "/loom-api/data/network-flow?exporter=node-7&link=eth0",
        content=capture([packet(1), packet(2), packet(1), ARP]),
        headers={"Content-Type": "application/octet-stream"},
    ).json()
    assert (answer["kind"], answer["accepted"]) == ("pcap", {"rows": 2})
    assert answer["packets"] == {"accounted": 3, "unparsed_not_ip": 1}
    flows = service.held("flows")
    assert set(flows["exporter"].to_pylist()) == {"node-7"}
    assert sorted(flows["packet_delta_count"].to_pylist()) == [1, 2]


def test_the_counters_of_captures_add_up_from_packet_to_row() -> None:
    service = Service()
    service.flows(capture([packet(1), packet(2), ARP]))
    service.flows(capture([packet(1)])[:-3])  # refused: cut within its last packet
    service.flows(packet(3))
    received = service.count("capture", "received", "packets")
    parts = ("accounted", "unparsed_not_ip", "refused")
    assert received == sum(service.count("capture", name, "packets") for name in parts)
    assert service.count("capture", "accounted", "packets") == service.count("export", "exported", "packets") == 3
    assert service.count("export", "exported", "flows") == service.count("publish", "published", "rows") == 3


def test_a_capture_that_ends_early_is_refused_or_taken_as_far_as_it_goes() -> None:
    service, body = Service(), capture([packet(1), packet(2)])[:-3]
    assert service.flows(body).json()["reason"] == "refused-rows"
    assert service.held("flows").num_rows == 0
    answer = service.flows(body, **LENIENT).json()
    assert answer["accepted"] == {"rows": 1}
    assert answer["refused"]["first"][0]["reason"] == "damaged"


def test_one_frame_is_one_flow() -> None:
    service = Service()
    assert service.flows(packet()).json()["kind"] == "frame"
    (row,) = plain(service.held("flows"))
    assert (row["source_ip_address"], row["destination_transport_port"]) == ("10.0.0.1", 53)


@pytest.mark.parametrize("body", [ARP, capture([]), capture([ARP]), b"text that is neither of them"])
def test_what_has_no_flow_in_it_is_no_success(body: bytes) -> None:
    service = Service()
    answer = service.flows(body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "unusable")
    assert service.count("capture", "received", "packets") == service.count("capture", "refused", "packets")


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_flows_arrive_as_they_were(tmp_path: Path, file: bool, compression: str | None) -> None:
    service, table = Service(), flows_table(tmp_path, [packet(number) for number in range(5)])
    answer = service.flows(ipc(table, file=file, compression=compression)).json()
    assert answer["kind"] == ("arrow-file" if file else "arrow-stream")
    assert service.held("flows").select(FLOWS.names).equals(table)


def test_flow_records_keep_who_they_belong_to(tmp_path: Path) -> None:
    service = Service()
    service.flows(capture([packet(1)]))
    records = service.held("flows")
    other = Service()
    other.flows(ipc(records))
    assert other.held("flows").equals(records)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: table.rename_columns(["other", *table.column_names[1:]]),
        lambda table: table.select(table.column_names[:-1]),
        lambda table: table.append_column("more", pa.nulls(table.num_rows, pa.utf8())),
        lambda table: table.set_column(0, "flow_id", pa.nulls(table.num_rows, pa.uint64())),
    ],
)
def test_arrow_of_other_columns_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    table = flows_table(tmp_path, [packet(1)])
    answer = Service().flows(ipc(spoil(table)))  # type: ignore[operator]
    assert (answer.status_code, answer.json()["reason"]) == (422, "unusable")


def test_the_unpacked_size_of_a_batch_is_known_before_it_is_unpacked(tmp_path: Path) -> None:
    table = flows_table(tmp_path, [packet(number) for number in range(50)])
    sizes = []
    for compression in (None, "zstd", "lz4"):
        messages = pa.ipc.MessageReader.open_stream(ipc(table, compression=compression))
        messages.read_next_message()
        sizes.append(unpacked_octets(messages.read_next_message()))
    assert sizes[1] == sizes[2]
    assert 0 < sizes[1] <= sizes[0]  # padding is not counted where it is packed


def test_an_arrow_bomb_is_refused_before_it_is_unpacked() -> None:
    rows = 30_000_000
    table = pa.table({"flow_id": pa.repeat(pa.scalar(1, pa.uint64()), rows)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(table.to_batches()[0])
    answer = Service().flows(sink.getvalue())
    assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")


def test_damaged_arrow_never_fails_unexpectedly(tmp_path: Path) -> None:
    table = flows_table(tmp_path, [packet(number) for number in range(20)])
    service, body, dice = Service(), ipc(table, compression="zstd"), random.Random(5)
    for _ in range(150):
        damaged = bytearray(body)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(4, len(damaged))] = dice.randrange(256)
        assert service.flows(bytes(damaged[: dice.randint(100, len(damaged))])).status_code in (202, 413, 422)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (bytes.fromhex("d4c3b2a1"), Kind.PCAP),
        (bytes.fromhex("4d3cb2a1"), Kind.PCAP),
        (bytes.fromhex("0a0d0d0a"), Kind.PCAPNG),
        (b"ARROW1\0\0", Kind.ARROW_FILE),
        (b"\xff\xff\xff\xff\x10\0\0\0", Kind.ARROW_STREAM),
        (b"\xff" * 6 + b"\x02\0\0\0\0\1\x08\x06", Kind.FRAME),
    ],
)
def test_bodies_are_told_apart_by_their_first_octets(head: bytes, kind: Kind) -> None:
    assert kind_of(head.ljust(60, b"\0")) is kind


@pytest.mark.parametrize("head", ["1f8b08", "28b52ffd", "fd377a585a00", "425a68", "504b0304"])
def test_what_is_packed_is_named(head: str) -> None:
    with pytest.raises(Problem, match=r"the body is \w+: send it") as refused:
        kind_of(bytes.fromhex(head).ljust(60, b"\0"))
    assert refused.value.status == 415


def test_many_flows_go_in_envelopes_of_bounded_size_and_all_arrive() -> None:
    service = Service(IngestSettings(envelope_octets=8192, spooled_octets=1000))
    answer = service.flows(capture([packet(number) for number in range(500)])).json()
    assert answer["accepted"] == {"rows": 500}
    assert len(service.bus.log("flows").messages) > 10
    assert service.held("flows").num_rows == 500


def test_slices_hold_every_row_once_in_order() -> None:
    batch = pa.record_batch({"text": ["x" * size for size in (1, 5000, 3, 9000, 2, 2, 2)]})
    parts = list(slices(batch, 4000))
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([batch]))
    assert all(part.nbytes <= 4000 or part.num_rows == 1 for part in parts)
