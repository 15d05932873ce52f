"""Flows named by what the Kubernetes watch tells.

Called by `naming_part`, between bus and lake. In: batches of `ENTITIES` and of `FLOW_RECORDS`. Out: the flows, named;
what could not be used is counted. Pure. Leaves it to the committer to hold flows back for `hold_s`, so that the watch
can tell of a fresh pod first, and the join to `garden.graph.labelling`.
"""

from collections import Counter

import pyarrow as pa

from loomidi.garden.graph.labelling import FlowNamer
from loomidi.garden.graph.naming import AddressBook
from loomidi.services.settings.naming import NamingSettings


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
