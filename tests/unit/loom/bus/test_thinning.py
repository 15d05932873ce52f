"""What is left out under pressure is said in what stays."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.loom.bus.thinning import lowered, octets, sampled


def flows(rows: int, interval: int = 1) -> pa.RecordBatch:
    """Every column filled."""
    columns = []
    for field in FLOW_RECORDS:
        if field.name == "flow_id":
            columns.append(pa.array(np.arange(rows, dtype=np.uint64)))
        elif field.name == "sampling_interval":
            columns.append(pa.array([interval] * rows, pa.uint32()))
        elif pa.types.is_list(field.type):
            columns.append(pa.array([[1, 2, 3]] * rows, field.type))
        elif pa.types.is_string(field.type):
            columns.append(pa.array(["x"] * rows))
        else:
            columns.append(pa.array([1] * rows).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=FLOW_RECORDS)


def test_lower_detail_keeps_every_flow_with_its_counts() -> None:
    low = lowered(flows(100))
    assert low.num_rows == 100
    assert low.schema == FLOW_RECORDS
    for name in (
        "flow_id",
        "octet_delta_count",
        "reverse_tcp_syn_total_count",
        "source_ip_address",
        "octets_per_second",
    ):
        assert low.column(name).equals(flows(100).column(name))


def test_lower_detail_leaves_out_statistics_and_first_packets() -> None:
    low = lowered(flows(100))
    assert low.column("reverse_inter_arrival_std_ns").null_count == 100
    assert low.column("active_max_ns").null_count == 100
    assert pc.sum(pc.list_value_length(low.column("splt_packet_size"))).as_py() == 0
    assert octets(low) < octets(flows(100)) * 0.6


def test_a_sample_says_how_many_each_row_stands_for() -> None:
    kept = sampled(flows(10_000, interval=3), 4)
    assert pc.unique(kept.column("sampling_interval")).to_pylist() == [12]
    assert 2_000 < kept.num_rows < 3_000


def test_the_same_flows_are_kept_everywhere_and_a_thinner_sample_is_part_of_a_thicker() -> None:
    two, four = (set(sampled(flows(10_000), n).column("flow_id").to_pylist()) for n in (2, 4))
    assert four < two
    assert set(sampled(flows(5_000), 4).column("flow_id").to_pylist()) == {one for one in four if one < 5_000}
