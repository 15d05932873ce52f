"""Flow records out of nothing: many clients and servers, beacons, scans, long flows; the same seed, the same flows.

Called by tests and the bench, never by services. In: how many, from when, how long. Out: FLOW_RECORDS, in the order in
which flows ended. The numbers are plausible, not real: they exercise every operator, with few rows of each edge case.
"""

import numpy as np
import pyarrow as pa

from loomidi.contracts.schemas import FLOW_RECORDS

START_NS = 1_800_000_000 * 10**9
_PORTS = (80, 443, 5432, 6379, 53)
_PROTOCOLS = (6, 6, 6, 6, 17)
_REASONS = ("fin", "fin", "fin", "fin", "fin", "fin", "idle", "idle", "active", "rst")
_PACKETS = 8  # in `splt_*` of a flow that was answered


def flow_records(
    count: int,
    *,
    seed: int = 0,
    start_ns: int = START_NS,
    seconds: float = 60.0,
    pods: int = 300,
    outside: int = 2000,
    exporter: str = "node-1",
) -> pa.RecordBatch:
    """`count` flows that end within `seconds` after `start_ns`."""
    rng = np.random.default_rng(seed)
    end = np.sort(start_ns + rng.integers(0, max(int(seconds * 1e9), 1), count))
    kind = rng.integers(0, len(_PORTS), count)
    answered = rng.random(count) < 0.9
    tcp = np.array(_PROTOCOLS)[kind] == 6
    packets = np.where(answered, rng.integers(3, 40, count), 1)
    back = np.where(answered, rng.integers(3, 60, count), 0)
    payload, back_payload = packets * rng.integers(0, 900, count), back * rng.integers(0, 1300, count)
    source, destination = (np.minimum(rng.zipf(1.2, count), most) - 1 for most in (pods + outside, pods))
    refused = ~answered & tcp & (rng.random(count) < 0.3)
    numbers = {
        "flow_id": rng.integers(0, 1 << 62, count),
        "flow_start_nanoseconds": end - np.minimum(rng.exponential(3e8, count), 1.2e11).astype(np.int64),
        "flow_end_nanoseconds": end,
        "ip_version": np.full(count, 4),
        "protocol_identifier": np.array(_PROTOCOLS)[kind],
        "source_transport_port": rng.integers(32768, 61000, count),
        "destination_transport_port": np.array(_PORTS)[kind],
        "packet_delta_count": packets,
        "octet_delta_count": packets * 52 + payload,
        "payload_octet_count": payload,
        "header_octet_count": packets * 52,
        "reverse_packet_delta_count": np.maximum(back, refused),
        "reverse_octet_delta_count": back * 52 + back_payload,
        "reverse_payload_octet_count": back_payload,
        "reverse_header_octet_count": np.maximum(back, refused) * 52,
        "tcp_syn_total_count": tcp,
        "reverse_tcp_syn_total_count": tcp & answered,
        "tcp_rst_total_count": tcp & (rng.random(count) < 0.02),
        "reverse_tcp_rst_total_count": refused,
        "sampling_interval": np.ones(count, np.int64),
    }
    texts = {
        "flow_end_reason": np.array(_REASONS)[rng.choice(len(_REASONS), count)],
        "exporter": np.full(count, exporter),
        "link": np.full(count, "eth0"),
        **_names("source", source, pods),
        **_names("destination", destination, pods),
    }
    return _batch(count, numbers, texts, _packets(rng, answered, tcp))


def _names(end: str, who: "np.typing.NDArray[np.int64]", pods: int) -> dict[str, "np.typing.NDArray[np.object_]"]:
    """Addresses of all; names of those in the cluster, five pods to a workload."""
    most = int(who.max(initial=0)) + 1
    address = np.array([f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(most)], object)
    pod = np.array([f"pod/shop/part-{i // 5}-7d9f8-{i % 5}" if i < pods else None for i in range(most)], object)
    workload = np.array([f"deployment/shop/part-{i // 5}" if i < pods else None for i in range(most)], object)
    service = np.array([f"service/shop/part-{i // 5}" if i < pods else None for i in range(most)], object)
    told = {"ip_address": address, "entity": pod, "workload": workload, "service": service}
    return {f"{end}_{name}": values[who] for name, values in told.items()}


def _packets(
    rng: np.random.Generator, answered: "np.typing.NDArray[np.bool_]", tcp: "np.typing.NDArray[np.bool_]"
) -> dict[str, pa.Array]:
    """The first packets: SYN, SYN-ACK, ACK, request, ACK, response, ...; one packet without an answer."""
    count = len(answered)
    offsets = np.concatenate([[0], np.cumsum(np.where(answered, _PACKETS, 1))]).astype(np.int32)
    of = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
    is_tcp = np.repeat(tcp, np.diff(offsets))
    direction = np.where(is_tcp, np.array([0, 1, 0, 0, 1, 1, 0, 1])[of], of % 2)
    size = np.where(is_tcp, np.array([60, 60, 52, 400, 52, 900, 52, 1400])[of], 120)
    gap = np.where(of == 0, 0, rng.integers(10_000, 20_000_000, len(of)))
    values = {"splt_direction": direction, "splt_packet_size": size, "splt_inter_arrival_ns": gap}
    lists = {}
    for name, flat in values.items():
        kind = FLOW_RECORDS.field(name).type
        lists[name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind.value_type), type=kind)
    assert all(len(one) == count for one in lists.values())
    return lists


def _batch(
    count: int,
    numbers: "dict[str, np.typing.NDArray[np.int64]]",
    texts: "dict[str, np.typing.NDArray[np.object_]]",
    lists: dict[str, pa.Array],
) -> pa.RecordBatch:
    columns = []
    for field in FLOW_RECORDS:
        if field.name in lists:
            column = lists[field.name]
        elif field.name in texts:
            column = pa.array(texts[field.name], pa.utf8())
        elif field.name in numbers:
            column = pa.array(numbers[field.name].astype(np.int64)).cast(field.type)
        elif field.nullable:
            column = pa.nulls(count, field.type)
        else:
            column = pa.array(np.zeros(count, np.int64)).cast(field.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=FLOW_RECORDS)
