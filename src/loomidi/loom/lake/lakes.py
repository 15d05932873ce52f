"""The lake: one Iceberg table for each stream, made on first use, grown as schemas grow, read as of any snapshot.

Called by committers, compaction, expiry, the sweep, queries and by everyone who reads rows. In: settings. Out: tables,
snapshots, rows as they were on the bus. Leaves writing to `committing`, SQL to `querying`.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from loomidi.contracts.errors import InputError
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.lake import mapping, reading, shaping
from loomidi.loom.lake.catalogs import is_there, open_catalog
from loomidi.loom.lake.faults import FileGone, mapped
from loomidi.loom.lake.marks import MARKS, POSITION, WRITER, Held, Marks
from loomidi.loom.lake.settings import LakeSettings
from loomidi.loom.lake.tables import TableSpec, table_of

T = TypeVar("T")
_TRIES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class SnapshotSeen:
    """One state of a table that can still be read."""

    id: int
    at_ms: int  # since the epoch
    operation: str  # append, overwrite
    writer: str  # committer, compaction; "" for somebody else
    added_rows: int
    rows: int
    files: int
    octets: int
    position: str  # on the bus, JSON
    tags: tuple[str, ...] = ()


class Lake:
    """All tables under one catalog, for any number of threads. `specs` gives tables of its own, for tests."""

    def __init__(
        self,
        settings: LakeSettings | None = None,
        *,
        specs: Mapping[str, TableSpec] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is opened before it is needed."""
        self.settings = settings or LakeSettings()
        self.clock = clock or SystemClock()
        self._specs = dict(specs or {})
        self._catalog: Catalog | None = None
        self._opening = threading.Lock()
        self.manifest_names: dict[str, frozenset[str]] = {}  # manifest list -> its manifests; kept by expiry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the catalog."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    @property
    def catalog(self) -> Catalog:
        """Of pyiceberg."""
        with self._opening:
            if self._catalog is None:
                self._catalog = open_catalog(self.settings)
            return self._catalog

    def now_ms(self) -> int:
        """By the lake's clock, as snapshots count."""
        return self.clock.now_ns() // 1_000_000

    def spec(self, stream: str) -> TableSpec:
        """What the table of a stream is made of. Raises UsageError."""
        return self._specs.get(str(stream)) or table_of(str(stream))

    def tables(self) -> list[str]:
        """Those that are there."""
        if not is_there(self.settings):
            return []
        with mapped("the lake"):
            try:
                found = self.catalog.list_tables(self.settings.namespace)
            except NoSuchNamespaceError:
                return []
            return sorted(identifier[-1] for identifier in found)

    def find(self, stream: str) -> Table:
        """The table as it is now. Raises InputError, naming those that are there."""
        with mapped(f"table {stream}"):
            try:
                if not is_there(self.settings):  # to look at a lake does not make one
                    raise NoSuchTableError(str(stream))
                return self.catalog.load_table((self.settings.namespace, str(stream)))
            except (NoSuchTableError, NoSuchNamespaceError) as error:
                there = ", ".join(self.tables()) or "none yet: the lake is empty"
                raise InputError(f"no table {str(stream)!r}; there are {there}") from error

    def at(self, stream: str, do: Callable[[Table], T]) -> T:
        """Do something with the table as it is now; again when that state expired while it was looked at."""
        for _ in range(_TRIES - 1):
            try:
                with mapped(f"table {stream}"):
                    return do(self.find(stream))
            except FileGone:
                continue
        with mapped(f"table {stream}"):
            return do(self.find(stream))

    def ensure(self, stream: str) -> Table:
        """The table, made or given new columns where it must. Raises InputError when a column was retyped."""
        spec = self.spec(stream)
        with mapped(f"table {stream}"):
            table = shaping.made(self.catalog, self.settings.namespace, spec)
            return shaping.grown(table, spec)

    def snapshots(self, stream: str) -> list[SnapshotSeen]:
        """The oldest first."""
        metadata = self.find(stream).metadata
        tags: dict[int, list[str]] = {}
        for name, ref in metadata.refs.items():
            if name != "main":
                tags.setdefault(ref.snapshot_id, []).append(name)
        ordered = sorted(metadata.snapshots, key=lambda each: (each.sequence_number or 0, each.timestamp_ms))
        return [_seen(each, tuple(sorted(tags.get(each.snapshot_id, ())))) for each in ordered]

    def marks(self, stream: str, as_of: int | None = None) -> Marks:
        """How far the table is on the bus and what it holds of each producer; empty where there is no table."""
        if str(stream) not in self.tables():
            return Marks()
        table = self.find(stream)
        return marks_of(table, self.snapshot(table, as_of))

    def holdings(self, stream: str, as_of: int | None = None) -> dict[tuple[str, int], Held]:
        """(producer, epoch) -> rows and batches in the table."""
        return self.marks(stream, as_of).holdings()

    def snapshot(self, table: Table, as_of: int | None = None, at_ms: int | None = None) -> Snapshot | None:
        """The current one, one by id, or the one that was current then; None: empty then. Raises InputError."""
        if as_of is not None:
            found = table.metadata.snapshot_by_id(as_of)
            if found is None:
                raise InputError(f"no snapshot {as_of} of {table.name()[-1]}; `loomidi lake snapshots` lists them")
            return found
        if at_ms is None:
            return table.current_snapshot()
        ages = [each for each in table.metadata.snapshots if each.timestamp_ms <= at_ms]
        if not ages and table.metadata.snapshots:
            raise InputError(f"{table.name()[-1]} has no snapshot as old as that; `loomidi lake snapshots` lists them")
        return max(ages, key=lambda each: (each.timestamp_ms, each.sequence_number or 0), default=None)

    def read(
        self,
        stream: str,
        *,
        columns: Sequence[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        as_of: int | None = None,
    ) -> pa.Table:
        """Rows as they were on the bus, to the nanosecond, of a range [since, until) of the table's time."""
        spec = self.spec(stream)
        wanted = [field for field in spec.schema if columns is None or field.name in columns]

        def rows(table: Table) -> pa.Table:
            found = reading.dataset(table, self.snapshot(table, as_of), since_ns=since_ns, until_ns=until_ns)
            return reading.rows(found, wanted, reading.exact_time(table), since_ns, until_ns)

        return mapping.from_stored(self.at(stream, rows), pa.schema(wanted))


def marks_of(table: Table, snapshot: Snapshot | None) -> Marks:
    """Of the newest snapshot up to this one that carries them: others may have written since."""
    while snapshot is not None:
        kept = properties_of(snapshot)
        if MARKS in kept:
            return Marks.of(kept)
        parent = snapshot.parent_snapshot_id
        snapshot = table.metadata.snapshot_by_id(parent) if parent is not None else None
    return Marks()


def properties_of(snapshot: Snapshot) -> Mapping[str, str]:
    """What its committer said."""
    return snapshot.summary.additional_properties if snapshot.summary else {}


def _seen(snapshot: Snapshot, tags: tuple[str, ...]) -> SnapshotSeen:
    kept: Mapping[str, Any] = properties_of(snapshot)
    return SnapshotSeen(
        snapshot.snapshot_id,
        snapshot.timestamp_ms,
        snapshot.summary.operation.value if snapshot.summary else "",
        kept.get(WRITER, ""),
        int(kept.get("added-records", 0)),
        int(kept.get("total-records", 0)),
        int(kept.get("total-data-files", 0)),
        int(kept.get("total-files-size", 0)),
        kept.get(POSITION, ""),
        tags,
    )
