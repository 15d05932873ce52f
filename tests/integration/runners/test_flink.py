"""The Flink job gives exactly what the local runner gives: from files, from Kafka, and after kill -9.

Each test says which rung ran. They need `make flink-tools`; those with Kafka also its broker (tests/integration/bus).
"""

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.contracts.streams import Envelope, Stream
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.bus.envelopes import from_headers
from loomidi.loom.runners.flink import FlinkSettings, Submitted, submit
from loomidi.loom.windows import WindowSettings, WindowSpec
from tests.integration.bus.brokers import KafkaBroker
from tests.integration.runners import hours
from tests.rungs import ran

pytestmark = [pytest.mark.slow, pytest.mark.required, pytest.mark.timeout(600)]
LONG = WindowSettings(specs=(WindowSpec(10, 10), WindowSpec(60, 10), WindowSpec(300, 60)))
HOUR_S = 3600
PATIENCE_S = 240.0


def submitted(settings: FlinkSettings) -> Submitted:
    try:
        job = submit(settings)
    except EnvironmentLacks as error:
        pytest.skip(str(error))
    ran("Flink", f"{settings.home.name.removeprefix('flink-')} (mini-cluster)")
    return job


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.stop()


def write_files(folder: Path, flows: list[pa.RecordBatch], metrics: list[pa.RecordBatch]) -> None:
    for stream, batches in ((Stream.FLOWS, flows), (Stream.METRICS, metrics)):
        payloads = [base64.b64encode(one.payload).decode() for one in hours.envelopes(batches, stream)]
        (folder / stream).mkdir(parents=True)
        (folder / stream / "all.txt").write_text("".join(f"{payload}\n" for payload in payloads))


def read_files(folder: Path) -> list[Envelope]:
    lines = [json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return [
        from_headers(line["headers"], base64.b64decode(line["payload"]), stream="", offset=0)
        for line in lines
    ]  # fmt: skip


async def publish(broker: KafkaBroker, batches: list[Envelope]) -> None:
    async with await open_bus(BusSettings(url=broker.url)) as bus:
        for stream in (*hours.OUT, Stream.LATE, Stream.METRICS, Stream.FLOWS):
            await (await bus.reader(stream, "makes-the-topic")).close()
        await bus.publish(batches)


async def read(broker: KafkaBroker, reader: str, enough: int) -> list[Envelope]:
    """All windows that are there, waiting until there are `enough` envelopes."""
    found = list[Envelope]()
    until = time.monotonic() + PATIENCE_S
    async with await open_bus(BusSettings(url=broker.url)) as bus:
        readers = [await bus.reader(stream, reader, after={}) for stream in hours.OUT]
        while len(found) < enough and time.monotonic() < until:
            for one in readers:
                found += [message.envelope for message in await one.fetch(1000, 0.5)]
        for one in readers:  # and nothing beyond
            found += [message.envelope for message in await one.fetch(1000, 1.0)]
            await one.close()
    return found


def test_from_files_both_runners_give_the_same_rows_of_all_sizes(tmp_path: Path) -> None:
    windows = WindowSettings()
    batches, samples = hours.flows(90, each=100), hours.metrics(90)
    write_files(tmp_path / "in", batches, samples)
    source, sink = ((tmp_path / name).as_uri() for name in ("in", "out"))
    with submitted(FlinkSettings(windows, source=source, sink=sink, bounded=True, epoch=7)) as job:
        job.wait(PATIENCE_S)
    expected = hours.rows(hours.local(batches, windows, 90, samples))
    assert hours.rows(read_files(tmp_path / "out")) == expected
    print(f"rung: files, mini-cluster, {sum(table.num_rows for table in expected.values())} rows of windows")


def test_from_kafka_both_runners_give_the_same_rows_of_an_hour(broker: KafkaBroker) -> None:
    batches, samples = hours.flows(HOUR_S), hours.metrics(HOUR_S)
    asyncio.run(publish(broker, [*hours.envelopes(samples, Stream.METRICS), *hours.envelopes(batches)]))
    bootstrap = broker.url.removeprefix("kafka://")
    with submitted(FlinkSettings(LONG, bootstrap=bootstrap, bounded=True, epoch=7)) as job:
        job.wait(PATIENCE_S)
    told = hours.local(batches, LONG, HOUR_S, samples)
    expected = hours.rows(told)
    assert hours.rows(asyncio.run(read(broker, "test", len(told)))) == expected
    print(f"rung: Kafka, mini-cluster, {sum(table.num_rows for table in expected.values())} rows of windows")


def test_killed_and_restored_from_its_checkpoint_it_neither_loses_nor_doubles(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    batches = [*hours.flows(600), hours.flows(1100)[-1]]  # the last one lets all of the others close
    sent = hours.envelopes(batches)
    asyncio.run(publish(broker, sent[: len(sent) // 2]))
    checkpoints = (tmp_path / "checkpoints").as_uri()
    bootstrap = broker.url.removeprefix("kafka://")
    settings = FlinkSettings(LONG, bootstrap=bootstrap, checkpoints=checkpoints, checkpoint_s=1.0, epoch=7)
    with submitted(settings) as job:
        first = asyncio.run(read(broker, "first", 20))
        assert len(first) >= 20, job.log.read_text()[-3000:]
        job.kill()
    asyncio.run(publish(broker, sent[len(sent) // 2 :]))
    newest = max((tmp_path / "checkpoints").glob("*/chk-*/_metadata"), key=lambda path: path.stat().st_mtime)
    told = hours.local(batches, LONG, None)
    with submitted(dataclasses.replace(settings, restore=newest.parent.as_uri())) as job:
        found = asyncio.run(read(broker, "second", len(told)))
        assert len(found) == len(told), job.log.read_text()[-3000:]
    assert hours.rows(found) == hours.rows(told)
    print("rung: Kafka, mini-cluster killed and restored")
