"""Waiting that can be ended, and tasks that must end."""

import asyncio
import contextlib

from loomidi.kit.waiting import cancelled, told_within


def test_who_is_told_to_end_does_not_wait_on() -> None:
    async def claim() -> None:
        told = asyncio.Event()
        assert not await told_within(told, 0.001)
        told.set()
        assert await told_within(told, 3600)

    asyncio.run(claim())


def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def claim() -> None:
        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(0))]
        await asyncio.sleep(0)
        await asyncio.wait_for(cancelled(*tasks), 60)
        assert all(task.done() for task in tasks)

    asyncio.run(claim())
