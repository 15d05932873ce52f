"""Waiting for an end that may be told at any moment.

Called by everything that does something every so often until it is told to end. In: the event that tells, seconds.
Out: whether it was told. Leaves what to do then to the caller.
"""

import asyncio
import contextlib


async def told_within(told: asyncio.Event, seconds: float) -> bool:
    """Wait that long, or less: True when told to end."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(told.wait(), seconds)
    return told.is_set()
