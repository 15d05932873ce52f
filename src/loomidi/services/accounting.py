"""The loss balance of a lake: counters, holdings and what still waits, read and put into equations.

Called by `loomidi balance` and the fault tests. In: a lake, a bus or None, a range of time. Out: `balancing.Chain`.
Leaves the equations to `balancing`; touches nothing.
"""

from collections.abc import Mapping

from loomidi.contracts.errors import InputError, LoomidiError
from loomidi.contracts.streams import Stream
from loomidi.loom.bus import TendedBus
from loomidi.loom.lake import Lake
from loomidi.loom.lake.committing import COMMITTER
from loomidi.loom.lake.lakes import properties_of
from loomidi.services.balancing import Chain, Elsewhere, chain


def balance_of(lake: Lake, *, since_ns: int = 0, until_ns: int, waiting: Mapping[str, int | None]) -> Chain:
    """The chain over [since, until). Raises InputError when the lake holds no counters."""
    if Stream.COUNTERS not in lake.tables():
        raise InputError("the lake holds no counters yet; start `loomidi run`, feed it, and ask again after a second")
    counters = lake.read(Stream.COUNTERS, until_ns=until_ns)
    held, rows = {}, {}
    for stream in lake.tables():
        snapshot = lake.find(stream).current_snapshot()
        marks = lake.marks(stream)
        if snapshot is None or marks.forgotten_ns >= 0:
            continue  # of runs that were forgotten nobody knows how many rows they gave
        rows[stream] = int(properties_of(snapshot).get("total-records", 0))
        for (producer, epoch), here in marks.holdings().items():
            held[stream, producer, epoch] = here.rows
    return chain(counters, Elsewhere(held, waiting, rows), since_ns=since_ns, until_ns=until_ns)


async def waiting_on(bus: TendedBus) -> dict[str, int | None]:
    """Stream -> batches that its committer has not committed. Empty when the bus is away."""
    try:
        standings = await bus.standings()
    except LoomidiError:
        return {}
    return {
        standing.stream: next((reader.messages for reader in standing.readers if reader.name == COMMITTER), None)
        for standing in standings
    }
