"""The live slow lane on flows made by hand: told once, with names, nothing applied, a balance at the end."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.errors import UsageError
from loomidi.loom.flows.links import LinkId
from loomidi.services.sightings import Balanced, Event, FlowsSeen, Sighting, Trouble
from loomidi.services.watching import Watch, WatchSettings
from tests.unit.origami.making import SECOND, START, batch, flow, half_open

LINK = LinkId("n1", "vetha", 3)
SCANNER, VICTIM = "10.244.1.5", "10.244.1.6"


class Flows:
    """A source without links: one batch a turn, and the time that each turn is at."""

    def __init__(self, *turns: pa.RecordBatch) -> None:
        self._turns = list(turns)
        self.now_ns = START
        self.packets = sum(sum(turn.column("packet_delta_count").to_pylist()) for turn in turns)
        self.links: tuple[LinkId, ...] = (LINK,)
        self.problems: tuple[str, ...] = ()
        self.closed = False

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]:
        self.now_ns += SECOND
        return [(LINK, self._turns.pop(0))] if self._turns else []

    @property
    def ended(self) -> bool:
        return not self._turns

    def balance(self) -> dict[LinkId, dict[str, int]]:
        return {LINK: {"received": self.packets, "accounted": self.packets, "socket_dropped": 0, "unread": 0}}

    def figures(self) -> dict[LinkId, dict[str, int]]:
        return {LINK: {"in_flows": self.packets, "undelivered": 0}}

    def stop(self) -> None:
        self._turns.clear()

    def close(self) -> None:
        self.closed = True


def scan(ports: range, at_s: float = 0.0) -> pa.RecordBatch:
    return batch([half_open(at_s, SCANNER, port=port, destination=VICTIM, source_port=30000 + port) for port in ports])


def watched(source: Flows, settings: WatchSettings | None = None, **given: Any) -> list[Event]:
    settings = dataclasses.replace(settings or WatchSettings(summary_s=0), turn_s=0)
    with Watch([], settings, source=source, clock=lambda: source.now_ns, **given) as watch:
        return list(watch)


def sightings(events: list[Event]) -> list[Sighting]:
    return [event for event in events if isinstance(event, Sighting)]


@pytest.fixture
def entities(tmp_path: Path) -> str:
    rows = [
        {"address": SCANNER, "kind": "Pod", "namespace": "shop", "name": "scanner-x", "uid": "u1", "from_ns": 1},
        {"address": VICTIM, "kind": "Pod", "namespace": "shop", "name": "cart-0", "uid": "u2", "from_ns": 1},
    ]
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "entities.jsonl")


def test_a_scan_is_told_at_the_look_after_it_once_and_its_growth_is_counted(entities: str) -> None:
    source = Flows(scan(range(1000, 1040)), scan(range(1040, 1080), 1), scan(range(1080, 1090), 2))
    events = watched(source, entities=entities)
    (told,) = sightings(events)
    assert (told.state, told.named.finding.pattern) == ("new", "vertical_scan")
    assert told.named.finding.entities == ("pod/shop/scanner-x", "pod/shop/cart-0")
    assert told.at_ns - told.named.finding.last_ns <= 2 * SECOND
    assert isinstance(events[-1], Balanced)
    assert (events[-1].counts["findings"], events[-1].counts["updates"]) == (1, 2)


def test_what_is_told_has_the_fold_with_its_manifest_judged_and_not_applied(entities: str) -> None:
    (told,) = sightings(watched(Flows(scan(range(1000, 1040))), entities=entities))
    (fold,) = told.as_dict()["folds"]
    assert (fold["kind"], fold["mode"], fold["allowed"], fold["against"]) == ("ISOLATE_POD", "shadow", True, [])
    assert fold["fold"]["manifest"]["metadata"]["namespace"] == "shop"
    assert json.loads(json.dumps(told.as_dict()))["finding"]["techniques"] == ["T1046"]
    assert "address 10.244.1.5" in told.named.finding.explanation


def test_a_finding_that_becomes_worse_is_told_again() -> None:
    source = Flows(scan(range(1000, 1016)), scan(range(1016, 1400), 1))
    told = sightings(watched(source))
    assert [(one.state, one.named.finding.severity.value) for one in told] == [("new", "low"), ("worse", "medium")]
    assert len({one.named.finding.id for one in told}) == 1


def test_protected_addresses_are_refused_by_the_guards() -> None:
    settings = WatchSettings(summary_s=0, protected=(SCANNER,))
    (told,) = sightings(watched(Flows(scan(range(1000, 1040))), settings))
    assert [proposed.allowed for proposed in told.folds] == [False, False]


def test_more_findings_than_one_look_tells_follow_and_none_is_lost() -> None:
    ports = range(1000, 1016)
    many = [
        half_open((port - 1000) / 20, f"10.9.9.{host}", port=port, destination=VICTIM)
        for host in range(7)
        for port in ports
    ]
    quiet = [batch([flow(at, protocol=17)]) for at in range(1, 5)]
    told = sightings(watched(Flows(batch(many), *quiet), WatchSettings(summary_s=0, most_told=3)))
    assert len({one.named.finding.id for one in told}) == len(told) == 7
    assert [one.at_ns - START for one in told[:4]] == [SECOND, SECOND, SECOND, 2 * SECOND]


def test_sums_tell_the_talkers_and_add_up(entities: str) -> None:
    turns = [batch([flow(at, source=SCANNER, destination=VICTIM, port=80, protocol=6, packets=3, octets=300)])
             for at in range(7)]  # fmt: skip
    events = watched(Flows(*turns), WatchSettings(summary_s=3), entities=entities)
    sums = [event for event in events if isinstance(event, FlowsSeen)]
    assert [one.flows for one in sums] == [3, 3, 1]
    talk = sums[0].talks[0]
    assert (talk.source_name, talk.target_name, talk.services, talk.octets) == (
        "pod/shop/scanner-x", "pod/shop/cart-0", ("80/tcp",), 900,
    )  # fmt: skip


def test_the_balance_is_last_and_adds_up() -> None:
    last = watched(Flows(scan(range(1000, 1040))))[-1]
    assert isinstance(last, Balanced)
    assert (last.adds_up, last.packets["received"], last.counts["flows"]) == (True, 40, 40)
    assert last.links["n1/vetha"]["accounted"] == 40
    assert not dataclasses.replace(last, packets=dict(last.packets) | {"accounted": 41}).adds_up
    assert not dataclasses.replace(last, packets=dict(last.packets) | {"unread": 1}).adds_up


def test_bad_rows_and_links_that_fail_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "book.jsonl").write_text("nonsense\n")
    source = Flows(batch([flow(0)]), batch([flow(1)]))
    source.problems = ("n1/sit0: its link type is not supported",)
    events = watched(source, entities=str(tmp_path / "book.jsonl"))
    told = [event.message for event in events if isinstance(event, Trouble)]
    assert [line.rpartition("/")[2][:30] for line in told] == [
        "sit0: its link type is not sup",
        "book.jsonl:1: not a usable row",
    ]
    assert isinstance(events[-1], Balanced)
    assert events[-1].counts["bad_entities"] == 1


def test_names_that_come_later_are_used_from_then_on(tmp_path: Path) -> None:
    book = tmp_path / "book.jsonl"
    source = Flows(scan(range(1000, 1040)), batch([flow(1)]))
    first = sightings(watched(source, entities=str(book)))
    assert first[0].named.finding.entities[0] == f"host/{SCANNER}"
    row = {"address": SCANNER, "kind": "Pod", "namespace": "shop", "name": "scanner-x", "uid": "u1", "from_ns": 1}
    book.write_text(json.dumps(row) + "\n")
    again = sightings(watched(Flows(scan(range(1000, 1040))), entities=str(book)))
    assert again[0].named.finding.entities[0] == "pod/shop/scanner-x"


def test_the_links_are_let_go_of_whatever_happens() -> None:
    source = Flows(batch([flow(0)]))
    with contextlib.suppress(BrokenPipeError), Watch([], source=source) as watch:
        for _ in watch:
            raise BrokenPipeError
    assert source.closed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protected": ("x",)}, "is no address or CIDR"),
        ({"duration_s": -1.0}, "duration -1 s"),
        ({"judge_s": 0.0}, "judge"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_opened(changes: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        WatchSettings(**changes)
