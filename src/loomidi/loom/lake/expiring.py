"""Old snapshots are let go, and the files that none of the others needs are deleted.

Called by the committer now and then (`thin`) and by `loomidi lake expire`. In: a table and a rule. Out: how many
snapshots and files went. Kept in any case: the current snapshot, tags and branches, the newest one that carries the
bus's marks, and whatever compaction replaced within the grace time. Rows are never touched.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from loomidi.contracts.errors import InputError, Retryable
from loomidi.loom.lake import reading
from loomidi.loom.lake.faults import mapped
from loomidi.loom.lake.lakes import Lake, properties_of
from loomidi.loom.lake.locks import turn
from loomidi.loom.lake.marks import MARKS
from loomidi.loom.lake.settings import LakeSettings

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_TRIES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Expired:
    """What went."""

    snapshots: int
    manifests: int
    data_files: int
    kept: int  # snapshots that are left


def expire(lake: Lake, stream: str, *, older_than_ms: int, keep_last: int = 1) -> Expired:
    """Let go of snapshots from before a time, but keep the last so many. Raises InputError for an unknown table."""
    if keep_last < 1:
        raise InputError(f"keep at least the current snapshot, not {keep_last}")
    for _ in range(_TRIES):
        try:
            with turn(lake.settings, str(stream)), mapped(f"table {stream}"):
                table = lake.find(stream)
                old = [each for each in _newest_first(table)[keep_last:] if each.timestamp_ms < older_than_ms]
                return _drop(lake, table, old)
        except CommitFailedException:
            continue  # a commit of another machine came first
    raise Retryable(f"table {stream}: others commit all the time; call again")


def thin(lake: Lake, table: Table) -> Expired:
    """Keep the last ones, then one a minute, then one an hour, as the settings say."""
    chosen = {each.snapshot_id for each in thinned(_newest_first(table), lake.settings, lake.now_ms())}
    return _drop(lake, table, [each for each in table.metadata.snapshots if each.snapshot_id not in chosen])


def thinned(newest_first: Sequence[Snapshot], settings: LakeSettings, now_ms: int) -> list[Snapshot]:
    """Those to keep: of each minute and each hour the last one, because it holds the others' rows. Pure."""
    kept = list(newest_first[: settings.keep_last])
    spans = ((_MINUTE_MS, settings.keep_minutes), (_HOUR_MS, settings.keep_hours))
    seen: set[tuple[int, int]] = set()
    for each in newest_first[settings.keep_last :]:
        for width, most in spans:
            slot = (width, each.timestamp_ms // width)
            if now_ms - each.timestamp_ms < most * width and slot not in seen:
                seen.add(slot)
                kept.append(each)
                break
    return kept


def _newest_first(table: Table) -> list[Snapshot]:
    return sorted(
        table.metadata.snapshots, key=lambda each: (each.sequence_number or 0, each.timestamp_ms), reverse=True
    )


def protected(table: Table, now_ms: int, grace_ms: int) -> set[int]:
    """Snapshots that stay, whatever the rule."""
    ordered = _newest_first(table)
    stay = {ref.snapshot_id for ref in table.metadata.refs.values()}
    marked = [each.snapshot_id for each in ordered if MARKS in properties_of(each)]
    stay |= set(marked[:1])
    for newer, older in itertools.pairwise(ordered):
        replaced = newer.summary is not None and newer.summary.operation != Operation.APPEND
        if replaced and now_ms - newer.timestamp_ms < grace_ms:
            stay.add(older.snapshot_id)
    return stay


def _drop(lake: Lake, table: Table, snapshots: Iterable[Snapshot]) -> Expired:
    now_ms = lake.now_ms()
    stay = protected(table, now_ms, round(lake.settings.grace_s * 1000))
    gone = [each for each in snapshots if each.snapshot_id not in stay]
    behind = now_ms < table.metadata.last_updated_ms  # the clock went back: wait, or the table's times would, too
    if not gone or behind:
        return Expired(0, 0, 0, len(table.metadata.snapshots))
    before = list(table.metadata.snapshots)
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in gone]).commit()
    there = {each.snapshot_id for each in table.metadata.snapshots}
    return _remove_files(lake, table, [each for each in before if each.snapshot_id not in there])


def _remove_files(lake: Lake, table: Table, gone: list[Snapshot]) -> Expired:
    """Manifests that no snapshot names any more, and data files that only they named."""
    files = reading.files_of(table)
    named = {path for each in table.metadata.snapshots for path in _names(lake, table, each)}
    unnamed = {
        manifest.manifest_path: manifest
        for each in gone
        for manifest in each.manifests(table.io)
        if manifest.manifest_path not in named
    }
    data: set[str] = set()
    if _something_was_replaced(table, gone):
        data = live(table, unnamed.values()) - live(table, _manifests(table))
    removed = files.remove(data)
    manifests = files.remove(unnamed)
    files.remove([each.manifest_list for each in gone if each.manifest_list])
    for each in gone:
        lake.manifest_names.pop(each.manifest_list or "", None)
    return Expired(len(gone), manifests, removed, len(table.metadata.snapshots))


def _names(lake: Lake, table: Table, snapshot: Snapshot) -> frozenset[str]:
    """Its manifests. A list never changes, so each is read once: there may be hundreds, and the store far away."""
    known = lake.manifest_names.get(snapshot.manifest_list or "")
    if known is None:
        known = frozenset(each.manifest_path for each in snapshot.manifests(table.io))
        lake.manifest_names[snapshot.manifest_list or ""] = known
    return known


def _something_was_replaced(table: Table, gone: list[Snapshot]) -> bool:
    """Appending alone never frees a data file: the snapshots behind hold them all."""
    oldest = min(each.sequence_number or 0 for each in gone)
    since = [each for each in (*table.metadata.snapshots, *gone) if (each.sequence_number or 0) > oldest]
    return any(each.summary is None or each.summary.operation != Operation.APPEND for each in since)


def _manifests(table: Table) -> Iterable[ManifestFile]:
    found = {each.manifest_path: each for snapshot in table.metadata.snapshots for each in snapshot.manifests(table.io)}
    return found.values()


def live(table: Table, manifests: Iterable[ManifestFile]) -> set[str]:
    """Data files that manifests name and do not say to be deleted."""
    return {
        entry.data_file.file_path
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def data_files(table: Table, snapshot: Snapshot) -> list[DataFile]:
    """Of one snapshot."""
    return [
        entry.data_file
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    ]
