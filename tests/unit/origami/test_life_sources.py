"""Where edges to learn from lie: files of edges and windows, recordings of the lab; each with what identifies it."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import FLOWS
from loomidi.loom.windows.synthetic import START_NS, flow_records
from loomidi.origami.features import CAUSAL, EDGES, SHAPE
from loomidi.origami.train import Known, StreamSettings, of_path, of_recording, stream_of
from loomidi.origami.train.streams import UNJUDGED, USUAL
from tests.unit.origami.lives import MINUTE, START, table

SECOND = 10**9


def edges(labels: list[str | None], every_s: float = 60.0) -> pa.Table:
    """One edge each, so far apart."""
    count = len(labels)
    times = pa.array(START + (np.arange(count) * every_s * SECOND).astype(np.int64)).cast(EDGES.field("time").type)
    names = {"source": ["a"] * count, "destination": ["b"] * count}
    return pa.table({"time": times, **names, "weight": pa.array([1] * count, pa.uint32()), "label": labels})


def test_edges_of_one_label_are_incidents_by_their_gaps() -> None:
    labels = ["-"] * 20 + ["scan"] * 2 + [None] * 40 + ["scan", "flood"] + [""] * 5 + ["?"] * 2
    of = stream_of(edges(labels), {})
    assert [one.family for one in of.incidents] == ["scan", "scan", "flood"]
    assert sorted(np.bincount(of.incident[of.incident >= 0]).tolist()) == [1, 1, 2]
    assert (of.incident[-2:] == UNJUDGED).all()
    assert (of.incident[:20] == USUAL).all()
    assert of.features == CAUSAL


def test_rows_come_in_any_order_and_are_cut_between_ticks() -> None:
    shuffled = table(0).take(pa.array(np.random.default_rng(1).permutation(1000)))
    of = stream_of(shuffled, {})
    assert (np.diff(of.seen.times_ns) >= 0).all()
    ticks = of.ticks(of.calibrate, len(of.seen))
    assert ticks[0][0] == of.calibrate
    assert ticks[-1][1] == len(of.seen)
    assert all(of.seen.times_ns[a] // MINUTE == of.seen.times_ns[b - 1] // MINUTE for a, b in ticks)


def test_only_vouched_attacks_that_are_not_held_out_are_left_out_of_training() -> None:
    span = {"family": "scan", "first_ns": START, "last_ns": START + 99 * MINUTE, "names": frozenset({"a"})}
    open_, held = Known(**span, held_out=False), Known(**span, held_out=True)
    assert len(stream_of(edges(["-"] * 300), {}, spans=[open_]).learnable()) == 50
    assert len(stream_of(edges(["-"] * 300), {}, spans=[held]).learnable()) == 150


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (pa.table({"x": [1]}), "no edges: give the columns time, source"),
        (edges([]), "no edges in it"),
        (edges(["-"]), "no stream"),
        (edges(["-"] * 50, every_s=0.0), "so few ticks"),
    ],
)
def test_what_is_no_stream_is_refused(given: pa.Table, told: str) -> None:
    with pytest.raises(InputError, match=told):
        stream_of(given, {})


def test_shares_that_leave_nothing_to_test_on_are_refused() -> None:
    with pytest.raises(UsageError, match=r"use shares such as 0\.5"):
        StreamSettings(train=0.9, calibrate=0.1)


def test_a_file_is_known_by_its_octets(tmp_path: Path) -> None:
    for name in ("one", "other"):
        parquet.write_table(edges(["-"] * 100), tmp_path / f"{name}.parquet")
    one, other = (of_path(tmp_path / f"{name}.parquet").data["snapshot"] for name in ("one", "other"))
    assert one == other
    assert str(one).startswith("sha256:")
    (tmp_path / "bad.parquet").write_bytes(b"none")
    with pytest.raises(InputError, match="give a Parquet or Arrow file"):
        of_path(tmp_path / "bad.parquet")


def recorded(folder: Path) -> Path:
    """Two minutes of flows as the recorder leaves them, each met on the links of both ends, and an attack of part-0."""
    flows = flow_records(2000, seconds=120.0, pods=20, outside=20)
    flows = flows.filter(pc.not_equal(flows.column("source_ip_address"), flows.column("destination_ip_address")))
    (folder / "flows").mkdir()
    rows = []
    for end in ("destination", "source"):
        pods = [name.split("/")[2] if name else "" for name in flows.column(f"{end}_entity").to_pylist()]
        kinds = ["pod" if name else "outside" for name in pods]
        part = pa.Table.from_batches([flows]).select(FLOWS.names)
        rows.append(
            part.append_column("link_kind", pa.array(kinds))
            .append_column("namespace", pa.array(["shop"] * len(pods)))
            .append_column("pod", pa.array(pods))
        )
    parquet.write_table(pa.concat_tables(rows), folder / "flows" / "part-0.parquet")
    fixed = {"kind": "Pod", "namespace": "shop", "owner_kind": "Deployment", "labels": {}, "node": "n", "ports": []}
    book = [
        fixed
        | {"address": f"10.0.0.{n}", "name": f"part-{n // 5}-7d9f8-{n % 5}", "uid": f"u{n}", "owner": f"part-{n // 5}"}
        | {"from_ns": 1, "to_ns": 0}
        for n in range(20)
    ]
    (folder / "addresses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in book))
    entity = {"kind": "Deployment", "namespace": "shop", "name": "part-0"}
    source = {"entity": entity, "pods": [{"name": "x", "address": ""}]}
    begin = START_NS + 90 * SECOND
    measured = {"valid": True, "start_ns": begin, "end_ns": begin + 20 * SECOND, "sources": [source], "victims": []}
    planned = [{"category": "attack", "family": "scan"}, {"category": "benign", "family": "rollout"}]
    (folder / "truth.json").write_text(json.dumps({"planned": planned, "measured": [measured, measured]}))
    (folder / "MANIFEST.sha256").write_text("0\n")
    return folder


def test_a_recording_of_the_lab_counts_each_conversation_once_and_knows_its_attacks(tmp_path: Path) -> None:
    of = of_recording(recorded(tmp_path))
    assert of.features == (*CAUSAL, *SHAPE)
    weights = of.rows.column("weight").to_numpy()
    counts = of.data["flows"]
    assert weights.sum() == counts["read"] // 2 == counts["elsewhere"] > 1500
    assert set(of.rows.column("destination").to_pylist()) <= {f"deployment/shop/part-{n}" for n in range(4)}
    (scan,) = of.incidents
    ends = [of.rows.column(end).to_numpy(zero_copy_only=False)[of.incident == 0] for end in ("source", "destination")]
    assert scan.family == "scan"
    assert all("deployment/shop/part-0" in pair for pair in zip(*ends, strict=True))
    assert len(ends[0]) > 0


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`loomidi-lab record` makes one"):
        of_path(tmp_path)
