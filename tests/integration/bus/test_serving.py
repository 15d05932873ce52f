"""The server of our own: one owner of a folder, others join, it comes back when it dies, nothing is left behind."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from loomidi.contracts.errors import Conflict, EnvironmentLacks, Retryable
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, TendedBus, open_bus
from loomidi.loom.bus.serving import NatsServer
from tests.integration.bus.brokers import answers, free_port


def run(claim: Callable[[], Awaitable[None]]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await claim()

    asyncio.run(in_time())


def envelope(seq: int) -> Envelope:
    return Envelope("flows", "n1", 1, seq, 1, b"x" * 100)


def settings(folder: Path, **changes: object) -> BusSettings:
    return BusSettings(**{"folder": folder, **changes})


def pid(folder: Path) -> int:
    return int(json.loads((folder / "server.json").read_text())["pid"])


def test_two_users_of_a_folder_share_one_server(tmp_path: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(tmp_path)) as owner, await open_bus(settings(tmp_path)) as guest:
            await owner.publish([envelope(0)])
            reader = await guest.reader("flows", "lake")
            assert [one.envelope.seq for one in await reader.fetch(10, 5.0)] == [0]
            await guest.close()
            assert await owner.reachable()
        assert not (tmp_path / "server.json").exists()

    run(claim)


def test_a_guest_takes_the_place_of_an_owner_that_has_ended_and_everybody_finds_its_server(tmp_path: Path) -> None:
    async def claim() -> None:
        owner = await open_bus(settings(tmp_path))
        third = settings(tmp_path, join=True, patience_s=20.0)
        async with await open_bus(settings(tmp_path, patience_s=20.0)) as guest, await open_bus(third) as other:
            await owner.publish([envelope(0)])
            await guest.recover()
            assert pid(tmp_path) == owner_pid(owner)
            await owner.close()
            await guest.recover()
            await other.publish([envelope(1), dataclasses.replace(envelope(2), stream="receipts")])
            reader = await guest.reader("flows", "lake")
            assert [one.envelope.seq for one in await reader.fetch(10, 20.0)] == [0, 1]
            assert len(await (await guest.reader("receipts", "lake")).fetch(10, 20.0)) == 1
        assert not (tmp_path / "server.json").exists()

    def owner_pid(bus: TendedBus) -> int:
        return int(bus.on_close.__self__.address.pid)  # type: ignore[attr-defined]

    run(claim)


def test_what_was_published_is_there_at_the_next_start(tmp_path: Path) -> None:
    async def claim() -> None:
        for seq in range(3):
            async with await open_bus(settings(tmp_path)) as bus:
                await bus.publish([envelope(seq)])
        async with await open_bus(settings(tmp_path)) as bus:
            assert len(await (await bus.reader("flows", "lake")).fetch(10, 5.0)) == 3

    run(claim)


def test_a_server_that_dies_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(tmp_path, patience_s=20.0)) as bus:
            await bus.publish([envelope(0)])
            reader = await bus.reader("flows", "lake")
            first = pid(tmp_path)
            os.kill(first, signal.SIGKILL)
            while True:
                try:
                    await bus.publish([envelope(1)])
                    break
                except Retryable:
                    continue
            assert pid(tmp_path) != first
            assert [one.envelope.seq for one in await reader.fetch(10, 10.0)] == [0, 1]

    run(claim)


def test_nobody_without_the_password_is_let_in(tmp_path: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(tmp_path)):
            url = json.loads((tmp_path / "server.json").read_text())["url"]
            with pytest.raises(EnvironmentLacks, match="credentials"):
                await open_bus(BusSettings(url=url, patience_s=20.0))
        assert (tmp_path / "server.conf").stat().st_mode & 0o077 == 0

    run(claim)


def test_credentials_from_a_file_open_the_door(tmp_path: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(tmp_path / "bus")):
            told = json.loads((tmp_path / "bus" / "server.json").read_text())
            (tmp_path / "login").write_text(f"{told['user']}:{told['password']}\n")
            at = BusSettings(url=told["url"], credentials=str(tmp_path / "login"))
            async with await open_bus(at) as bus:
                assert await bus.reachable()

    run(claim)


def test_two_owners_of_a_folder_are_a_conflict(tmp_path: Path) -> None:
    async def claim() -> None:
        server = NatsServer(tmp_path)
        with pytest.raises(Conflict, match="another folder"):
            NatsServer(tmp_path)
        await server.stop()

    run(claim)


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(tmp_path / "one", port=free_port())):
            port = int(json.loads((tmp_path / "one" / "server.json").read_text())["url"].rsplit(":", 1)[1])
            with pytest.raises(EnvironmentLacks, match="address already in use"):
                await open_bus(settings(tmp_path / "two", port=port))

    run(claim)


OWNER = """
import asyncio, sys
from pathlib import Path
from loomidi.contracts.streams import Envelope
from loomidi.loom.bus import BusSettings, TendedBus, open_bus

async def own():
    bus = await open_bus(BusSettings(folder=Path(sys.argv[1])))
    await bus.publish([Envelope("flows", "n1", 1, 0, 1, b"x")])
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(own())
"""


@pytest.mark.parametrize("written_down", [True, False])
def test_the_server_of_a_killed_owner_is_ended_by_the_next_and_nothing_is_lost(
    tmp_path: Path, written_down: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        owner.kill()
    orphan, port = pid(tmp_path), int(json.loads((tmp_path / "server.json").read_text())["url"].rsplit(":", 1)[1])
    assert answers(port)
    if not written_down:  # the owner was killed before it could say whom it had started
        (tmp_path / "server.json").unlink()

    async def claim() -> None:
        async with await open_bus(settings(tmp_path)) as bus:
            assert pid(tmp_path) != orphan
            assert len(await (await bus.reader("flows", "lake")).fetch(10, 5.0)) == 1
        assert not Path(f"/proc/{orphan}/exe").exists()

    run(claim)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """24 MiB, 8 of them taken by a file `filler`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("needs root: mounts a small disk")
    (folder / "filler").write_bytes(b"x" * (8 << 20))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small disk")
def test_a_full_disk_is_said_nothing_is_lost_and_it_goes_on_when_there_is_room(small_disk: Path) -> None:
    async def claim() -> None:
        async with await open_bus(settings(small_disk / "bus", patience_s=1.0)) as bus:
            with pytest.raises(Retryable, match="the disk is full"):
                await filled(bus)
            held = (await bus.standings())[0].messages
            assert held > 20
            (small_disk / "filler").unlink()
            while True:
                try:
                    await bus.publish([big(1000)])
                    break
                except Retryable:
                    await asyncio.sleep(0.05)
            reader, found = await bus.reader("flows", "lake"), list[int]()
            while 1000 not in found:
                found += [one.envelope.seq for one in await reader.fetch(64, 5.0)]
            assert found[:held] == list(range(held))
            assert len(found) == len(set(found))

    run(claim)


def big(seq: int) -> Envelope:
    return Envelope("flows", "n1", 1, seq, 1, os.urandom(200_000))


async def filled(bus: TendedBus) -> None:
    for seq in range(1000):
        await bus.publish([big(seq)])


def test_plans_and_receipts_are_kept_by_a_server_that_always_flushes(tmp_path: Path) -> None:
    async def claim() -> None:
        mixed = [envelope(0), dataclasses.replace(envelope(0), stream="receipts"), envelope(1)]
        async with await open_bus(settings(tmp_path)) as bus, await open_bus(settings(tmp_path)) as guest:
            assert [ack.id for ack in await bus.publish(mixed)] == ["n1/1/0", "n1/1/0", "n1/1/1"]
            assert "sync_interval: always" in (tmp_path / "ledger" / "server.conf").read_text()
            (receipt,) = await (await guest.reader("receipts", "lake")).fetch(10, 5.0)
            await guest.bury(receipt, reader="lake", cause="bad")
            assert [one.stream for one in await bus.standings()] == ["receipts", "flows", "dead"]
            assert await guest.exhume([one.id for one in await bus.dead()]) == 1
            assert len(await (await bus.reader("receipts", "again")).fetch(10, 5.0)) == 2
            assert (await bus.standings())[1].messages == 2

    run(claim)
