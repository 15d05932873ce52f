"""Flows named by what the Kubernetes watch tells, held back a moment so that the watch can tell of a fresh pod first.

Called by `pipeline`, between bus and lake. In: batches of `FLOW_RECORDS` and of `ENTITIES`. Out: the flows, named,
in the order in which they came. A batch waits until the newest of its flows ended `hold_s` ago; it goes sooner when
too many rows wait, which is counted. Pure but for what waits: the time is handed in, and whoever calls commits the
position of the bus only behind what was handed out.
"""

import dataclasses
from collections import Counter, deque
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.garden.graph.labelling import FlowNamer
from loomidi.garden.graph.naming import AddressBook


@dataclasses.dataclass(frozen=True, slots=True)
class NamingSettings:
    """How flows get their names."""

    always: bool = False
    # Also where no cluster is watched by this process: names then come from the entities that others put on the bus.
    hold_s: float = 1.5
    # Behind the end of a flow before it is named: a kubelet tells of a pod's address up to a second after its start.
    most_rows: int = 500_000
    # That wait; beyond it the oldest go before their time, counted as `released early`.
    late_s: float = 60.0
    # An address that nobody has now is still its last owner's for this long: last acknowledgements, retries.
    remember_s: float = 7 * 86400.0
    # Owners are forgotten this long after they let go of an address; flows that come later still keep null names.


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    batch: pa.RecordBatch
    due_ns: int
    tag: Any


class NamingFlows:
    """Holds back, then names. Not thread-safe."""

    def __init__(self, settings: NamingSettings | None = None, book: AddressBook | None = None) -> None:
        """`book`: one that is filled by somebody else too; else one that `learn` alone fills."""
        self.settings = settings or NamingSettings()
        self.book = AddressBook() if book is None else book
        self.namer = FlowNamer(self.book, late_s=self.settings.late_s)
        self.counts: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0

    @property
    def waiting(self) -> int:
        """Rows that are held back."""
        return self._rows

    def learn(self, entities: pa.RecordBatch) -> None:
        """Take in who owns what."""
        bad = self.book.bad
        self.counts["entities"] += self.book.learn(entities)
        self.counts["entities that could not be used"] += self.book.bad - bad

    def put(self, flows: pa.RecordBatch, now_ns: int, tag: Any = None) -> None:
        """Take in flows; `tag` (a position, for instance) comes out with them."""
        newest = pc.max(flows.column("flow_end_nanoseconds")).cast(pa.int64()).as_py() if flows.num_rows else 0
        hold_ns = round(self.settings.hold_s * 1e9)
        # A clock of another node that is ahead of ours must not hold flows for ever.
        self._waiting.append(_Waiting(flows, min(newest, now_ns) + hold_ns, tag))
        self._rows += flows.num_rows

    def take(self, now_ns: int, *, everything: bool = False) -> list[tuple[pa.RecordBatch, Any]]:
        """What is due, named, with its tags. `everything`: at the end."""
        taken = []
        while self._waiting:
            full = self._rows > self.settings.most_rows
            first = self._waiting[0]
            if not (everything or full or first.due_ns <= now_ns):
                break
            if full and not everything and first.due_ns > now_ns:
                self.counts["rows released early"] += first.batch.num_rows
            self._waiting.popleft()
            self._rows -= first.batch.num_rows
            taken.append((self.namer(first.batch), first.tag))
        return taken

    def due_ns(self) -> int | None:
        """When the next batch is due; None when nothing waits."""
        return self._waiting[0].due_ns if self._waiting else None

    def tidy(self, now_ns: int) -> int:
        """Forget owners of long ago; now and then."""
        return self.book.forget(now_ns - round(self.settings.remember_s * 1e9))
