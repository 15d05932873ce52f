"""The model's part over a bus in memory: findings told once, whatever is killed when; state that fits or is refused."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.schemas import FINDINGS
from loomidi.contracts.streams import Stream
from loomidi.loom.bus import BusSettings, TendedBus
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.lake import LakeSettings
from loomidi.services.anomalies.part import Anomalies
from loomidi.services.anomalies.reasoning import Reasons
from loomidi.services.anomalies.states import Ledger, State
from loomidi.services.settings.anomalies import AnomalySettings
from loomidi.services.settings.run import NodeSettings, RunSettings
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.plant import Plant
from loomidi.services.sightings import AGAIN, NEW
from tests.unit.ionic.making import a_finding
from tests.unit.origami.shops import DB, SCANNER, Shop
from tests.unit.services.test_incident_findings import INCIDENT
from tests.unit.services.test_noticing import LEARNED, SETTINGS

GROUP = AnomalySettings(
    learn_s=SETTINGS.learn_s, calibrate_s=SETTINGS.calibrate_s, learn_rows=SETTINGS.learn_rows, kept_rows=20_000,
    pairs=4096, settle_s=0.05, snapshot_s=0.2,
)  # fmt: skip


class Room:
    """A bus that outlives the parts that are run over it, and a state folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.settings = RunSettings(
            node=NodeSettings(name="n1", state=folder),
            bus=BusSettings(url=f"memory://{name}"),
            lake=LakeSettings(folder=folder / "lake"),
            anomalies=GROUP,
        )
        self.plant = Plant(self.settings)
        self.seq = 0

    async def publish(self, *batches: pa.RecordBatch, stream: Stream = Stream.EDGE_WINDOWS) -> None:
        bus = await self.plant.bus()
        for batch in batches:
            one = encode(batch, stream=stream, producer="windows-10", epoch=1, seq=self.seq, created_ns=1)
            await bus.publish([one])
            self.seq += 1

    async def found(self) -> list[dict[str, Any]]:
        """All rows of the model on the stream, each id of an envelope once."""
        bus = await self.plant.bus()
        reader = await bus.reader(Stream.FINDINGS, "test", after={})
        messages = await reader.fetch(1000, 0.05)
        await reader.close()
        batches = {one.envelope.id: decode(one.envelope, FINDINGS) for one in messages}
        plain = FINDINGS
        for at, field in enumerate(FINDINGS):
            plain = plain.set(at, pa.field(field.name, pa.int64())) if pa.types.is_timestamp(field.type) else plain
        rows = [row for batch in batches.values() for row in pa.Table.from_batches([batch]).cast(plain).to_pylist()]
        return [row for row in rows if row["source"].startswith("origami.scoring")]

    async def run(self, until: Callable[[Anomalies], Awaitable[bool]]) -> Anomalies:
        """A life of the part, ended in order when the condition holds."""
        part, told = Anomalies(self.plant, 10, Reasons()), asyncio.Event()
        running = asyncio.create_task(part.run(told))
        async with asyncio.timeout(600):
            while not running.done() and not await until(part):
                await asyncio.sleep(0.02)
        told.set()
        try:
            await running
        finally:  # the bus outlives it, what publishes for it does not
            while self.plant._publishers:
                await self.plant._publishers.popitem()[1].close()
        return part


def read(rows: int) -> Callable[[Anomalies], Awaitable[bool]]:
    async def enough(part: Anomalies) -> bool:
        return part._figures().get("read", 0) >= rows and not part._figures().get("pending", 1)

    return enough


def rows_of(batches: Iterable[pa.RecordBatch]) -> int:
    return sum(batch.num_rows for batch in batches)


@pytest.fixture
def room(tmp_path: Path, request: pytest.FixtureRequest) -> Room:
    return Room(tmp_path, request.node.name)


def test_a_scan_is_told_once_with_its_cause_over_a_restart(room: Room) -> None:
    async def scenario() -> None:
        shop = Shop(seed=11)
        usual, strange = list(shop.windows(LEARNED)), [shop.scan(0), *shop.windows(2)]
        await room.publish(*usual)
        await room.run(read(rows_of(usual)))
        assert await room.found() == []
        await room.publish(*strange)
        await room.run(read(rows_of([*usual, *strange])))
        (row,) = await room.found()
        assert (row["state"], row["pattern"], row["entities"][0]) == (NEW, "anomaly", "workload/tenants/scanner")
        assert "Likely cause: Most likely: workload/tenants/scanner" in row["explanation"]
        more = list(shop.windows(3))
        await room.publish(*more)
        await room.run(read(rows_of([*usual, *strange, *more])))
        assert len(await room.found()) == 1

    asyncio.run(scenario())


def test_what_was_written_down_and_not_told_is_told_by_the_next_start_under_the_same_id(room: Room) -> None:
    async def scenario() -> None:
        shop = Shop(seed=12)
        windows = [*shop.windows(LEARNED), shop.scan(0), *shop.windows(1)]
        await room.publish(*windows)
        bus: TendedBus = await room.plant.bus()
        publish, broken = bus.publish, []

        async def away(envelopes: Any) -> Any:
            broken.append([one.id for one in envelopes])
            raise ConnectionError("the bus went away just then")

        bus.publish = away  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            await room.run(read(10**9))
        assert len(broken) == 1
        bus.publish = publish  # type: ignore[method-assign]
        part = await room.run(read(rows_of(windows)))
        (row,) = await room.found()
        assert row["state"] == NEW
        assert part._state.published == part._state.offered == 1

    asyncio.run(scenario())


def test_a_window_is_judged_when_its_last_envelope_has_come_and_after_silence_where_one_is_missing(room: Room) -> None:
    async def scenario() -> None:
        room.settings = dataclasses.replace(room.settings, anomalies=dataclasses.replace(GROUP, settle_s=3600))
        room.plant = Plant(room.settings)
        first, second, third = Shop(seed=15).windows(3)
        await room.publish(first)
        room.seq += 1  # one that has not come
        await room.publish(second)
        part = await room.run(lambda part: _held(part, second.num_rows))
        assert part._figures()["learned"] == first.num_rows
        await room.publish(third)
        part = await room.run(read(rows_of([first, second, third])))
        assert part._figures()["learned"] == rows_of([first, second, third])

    asyncio.run(scenario())


async def _held(part: Anomalies, rows: int) -> bool:
    return part._figures().get("pending", 0) == rows


def test_a_rule_that_finds_it_later_makes_it_information(room: Room) -> None:
    async def scenario() -> None:
        shop = Shop(seed=13)
        windows = [*shop.windows(LEARNED), shop.scan(0), *shop.windows(1)]
        await room.publish(*windows)
        await room.run(read(rows_of(windows)))
        (first,) = await room.found()
        assert first["severity"] == "medium"
        at = first["first"]
        ruled = a_finding("vertical_scan", entities=(SCANNER, "deployment/shop/target-3"), first_ns=at, last_ns=at)
        await room.publish(finding_row(ruled, NEW, (), at), stream=Stream.FINDINGS)

        async def told(part: Anomalies) -> bool:
            return bool(part.counts[AGAIN])

        await room.run(told)
        (_, again) = await room.found()
        assert (again["state"], again["severity"], again["finding_id"]) == (AGAIN, "info", first["finding_id"])
        assert "also_seen_by" in {one["name"] for one in json.loads(again["evidence"])}

    asyncio.run(scenario())


def test_a_state_that_cannot_be_used_makes_it_learn_anew_and_say_so(room: Room) -> None:
    async def scenario() -> None:
        windows = list(Shop(seed=14).windows(3))
        await room.publish(*windows)
        await room.run(read(rows_of(windows)))
        for snapshot in (room.settings.node.state / "anomalies").glob("snapshot-*"):
            snapshot.write_bytes(b"spoiled")
        part = await room.run(read(rows_of(windows)))
        assert part.counts["snapshots_refused"] == 1

    asyncio.run(scenario())


def test_every_window_that_was_read_is_learned_scored_or_waits() -> None:
    ledger, state = Ledger(), State(epoch=7, offered=3, published=2)
    ledger.begin({"read": 100, "learned": 60, "scored": 30, "pending": 10})
    ledger.mark(state, {"read": 150, "learned": 60, "scored": 85, "pending": 5})
    found = {one.name: one.value for one in ledger.judged}
    assert found == {"read": 60, "learned": 0, "scored": 55, "waiting": 5}
    ledger.begin({"read": 100, "learned": 60, "scored": 30, "pending": 10})  # failed, and restored
    ledger.mark(state, {"read": 150, "learned": 60, "scored": 90, "pending": 0})
    found = {one.name: one.value for one in ledger.judged}
    assert found == {"read": 115, "learned": 0, "scored": 115, "waiting": 0}


def test_a_state_goes_on_as_it_was() -> None:
    envelope = encode(finding_row(a_finding(), NEW, (), 1), stream="findings", producer="n1.a", epoch=1, seq=4)
    state = State(epoch=5, seq=6, offered=7, published=6, noticing=b"learned\nthings", signals=b"s", outbox=[envelope])
    state.positions[Stream.EDGE_WINDOWS] = {0: 17}
    state.open["incident-1"], state.also["incident-1"] = INCIDENT, ["finding-1"]
    state.follow(Stream.EDGE_WINDOWS, "one")
    assert State.of(state.to_bytes()) == state
    state.follow(Stream.EDGE_WINDOWS, "another")
    assert state.after(Stream.EDGE_WINDOWS) == {}
    assert DB in state.open["incident-1"].entities
