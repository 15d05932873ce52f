"""The lake asked what a fold would have cut: measured, or unknown with the reason, never a guess."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from loomidi.contracts import FoldKind, FoldSpec, Match
from loomidi.contracts.schemas import FLOW_RECORDS
from loomidi.kit.clock import ManualClock
from loomidi.loom.lake import Committer, Lake
from loomidi.services.folds.looking_back import LookBackSettings, look_back
from tests.unit.loom.lake import batches
from tests.unit.loom.lake.batches import START_NS, lake_in, message

DROP = FoldSpec(FoldKind.RECONFIGURE_NETWORK, "host/10.9.0.1", "drop", Match(source="10.9.0.1"))
MINUTE_NS = 60 * 10**9


def filled(folder: Path, sources: list[str], after_s: float = 60.0) -> Lake:
    """A lake with a flow of 100 and 50 octets from each, looked at so long after the first."""
    plain = batches.flows(len(sources), span_ns=MINUTE_NS)
    columns: dict[str, Any] = dict(zip(plain.schema.names, plain.columns, strict=True))
    columns["source_ip_address"] = pa.array(sources)
    for name, octets in (("octet_delta_count", 100), ("reverse_octet_delta_count", 50)):
        columns[name] = pa.array([octets] * len(sources), pa.uint64())
    batch = pa.RecordBatch.from_arrays([columns[field.name] for field in FLOW_RECORDS], schema=FLOW_RECORDS)
    lake = lake_in(folder, clock=ManualClock(START_NS + round(after_s * 1e9)))
    with Committer(lake, "flows") as committer:
        committer.take([message(batches.envelope(batch, 0, stream="flows"), 1)])
        committer.commit()
    return lake


def test_flows_of_the_last_hour_are_held_against_the_fold(tmp_path: Path) -> None:
    told = look_back(filled(tmp_path, ["10.9.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.3"]), DROP)
    assert (told.state, told.rows, told.flows, told.octets, told.share_of_octets) == ("measured", 4, 2, 300, 0.5)
    assert (told.until_ns - told.since_ns, told.until_ns) == (3600 * 10**9, START_NS + MINUTE_NS)


def test_a_source_port_is_looked_at_only_where_the_fold_asks_for_one(tmp_path: Path) -> None:
    by_port = FoldSpec(DROP.kind, DROP.target, "drop", Match(source="10.9.0.1", source_port=65000))
    assert look_back(filled(tmp_path, ["10.9.0.1", "10.9.0.2"]), by_port).flows == 0


def test_an_hour_without_flows_is_unknown_and_not_harmless(tmp_path: Path) -> None:
    told = look_back(filled(tmp_path, ["10.9.0.1"], after_s=3 * 3600), DROP)
    assert (told.state, told.peers) == ("unknown", 0)
    assert "no flows of those 3600 s" in told.why


def test_a_lake_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert look_back(lake_in(tmp_path), DROP).why.startswith("the lake holds no flows")


def test_more_pairs_than_are_held_are_unknown_and_not_cut_short(tmp_path: Path) -> None:
    lake = filled(tmp_path, [f"10.9.0.{at}" for at in range(9)])
    told = look_back(lake, DROP, settings=LookBackSettings(pairs=5))
    assert (told.state, told.why) == ("unknown", "more than 5 pairs of ends in that time: look at a shorter one")
