"""Findings of the bus reach every sink, whatever is killed or away, and what cannot be told is counted."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts import Conflict, UsageError
from loomidi.contracts.schemas import FINDINGS
from loomidi.contracts.streams import Stream
from loomidi.loom.bus import BusSettings
from loomidi.loom.bus.envelopes import encode
from loomidi.loom.lake import LakeSettings
from loomidi.loom.sinks import FileSettings, Format, StdoutSettings, SyslogSettings, WebhookSettings
from loomidi.services.events.choosing import chosen
from loomidi.services.events.outbox import Outbox
from loomidi.services.events.rendering import about, letter, rows
from loomidi.services.events.settings import EventSettings
from loomidi.services.events.telling import Events
from loomidi.services.pipeline import _parts
from loomidi.services.settings.run import NodeSettings, RunSettings
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.plant import Plant
from tests.unit.ionic.events.judging import ocsf, stix
from tests.unit.ionic.making import a_finding


def plant(folder: Path, events: EventSettings) -> Plant:
    return Plant(
        RunSettings(
            node=NodeSettings(name="n1", state=folder),
            bus=BusSettings(url=f"memory://{folder.name}"),
            lake=LakeSettings(folder=folder / "lake"),
            events=events,
        )
    )


async def tell(on: Plant, batch: pa.RecordBatch, seq: int = 0) -> None:
    bus = await on.bus()
    await bus.publish([encode(batch, stream=Stream.FINDINGS, producer="detect", epoch=1, seq=seq, created_ns=1)])


async def run(on: Plant, until: Callable[[Events], bool]) -> Events:
    part, told = Events(on), asyncio.Event()
    running = asyncio.create_task(part.run(told))
    async with asyncio.timeout(60):
        while not running.done() and not until(part):
            await asyncio.sleep(0.02)
    told.set()
    await running
    return part


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in path.read_text().splitlines()] if path.is_file() else []


def test_each_telling_of_a_finding_is_an_event_in_the_format_of_its_sink(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    on = plant(tmp_path, EventSettings(file=FileSettings(path=str(out))))

    async def scene() -> None:
        await tell(on, finding_row(a_finding(), "new", (), 10**18))
        await tell(on, finding_row(a_finding(), "over", (), 2 * 10**18), 1)
        await run(on, lambda _: len(told(out)) == 2)

    asyncio.run(scene())
    assert [one["activity_name"] for one in told(out)] == ["Create", "Close"]
    assert told(out)[0]["metadata"]["reporter"] == {"name": "n1"}
    assert [one["time"] for one in told(out)] == [10**12, 2 * 10**12]


def test_a_sink_that_is_away_holds_up_no_other_and_keeps_its_letters(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    away = WebhookSettings("http://127.0.0.1:1/", secret=tmp_path / "secret")
    on = plant(tmp_path, EventSettings(file=FileSettings(path=str(out)), webhook=away))

    async def scene() -> Events:
        await tell(on, finding_row(a_finding(), "new", (), 10**18))
        return await run(on, lambda one: len(told(out)) == 1 and any("retried" in str(s) for s in one.samples()))

    part = asyncio.run(scene())
    outbox = Outbox(part.path)
    assert [one.letter.kind for one in outbox.head("webhook", 9)] == ["finding"]
    assert outbox.standing()["file"] == (0, 0, 0)


def test_rows_that_cannot_be_read_are_counted_and_the_others_are_told(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    on = plant(tmp_path, EventSettings(file=FileSettings(path=str(out))))
    (row,) = finding_row(a_finding(), "new", (), 10**18).to_pylist()
    batch = pa.RecordBatch.from_pylist([row | {"evidence": "{"}, row | {"severity": "odd"}, row], schema=FINDINGS)

    async def scene() -> Events:
        await tell(on, batch)
        return await run(on, lambda _: len(told(out)) == 1)

    assert asyncio.run(scene()).counts == {"unreadable_findings": 2, "findings": 1}


def test_one_process_sends_from_a_queue(tmp_path: Path) -> None:
    async def scene() -> None:
        first = Events(plant(tmp_path, EventSettings(stdout=StdoutSettings(on=True))))
        second, end = Events(plant(tmp_path, EventSettings(stdout=StdoutSettings(on=True)))), asyncio.Event()
        running = asyncio.create_task(first.run(end))
        while not first.path.with_suffix(".lock").exists():
            await asyncio.sleep(0.01)
        with pytest.raises(Conflict, match="events"):
            await second.run(asyncio.Event())
        end.set()
        await running

    asyncio.run(scene())


@pytest.mark.parametrize("form", list(Format))
def test_a_row_is_rendered_as_its_finding_is(form: Format) -> None:
    (one,) = rows(finding_row(a_finding(), "worse", (), 5 * 10**18))
    assert not isinstance(one, str)
    assert one.record == a_finding()
    made = letter(one, form, about("n1"))
    assert made is not None
    read = (ocsf if form is Format.OCSF else stix)(json.loads(made.body))
    assert read["activity_id" if form is Format.OCSF else "type"] in (2, "bundle")


def test_nothing_leaves_by_default_and_the_part_is_there_once_a_sink_is_named(tmp_path: Path) -> None:
    names = [[part.name for part in _parts(plant(tmp_path, events), print)] for events in (
        EventSettings(), EventSettings(stdout=StdoutSettings(on=True)),
    )]  # fmt: skip
    assert EventSettings().sinks == ()
    assert ["events" in one for one in names] == [False, True]


def test_every_sink_is_chosen_by_its_own_setting(tmp_path: Path) -> None:
    every = EventSettings(
        stdout=StdoutSettings(on=True), file=FileSettings(path=str(tmp_path / "x")), syslog=SyslogSettings(host="h")
    )
    assert [one.sink.name for one in chosen(every, "n1")] == list(every.sinks) == ["stdout", "file", "syslog"]


@pytest.mark.parametrize("wrong", [{"first_s": 0.0}, {"first_s": 99.0}, {"give_up_s": 0.0}, {"most_waiting": 0}])
def test_settings_that_make_no_sense_are_said_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="events"):
        dataclasses.replace(EventSettings(), **wrong).checked()
