"""Findings of the pipeline are heard, from the lake, from the bus, or from both.

Called by `standing_alone` as parts. In: the table or the stream `findings`. Out: each finding on the shelf as it was
told last. Where it was left is on the shelf (lake) or with the bus: a restart misses nothing that is still there.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts import Evidence, Finding, InputError, Severity
from loomidi.contracts.schemas import FINDINGS
from loomidi.contracts.streams import Message, Stream
from loomidi.ionic.documents import read_record
from loomidi.ionic.errors import BadPlan
from loomidi.kit import logging
from loomidi.kit.clock import Clock, SystemClock
from loomidi.kit.waiting import told_within
from loomidi.loom.bus import BadBatch, open_bus
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.lake import Lake
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import Known, Shelf

_log = logging.logger("services.transformer")
_MARK = "findings of the lake"
_SLACK_NS = 300 * 10**9  # rows come to the lake in no strict order: so much is read again
_DAY_NS = 86_400 * 10**9
_MOST = 64  # messages fetched at once
_POLL_S = 1.0
READER = "transformer"  # on the bus


class Following:
    """One service's."""

    def __init__(self, shelf: Shelf, settings: TransformerSettings, lake: Lake, clock: Clock | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._shelf, self._settings, self._lake = shelf, settings, lake
        self._clock = clock or SystemClock()
        self._snapshot = 0  # that was read last

    async def from_lake(self, told: asyncio.Event) -> None:
        """Until told."""
        pause_s = 0.0
        while not await told_within(told, pause_s):
            await asyncio.to_thread(self.look)
            pause_s = self._settings.look_again_s

    def look(self) -> None:
        """Once: read what has come since the last look."""
        if Stream.FINDINGS not in self._lake.tables():
            return
        newest = self._lake.snapshots(Stream.FINDINGS)[-1:]
        if not newest or newest[0].id == self._snapshot:
            return
        longest_ns = self._clock.now_ns() - round(self._settings.heard_days * _DAY_NS)
        since_ns = max(self._shelf.mark(_MARK) - _SLACK_NS, longest_ns)
        rows = _last_words(self._lake.read(Stream.FINDINGS, since_ns=since_ns))
        at_ns = max(rows["told"].cast(pa.int64()).to_pylist(), default=0)
        self._heard(rows.combine_chunks().to_batches(), _MARK, at_ns)
        self._snapshot = newest[0].id

    async def from_bus(self, told: asyncio.Event) -> None:
        """Until told. Raises what the bus does."""
        bus = await open_bus(self._settings.bus)
        try:
            reader = await bus.reader(Stream.FINDINGS, READER)
            while not told.is_set():
                messages: Sequence[Message] = await reader.fetch(_MOST, _POLL_S)
                if messages:
                    await asyncio.to_thread(self._heard, self._decoded(messages))
                    await reader.commit({one.partition: one.offset for one in messages})
            await reader.close()
        finally:
            await bus.close()

    def _decoded(self, messages: Sequence[Message]) -> list[pa.RecordBatch]:
        batches = []
        for message in messages:
            try:
                batches.append(decode(message.envelope, FINDINGS))
            except BadBatch:  # the committer of the same stream keeps it as a dead letter
                self.counts["unreadable_batches"] += 1
        return batches

    def _heard(self, batches: Sequence[pa.RecordBatch], mark: str = "", at_ns: int = 0) -> None:
        found = []
        for row in (row for batch in batches for row in plain(batch)):
            try:
                found.append(known_of(row))
            except (BadPlan, InputError, ValueError, TypeError, LookupError) as error:
                self.counts["unreadable"] += 1
                _log.warning("a finding cannot be read", finding=str(row.get("finding_id")), problem=str(error))
        self.counts["read"] += len(found)
        if found or mark:
            self.counts["heard"] += self._shelf.hear(found, mark, at_ns)


def _last_words(rows: pa.Table) -> pa.Table:
    """Of each finding the row that was told last."""
    ordered = rows.sort_by("told")
    last = {identity: at for at, identity in enumerate(ordered["finding_id"].to_pylist())}
    return ordered.take(pa.array(sorted(last.values()), pa.int64()))


def known_of(row: dict[str, Any]) -> Known:
    """A row of FINDINGS, times as ns. Raises BadPlan, ValueError for what is none."""
    evidence = tuple(read_record(Evidence, each, "evidence") for each in json.loads(row["evidence"]))
    finding = Finding(
        id=row["finding_id"],
        pattern=row["pattern"],
        techniques=tuple(row["techniques"]),
        severity=Severity(row["severity"]),
        confidence=row["confidence"],
        entities=tuple(row["entities"]),
        first_ns=row["first"],
        last_ns=row["last"],
        evidence=evidence,
        source=row["source"],
        explanation=row["explanation"],
    )
    return Known(finding, row["told"], row["state"], "loop", tuple(json.loads(row["folds"])))


def plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Times as ns: Python has no nanoseconds of its own."""
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(field.type) else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    rows: list[dict[str, Any]] = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return rows
