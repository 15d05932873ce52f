"""The protocol of the bench of incidents: left-out families, what counts as found, and no recordings are no result."""

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bench import incidents
from bench.incidents import Alarm, Occurrence, Run
from loomidi.contracts.schemas import FLOWS as METERED
from loomidi.loom.windows.synthetic import START_NS, flow_records
from loomidi_lab.recording.streams import FLOWS
from tests.unit.origami.shops import SCANNER, Shop


def staged(seed: int) -> Run:
    """Eighty windows as usual, then a scan."""
    shop = Shop(seed=seed, at=100 * seed)
    usual = list(shop.windows(80))
    start = shop.ns
    windows = [*usual, shop.scan(0), shop.scan(40), *shop.windows(3)]
    scan = Occurrence("scan-services", "attack", "scan", start, start + 20 * incidents.NS, frozenset({SCANNER}))
    return Run(f"r{seed}", seed, 10, windows, [scan], [])


def test_a_scan_that_was_never_learned_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "BUDGETS", (100.0,))  # a grid of them takes a minute on a busy machine
    told = incidents.measured([staged(1), staged(2), staged(6)], incidents.OWN, 0)
    assert told["families"]["scan"]["recall"] == told["overall"]["recall"] == 1.0
    assert 0 < told["overall"]["median_s"] <= 32


def test_an_alarm_counts_for_what_it_names_while_it_goes_on() -> None:
    run = staged(1)
    (scan,) = run.occurrences
    right = Alarm(scan.start_ns + incidents.NS, scan.start_ns, scan.end_ns, scan.ends)
    other = dataclasses.replace(right, ends=frozenset({"deployment/shop/cart"}))
    early = dataclasses.replace(right, told_ns=scan.start_ns - 1)
    assert incidents.judged(run, [right, other, early])["false"] == 2
    assert incidents.judged(run, [right])["found"] == [(scan, 1.0)]


def test_what_nobody_staged_is_false_by_pods_and_days() -> None:
    run = dataclasses.replace(staged(1), occurrences=[])
    told = incidents.figures([incidents.judged(run, [Alarm(1, 1, 1, frozenset({"a"}))])])
    assert told["false"] == pytest.approx(100 / (10 * run.days))


def test_without_recordings_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert incidents.main(["--recordings", str(tmp_path)]) == 2
    assert "Nothing was measured" in capsys.readouterr().out


def recording(folder: Path) -> Path:
    """As the recorder leaves one: two minutes of made-up flows of which nothing was staged but one scan."""
    records = flow_records(3000, seed=1, seconds=120.0, pods=40, outside=20)
    flows = {name: records.column(name) for name in METERED.names}
    ends = records.column("flow_end_nanoseconds").cast(pa.int64())
    texts = dict.fromkeys(("netns", "link", "link_kind", "namespace", "pod"), "") | {"node": "n1"}
    flows |= {name: pa.array([text] * 3000) for name, text in texts.items()}
    flows |= {"recorded_ns": ends, "time_ns": ends, "link_index": pa.array([0] * 3000, pa.int64())}
    (folder / "flows").mkdir(parents=True)
    parquet.write_table(
        pa.table([flows[name] for name in FLOWS.names], schema=FLOWS), folder / "flows/part-00000.parquet"
    )
    pod = {"address": "10.0.0.1", "kind": "Pod", "namespace": "shop", "name": "part-0", "uid": "u", "node": "n1"}
    pod |= {"owner_kind": "Deployment", "owner": "part", "labels": {}, "ports": [], "from_ns": 0, "to_ns": 0}
    (folder / "addresses.jsonl").write_text(json.dumps(pod) + "\n")
    found = [{"entity": {"kind": "Pod", "namespace": "shop", "name": "part-0"}, "pods": []}]
    measured = {"valid": True, "start_ns": START_NS, "end_ns": START_NS + 1, "sources": found, "victims": []}
    planned = {"scenario": "scan-services", "category": "attack", "family": "scan"}
    (folder / "truth.json").write_text(json.dumps({"planned": [planned], "measured": [measured]}))
    (folder / "schedule.json").write_text(json.dumps({"seed": 7}))
    return folder


def test_a_recording_becomes_windows_between_workloads_with_its_truth(tmp_path: Path) -> None:
    run = incidents.read(recording(tmp_path / "one"))
    assert (run.seed, run.pods, len(run.windows)) == (7, 1, 12)
    assert sum(sum(one.column("flow_record_count").to_pylist()) for one in run.windows) == 3000
    assert {name for one in run.windows for name in one.column("source_workload").to_pylist()} == {
        "deployment/shop/part",
        None,
    }
    assert "deployment/shop/part" in run.occurrences[0].ends
