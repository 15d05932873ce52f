"""Flows named by what the Kubernetes watch tells.

Called by `naming_part`, between bus and lake. In: batches of `ENTITIES` and of `FLOW_RECORDS`. Out: the flows, named;
what could not be used is counted. Pure. Leaves it to the committer to hold flows back for `hold_s`, so that the watch
can tell of a fresh pod first, and the join to `garden.graph.labelling`.
"""

import dataclasses
from collections import Counter

import pyarrow as pa

from loomidi.garden.graph.labelling import FlowNamer
from loomidi.garden.graph.naming import AddressBook


@dataclasses.dataclass(frozen=True, slots=True)
class NamingSettings:
    """How flows get their names."""

    always: bool = False
    # Also where no cluster is watched by this process: names then come from the entities that others put on the bus.
    hold_s: float = 1.5
    # Behind the making of a batch before it is named: a kubelet tells of an address up to a second after its first use.
    late_s: float = 60.0
    # An address that nobody has now is still its last owner's for this long: last acknowledgements, retries.
    remember_s: float = 7 * 86400.0
    # Owners are forgotten this long after they let go of an address; flows that come later still keep null names.


class NamingFlows:
    """A book and who names by it. Not thread-safe."""

    def __init__(self, settings: NamingSettings | None = None, book: AddressBook | None = None) -> None:
        """`book`: one that is filled by somebody else too; else one that `learn` alone fills."""
        self.settings = settings or NamingSettings()
        self.book = AddressBook() if book is None else book
        self.namer = FlowNamer(self.book, late_s=self.settings.late_s)
        self.counts: Counter[str] = Counter()

    def learn(self, entities: pa.RecordBatch) -> None:
        """Take in who owns what."""
        bad = self.book.bad
        self.counts["entities"] += self.book.learn(entities)
        self.counts["entities that could not be used"] += self.book.bad - bad

    def tidy(self, now_ns: int) -> int:
        """Forget owners of long ago; now and then. How many rows that were."""
        return self.book.forget(now_ns - round(self.settings.remember_s * 1e9))
