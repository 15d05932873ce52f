"""Links captured by AF_PACKET sockets: no program in the kernel, both directions, any link.

Called by `services.agents.agent` where the shield cannot be or is not wanted. In: filters, meter settings. Out: the
Protocol `capturing.Capture` over `LinkMeters`, whose threads do the work.
"""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from loomidi.loom.flows.accounts import LinkId
from loomidi.loom.flows.links import GONE, LIVE, LinkMeters
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.sources.capturing import Adopted, Taken, Tally, packets_in, summed

_BATCHES = 1024  # that wait between two calls of `take`


class SocketCapture:
    """`LinkMeters` as a `Capture`."""

    rung = "sockets"

    def __init__(self, filters: Sequence[tuple[str, str]], settings: MeterSettings = LIVE) -> None:
        """As `LinkMeters`."""
        self._meters = LinkMeters(filters, settings, batches=_BATCHES)
        self._exported: Counter[str] = Counter()
        self._flows: Counter[str] = Counter()

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read."""
        return self._meters.problems

    def take(self) -> list[Taken]:
        """Batches that are there."""
        return [self._taken(link, flows) for link, flows in self._meters.take(0.0)]

    def finish(self) -> list[Taken]:
        """Stop the sockets, read their rings to the end."""
        self._meters.stop()
        return [self._taken(link, flows) for link, flows in self._meters]

    def tallies(self) -> dict[str, Tally]:
        """Links of one name that followed each other are one; those long gone were told when they went."""
        packets: dict[str, dict[str, int]] = {}
        undelivered: Counter[str] = Counter()
        figures = self._meters.figures()
        for link, counts in self._meters.balance().items():
            if link.name != GONE:
                packets[str(link)] = summed(packets.get(str(link), {}), counts)
                undelivered[str(link)] += figures.get(link, {}).get("undelivered", 0)
        for counted in (self._exported, self._flows):
            for name in [name for name in counted if name not in packets]:
                del counted[name]  # as its account: told when it went
        return {
            link: Tally(self.rung, counts, self._exported[link], self._flows[link], undelivered[link])
            for link, counts in packets.items()
        }

    def adopted(self) -> dict[str, Adopted]:
        """Sockets end with their process."""
        return {}

    def close(self) -> None:
        """Flows that nobody took are counted."""
        self._meters.close()

    def _taken(self, link: LinkId, flows: pa.RecordBatch) -> Taken:
        taken = Taken(str(link), flows)
        self._exported[taken.link] += packets_in(taken.flows)
        self._flows[taken.link] += taken.flows.num_rows
        return taken
