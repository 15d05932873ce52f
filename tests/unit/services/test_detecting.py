"""The bus as a source of the live detectors, and findings as rows."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import ENTITIES, FINDINGS
from loomidi.garden.graph.naming import AddressBook
from loomidi.loom.flows.recording import as_records
from loomidi.loom.lake import LakeSettings
from loomidi.services.parts.detecting import BusFlows
from loomidi.services.settings.run import RunSettings
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.plant import Plant
from loomidi.services.sightings import AGAIN, NEW, Sighting
from loomidi.services.watching import Watch, WatchSettings
from tests.unit.ionic.making import a_finding
from tests.unit.origami.making import SECOND, START, batch, half_open

SCANNER = "10.244.1.5"


def scan(first: int, ports: int = 400) -> pa.RecordBatch:
    flows = [half_open(0.0, SCANNER, port=first + port, source_port=30000 + port) for port in range(ports)]
    return as_records(batch(flows), exporter="n1", link="ns/vetha")


def pod_row() -> pa.RecordBatch:
    row = dict.fromkeys(("namespace", "name", "uid", "owner_kind", "owner", "node", "cluster"), "")
    row |= {"address": SCANNER, "kind": "Pod", "namespace": "shop", "name": "scanner", "uid": "u1"}
    times = {"from": START - SECOND, "seen": START, "to": None}
    return pa.RecordBatch.from_pylist([row | times | {"labels": [], "services": [], "ports": "[]"}], schema=ENTITIES)


def test_flows_come_by_the_link_that_told_them() -> None:
    source = BusFlows(AddressBook())
    source.put(as_records(batch([half_open(0.0, SCANNER)]), exporter="n1", link="a"))
    source.put(as_records(batch([half_open(0.0, SCANNER)]), exporter="n2", link="a"))
    assert [str(link) for link, _ in source.take(0.1)] == ["n1/a", "n2/a"]
    assert source.counts["flows"] == 2


def sightings(source: BusFlows, settings: WatchSettings, turns: int) -> list[Sighting]:
    """`turns` looks of a watch, a second apart, at the hand of a clock of its own."""
    now_ns = START
    with Watch([], settings, source=source, book=source.book, clock=lambda: now_ns) as watch:
        seen: list[Sighting] = []
        for turn in range(turns):
            now_ns += SECOND
            source.put(scan(1000 * (turn + 1)))
            seen += [event for event in watch.turn() if isinstance(event, Sighting)]
    return seen


def test_a_scan_on_the_bus_is_found_and_its_pod_named() -> None:
    source = BusFlows(AddressBook(slack_s=5.0))
    source.learn(pod_row())
    (seen,) = sightings(source, WatchSettings(turn_s=0, summary_s=0), 1)
    assert seen.named.finding.entities[0] == "pod/shop/scanner"
    assert [proposed.fold.action for proposed in seen.folds] == ["isolate"]


def test_what_goes_on_growing_is_told_again_where_that_is_asked_for() -> None:
    def states(again_s: float) -> list[str]:
        settings = WatchSettings(turn_s=0, summary_s=0, again_s=again_s)
        return [one.state for one in sightings(BusFlows(AddressBook()), settings, 4)]

    assert states(0.0).count(AGAIN) == 0
    assert states(1.0)[0] == NEW
    assert AGAIN in states(1.0)


def test_a_row_holds_the_whole_finding() -> None:
    finding = a_finding()
    row = finding_row(finding, NEW, (), START)
    assert row.schema == FINDINGS
    (told,) = row.to_pylist()
    assert (told["finding_id"], told["pattern"], told["entities"]) == (finding.id, finding.pattern, [*finding.entities])
    assert json.loads(told["evidence"])[0]["name"] == "syn_rate"


@pytest.mark.parametrize("parts", ["", "-commit.flows", "-" + "-".join(["commit.entity_windows"] * 5)])
def test_the_reader_of_a_process_of_any_parts_has_a_name_that_the_bus_takes(tmp_path: Path, parts: str) -> None:
    plant = Plant(RunSettings(lake=LakeSettings(folder=tmp_path)), component=f"pipeline{parts}")
    assert re.fullmatch(r"detect-pipeline[A-Za-z0-9_-]*", plant.reader("detect"))
    assert len(plant.reader("detect")) <= 64
