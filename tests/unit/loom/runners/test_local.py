"""The runner beside a bus: what it publishes is what the operators give, whatever happens to the process."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loomidi.contracts.errors import Conflict
from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITY_WINDOWS, FLOW_RECORDS
from loomidi.contracts.streams import Ack, Envelope, Stream
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.bus.memory import MemoryBus
from loomidi.loom.runners import LocalRunner, RunnerSettings
from loomidi.loom.windows import WindowSettings, WindowSpec
from loomidi.loom.windows.synthetic import START_NS, flow_records
from tests.unit.loom.windows.building import SECOND, metric, metrics, records, windows_of

WINDOWS = WindowSettings(specs=(WindowSpec(10, 10), WindowSpec(60, 10)), chunk_rows=300)
FLOWS = [flow_records(100, seed=k, start_ns=START_NS + k * 4 * SECOND, seconds=4.0, pods=6) for k in range(20)]
LAST = records([{"at": 400.0}])  # after it all of the others are closed
OUT = {Stream.EDGE_WINDOWS: EDGE_WINDOWS, Stream.ENTITY_WINDOWS: ENTITY_WINDOWS, Stream.LATE: FLOW_RECORDS}


class Crash(BaseException):
    """The process is gone."""


class FragileBus(MemoryBus):
    """Crashes before or after some of the publications that the runner makes."""

    def __init__(self, luck: random.Random | None = None) -> None:
        super().__init__()
        self.luck, self.fragile, self.crashes = luck, False, 0

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        dies = self.fragile and self.luck is not None and (self.crashes == 0 or self.luck.random() < 0.35)
        self.crashes += dies
        if dies and self.luck is not None and self.luck.random() < 0.5:
            raise Crash
        acks = await super().publish(envelopes)
        if dies:
            raise Crash
        return acks


async def feed(
    bus: MemoryBus, batches: Sequence[pa.RecordBatch], stream: Stream = Stream.FLOWS, epoch: int = 1
) -> None:
    await bus.publish(
        [encode(batch, stream=stream, producer="n", epoch=epoch, seq=k) for k, batch in enumerate(batches)]
    )


def published(bus: MemoryBus, stream: Stream) -> list[Envelope]:
    return [envelope for _, _, envelope in bus.log(stream.value).messages]


def tables(bus: MemoryBus) -> dict[tuple[int, Stream], pa.Table]:
    """What was published, as `windows_of` gives it."""
    found: dict[tuple[int, Stream], list[pa.RecordBatch]] = {}
    for stream in (Stream.EDGE_WINDOWS, Stream.ENTITY_WINDOWS):
        for envelope in published(bus, stream):
            size = int(envelope.producer.removeprefix("windows-"))
            found.setdefault((size, stream), []).append(decode(envelope, OUT[stream]))
    return {key: pa.Table.from_batches(some).combine_chunks() for key, some in found.items()}


def expected(batches: Sequence[pa.RecordBatch]) -> dict[tuple[int, Stream], pa.Table]:
    found = windows_of(batches, WINDOWS, until_s=390.0)
    return {key: table.combine_chunks() for key, table in found.items()}


def settings(folder: Path, **more: Any) -> RunnerSettings:
    return RunnerSettings(folder, WINDOWS, tick_s=0.01, fetch=3, **more)


async def run_until(runner: LocalRunner, done: Any) -> None:
    """Run in this loop until the condition holds, then stop; a crash of the runner is raised."""
    task = asyncio.create_task(runner.run())
    try:
        while not done() and not task.done():
            await asyncio.sleep(0.005)
        runner.stop()
        await task
    finally:
        runner.close()


def absorbed(runner: LocalRunner, offset: int) -> bool:
    """Whether all was absorbed and nothing is left to close."""
    at: int = runner._positions["flows"].get(0, 0)
    return at >= offset and not runner._decided and runner.machine.due() is None


def test_it_publishes_what_the_operators_give(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        await feed(bus, [*FLOWS, LAST])
        runner = LocalRunner(bus, settings(tmp_path))
        await run_until(runner, lambda: absorbed(runner, len(FLOWS) + 1))
        assert tables(bus) == expected(FLOWS)
        assert runner.figures()["flows"] == 2001

    asyncio.run(scenario())


def test_stopped_and_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        await feed(bus, [*FLOWS, LAST])
        for offset in (5, 11, len(FLOWS) + 1):
            runner = LocalRunner(bus, settings(tmp_path))
            await run_until(runner, lambda runner=runner, offset=offset: absorbed(runner, offset))
            assert runner.counters["published_again"] == 0
        assert tables(bus) == expected(FLOWS)

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(6))
def test_crashes_at_random_neither_lose_nor_double_nor_change_a_row(tmp_path: Path, seed: int) -> None:
    """Each crash is before or after a publication; snapshots are rare, so most is done again from the journal."""

    async def scenario() -> None:
        bus = FragileBus(random.Random(seed))
        await feed(bus, [*FLOWS, LAST])
        bus.fragile = True
        while True:
            runner = LocalRunner(
                bus, settings(tmp_path, checkpoint_s=random.Random(seed + bus.crashes).choice([0.05, 3600]))
            )
            try:
                await run_until(runner, lambda runner=runner: absorbed(runner, len(FLOWS) + 1))
            except Crash:
                continue
            break
        assert tables(bus) == expected(FLOWS)
        ids = [envelope.id for envelope in published(bus, Stream.EDGE_WINDOWS)]
        assert len(set(ids)) == len(ids)
        assert bus.crashes > 0
        print(f"seed {seed}: {bus.crashes} crashes")

    asyncio.run(scenario())


def test_what_comes_late_goes_to_the_late_stream_with_its_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        late = records([{"at": 3.0, "octets": 7}, {"at": 500.0}])
        await feed(bus, [records([{"at": 3.0}]), records([{"at": 100.0}])])
        runner = LocalRunner(bus, settings(tmp_path))
        task = asyncio.create_task(run_until(runner, lambda: absorbed(runner, 3)))
        while not published(bus, Stream.EDGE_WINDOWS):
            await asyncio.sleep(0.005)
        await feed(bus, [late], epoch=2)
        await task
        (envelope,) = published(bus, Stream.LATE)
        assert decode(envelope, FLOW_RECORDS).equals(late.slice(0, 1))
        assert (envelope.producer, runner.figures()["late_flows"]) == ("windows-late", 1)

    asyncio.run(scenario())


def test_metrics_of_http_servers_are_told_of_their_entity(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        samples = [metric(at, "http_requests_total", value, code="500") for at, value in ((1, 0), (12, 6))]
        await feed(bus, [metrics(samples)], Stream.METRICS)
        runner = LocalRunner(bus, settings(tmp_path))
        task = asyncio.create_task(run_until(runner, lambda: absorbed(runner, 2)))
        while runner.figures()["samples"] < 2:
            await asyncio.sleep(0.005)
        await feed(bus, [FLOWS[0], LAST])
        await task
        rows = tables(bus)[10, Stream.ENTITY_WINDOWS].to_pylist()
        told = [row["http_server_error_count"] for row in rows if row["entity"] == "pod/shop/cart-0"]
        assert told == [6]

    asyncio.run(scenario())


def test_a_poison_batch_is_buried_with_its_cause_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        await bus.publish([Envelope("flows", "n", 0, 0, 1, b"no arrow")])
        await feed(bus, [*FLOWS, LAST])
        runner = LocalRunner(bus, settings(tmp_path))
        await run_until(runner, lambda: absorbed(runner, len(FLOWS) + 2))
        (dead,) = await bus.dead()
        assert (dead.reader, runner.counters["dead_letters"]) == ("windows", 1)
        assert tables(bus) == expected(FLOWS)

    asyncio.run(scenario())


def test_a_bus_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = MemoryBus()
        await feed(bus, [*FLOWS, LAST])
        runner = LocalRunner(bus, settings(tmp_path, patience_s=0.01))
        task = asyncio.create_task(run_until(runner, lambda: absorbed(runner, len(FLOWS) + 1)))
        for _ in range(3):
            await asyncio.sleep(0.02)
            bus.away = True
            await asyncio.sleep(0.02)
            bus.away = False
        await task
        assert tables(bus) == expected(FLOWS)

    asyncio.run(scenario())


def test_one_folder_has_one_runner(tmp_path: Path) -> None:
    first = LocalRunner(MemoryBus(), settings(tmp_path))
    with pytest.raises(Conflict, match="held by another runner"):
        LocalRunner(MemoryBus(), settings(tmp_path))
    first.close()


def test_state_of_other_windows_is_not_mixed_with_these(tmp_path: Path) -> None:
    LocalRunner(MemoryBus(), settings(tmp_path)).close()
    other = RunnerSettings(tmp_path, WindowSettings(grain="workload"))
    with pytest.raises(Conflict, match="move the folder away"):
        LocalRunner(MemoryBus(), other)
