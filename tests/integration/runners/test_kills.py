"""The local runner in a process of its own, killed at random moments, beside a real nats-server.

The seed is printed; LOOMIDI_SEED repeats a run. At the end the windows on the bus are those of an undisturbed run.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.windows import WindowSettings, WindowSpec
from tests.integration.bus.brokers import NatsBroker
from tests.integration.runners import hours

pytestmark = [pytest.mark.required, pytest.mark.timeout(280)]
KILLS = 6
SECONDS = 300
PATIENCE_S = 60.0
WINDOWS = WindowSettings(specs=(WindowSpec(10, 10), WindowSpec(60, 10)))
PROGRAM = """
import asyncio, sys
from pathlib import Path
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.loom.runners import LocalRunner, RunnerSettings
from tests.integration.runners.test_kills import WINDOWS

async def main() -> None:
    async with await open_bus(BusSettings(url=sys.argv[1])) as bus:
        settings = RunnerSettings(Path(sys.argv[2]), WINDOWS, checkpoint_s=0.3, tick_s=0.01, fetch=4)
        await LocalRunner(bus, settings).run()

asyncio.run(main())
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsBroker]:
    broker = NatsBroker(tmp_path / "nats")
    broker.start()
    yield broker
    broker.stop()


def started(broker: NatsBroker, folder: Path) -> "subprocess.Popen[bytes]":
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}/src:{root}", "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, broker.url, str(folder)], env=environment)


async def counted(bus: TendedBus) -> int:
    """Envelopes of windows on the bus."""
    return sum(one.messages for one in await bus.standings() if one.stream in hours.OUT)


async def windows_on(bus: TendedBus) -> list[Envelope]:
    found = list[Envelope]()
    for stream in hours.OUT:
        reader = await bus.reader(stream, "test", after={})
        while messages := await reader.fetch(256, 0.5):
            found += [message.envelope for message in messages]
        await reader.close()
    return found


async def scenario(broker: NatsBroker, folder: Path, dice: random.Random) -> None:
    batches = [*hours.flows(SECONDS), hours.flows(SECONDS + 400)[-1]]  # the last one lets all of the others close
    told, expected = hours.envelopes(batches), hours.local(batches, WINDOWS, None)
    async with await open_bus(BusSettings(url=broker.url)) as bus:
        process = started(broker, folder)
        try:
            for kill in range(KILLS):
                before = await counted(bus)
                await bus.publish(told[len(told) * kill // KILLS : len(told) * (kill + 1) // KILLS])
                await until(bus, before + 1, process)
                await asyncio.sleep(dice.random() * 0.3)
                process.send_signal(signal.SIGKILL)
                process.wait()
                process = started(broker, folder)
            await until(bus, len(expected), process)
            assert hours.rows(await windows_on(bus)) == hours.rows(expected)
        finally:
            process.kill()
            process.wait()


async def until(bus: TendedBus, enough: int, process: "subprocess.Popen[bytes]") -> None:
    """Until so many envelopes of windows are there."""
    end = time.monotonic() + PATIENCE_S
    while await counted(bus) < enough:
        assert process.poll() is None, "the runner ended"
        assert time.monotonic() < end, f"{await counted(bus)} of {enough} envelopes came"
        await asyncio.sleep(0.01)


def test_killed_at_random_it_publishes_what_an_undisturbed_run_does(broker: NatsBroker, tmp_path: Path) -> None:
    seed = int(os.environ.get("LOOMIDI_SEED", time.time_ns() % 10**9))
    print(f"LOOMIDI_SEED={seed}; rung: nats-server, {KILLS} kills")
    asyncio.run(scenario(broker, tmp_path / "state", random.Random(seed)))
