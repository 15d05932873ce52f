"""An attempt to connect that is given up ends, also where a cancellation was lost."""

import asyncio

import pytest

from loomidi.loom.bus import BusSettings, nats_connecting
from loomidi.loom.bus.nats_connecting import Connection, _ended


def test_a_task_that_has_missed_one_cancellation_is_cancelled_again() -> None:
    missed = 0

    async def deaf_once() -> None:
        nonlocal missed
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            missed += 1
        await asyncio.sleep(3600)

    async def given_up() -> bool:
        task = asyncio.create_task(deaf_once())
        await asyncio.sleep(0)
        await _ended([task])
        return task.cancelled()

    assert asyncio.run(given_up())
    assert missed == 1


def test_a_client_that_does_not_close_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connecting, "_LEAVE_S", 0.01)

    async def never() -> None:
        await asyncio.sleep(3600)

    async def left() -> None:
        connection = Connection(BusSettings(), None)
        monkeypatch.setattr(connection._client, "close", never)
        async with asyncio.timeout(60):
            await connection.close()

    asyncio.run(left())
