"""Waiting for an end that may be told at any moment, and ending what does not end by itself.

Called by everything that does something every so often until it is told to end. In: the event that tells, seconds, or
tasks. Out: whether it was told; tasks that have ended. Leaves what to do then to the caller.
"""

import asyncio
import contextlib
from typing import Any

_AGAIN_S = 0.5


async def told_within(told: asyncio.Event, seconds: float) -> bool:
    """Wait that long, or less: True when told to end."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), seconds)
    return told.is_set()


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel them until they have ended, however: `asyncio.wait_for` of Python 3.11 may swallow a cancellation."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
