"""`loomidi bus` tells what is there, in words and in JSON."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.envelopes import encode


def loomidi(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "loomidi", "bus", "--folder", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with two messages, one of them dead."""

    async def fill(bus: TendedBus) -> None:
        batch = pa.RecordBatch.from_arrays([pa.array([1, 2, 3])], names=["a"])
        await bus.publish([encode(batch, stream="events", producer="n1", epoch=1, seq=seq) for seq in range(2)])
        reader = await bus.reader("events", "lake")
        messages = await reader.fetch(2, 5.0)
        await reader.commit({0: messages[0].offset})
        await bus.bury(messages[0], reader="lake", cause="column a is int64, not utf8")

    async def made() -> None:
        async with await open_bus(BusSettings(folder=tmp_path)) as bus:
            await fill(bus)

    asyncio.run(made())
    return tmp_path


def test_the_state_is_told_and_a_dead_letter_is_seen_and_replayed(folder: Path) -> None:
    code, out, _ = loomidi(folder, "status", "--json")
    told = {one["stream"]: one for one in map(json.loads, out.splitlines())}
    assert code == 1
    assert told["events"]["messages"] == 2
    assert told["events"]["readers"][0] | {"octets": 0} == {"name": "lake", "messages": 1, "octets": 0}
    code, out, _ = loomidi(folder, "dead", "list")
    assert code == 1
    assert "column a is int64, not utf8" in out
    code, out, _ = loomidi(folder, "dead", "show", "1", "--json")
    assert json.loads(out)["columns"] == ["a: int64"]
    assert json.loads(out)["envelope"] == "n1/1/0"
    assert loomidi(folder, "dead", "replay", "1", "--json")[:2] == (0, '{"replayed": 1}\n')
    assert loomidi(folder, "dead", "list")[:2] == (0, "no dead letters\n")
    code, out, _ = loomidi(folder, "status")
    assert code == 0
    assert "lake (2)" in out


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    code, _, err = loomidi(tmp_path, "dead", "show", "7")
    assert code == 2
    assert err.count("\n") == 1
    assert "no dead letter 7" in err
    command = [sys.executable, "-m", "loomidi", "bus", "--url", "nats://127.0.0.1:1", "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
