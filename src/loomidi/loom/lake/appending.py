"""The commits of pyiceberg that we make: append, and replace some files by others, at a time that never goes back.

Called by the committer and by compaction. In: files that are written, properties of the snapshot. Out: its id;
CommitFailedException when the table has moved on. Readers in Java refuse a table whose snapshots go back in time by
more than a minute, so a snapshot is never older than the one before it, whatever the clock says.
"""

from collections.abc import Sequence
from typing import Any

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import AddSnapshotUpdate, TableUpdate, UpdatesAndRequirements
from pyiceberg.table.update.snapshot import _MergeAppendFiles, _OverwriteFiles


class _Steps(Transaction):
    """A transaction that works its metadata out once for each step; pyiceberg's own does it at every look, 16 times."""

    _worked_out: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        if not self._updates:
            return self._table.metadata
        if self._worked_out is None or self._worked_out[0] is not self._updates:
            self._worked_out = self._updates, super().table_metadata
        return self._worked_out[1]


class _Append(_MergeAppendFiles):
    at_ms = 0

    def _commit(self) -> UpdatesAndRequirements:
        updates, requirements = super()._commit()
        return _in_time(updates, self._transaction.table_metadata, self.at_ms), requirements


class _Replace(_OverwriteFiles):
    at_ms = 0

    def _commit(self) -> UpdatesAndRequirements:
        updates, requirements = super()._commit()
        return _in_time(updates, self._transaction.table_metadata, self.at_ms), requirements


def append(table: Table, files: Sequence[DataFile], properties: dict[str, str], at_ms: int) -> int:
    """Add files. The manifests of small commits are merged now and then."""
    transaction = _Steps(table)
    producer = _Append(Operation.APPEND, transaction, table.io, snapshot_properties=properties)
    producer.at_ms = at_ms
    for each in files:
        producer.append_data_file(each)
    producer.commit()
    transaction.commit_transaction()
    return producer.snapshot_id


def replace(
    table: Table, files: tuple[Sequence[DataFile], Sequence[DataFile]], properties: dict[str, str], at_ms: int
) -> int:
    """Put the second files in the place of the first. Raises ValidationException when one of those is gone."""
    transaction = _Steps(table)
    producer = _Replace(Operation.OVERWRITE, transaction, table.io, snapshot_properties=properties)
    producer.at_ms = at_ms
    for each in files[0]:
        producer.delete_data_file(each)
    for each in files[1]:
        producer.append_data_file(each)
    producer.commit()
    transaction.commit_transaction()
    return producer.snapshot_id


def _in_time(updates: tuple[TableUpdate, ...], metadata: Any, at_ms: int) -> tuple[TableUpdate, ...]:
    """A snapshot that is not older than anything that was done to the table."""
    newest = max([at_ms, metadata.last_updated_ms, *(each.timestamp_ms for each in metadata.snapshots)])
    made: list[TableUpdate] = []
    for update in updates:
        if isinstance(update, AddSnapshotUpdate):
            snapshot = update.snapshot.model_copy(update={"timestamp_ms": newest})
            update = AddSnapshotUpdate(snapshot=snapshot)
        made.append(update)
    return tuple(made)
