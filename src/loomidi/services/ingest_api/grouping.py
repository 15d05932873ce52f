"""Small requests committed together: one envelope for all that came while the one before was on its way.

Called by `handling`. In: rows of one request. Out: its answer, once the envelope that holds its rows is acknowledged.
Durable acknowledgement costs a round trip to a disk; shared by those who wait for it, it costs each of them little. A
request alone waits for nobody.
"""

import asyncio
import bisect
import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts.streams import Envelope, Stream
from loomidi.kit import logging
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.ingest_api import answering, measuring
from loomidi.services.ingest_api.answering import Refusals, Taken
from loomidi.services.ingest_api.committing import Outlet
from loomidi.services.ingest_api.counting import Counts

_log = logging.logger("services.ingest")
_INLINE_ROWS = 2000  # more are built in a thread: a millisecond is what others may wait
_LINGER_S = 0.001
_COMPANY = 4  # parts of the last envelope from which on waiting brings more rows than it costs time
KIND = "metrics"


@dataclasses.dataclass(slots=True)
class Part:
    """The rows of one request."""

    rows: Sequence[Any]
    key: int | None
    lenient: bool
    answer: "asyncio.Future[Answer]"
    refusals: Refusals = dataclasses.field(default_factory=Refusals)
    good: int = 0


class MetricGroup:
    """Requests that wait for the next envelope."""

    def __init__(self, outlet: Outlet, counts: Counts, most_rows: int) -> None:
        self._outlet, self._counts, self._most_rows = outlet, counts, most_rows
        self._waiting: list[Part] = []
        self._flying: asyncio.Task[None] | None = None
        self._company = 1  # parts of the last envelope

    async def submit(self, rows: Sequence[Any], *, key: int | None, lenient: bool) -> Answer:
        """Durable when it returns. Raises Problem."""
        part = Part(rows, key, lenient, asyncio.get_running_loop().create_future())
        self._waiting.append(part)
        if self._flying is None:
            self._flying = asyncio.create_task(self._fly(), name="ingest metric group")
        return await part.answer

    async def _fly(self) -> None:
        try:
            while self._waiting:
                # Those that came in the same turn of the loop; under load also those whose last answer is just out.
                await asyncio.sleep(_LINGER_S if self._company > _COMPANY else 0)
                parts = self._next()
                self._company = len(parts)
                try:
                    await self._commit(parts)
                except Problem as problem:
                    _fail(parts, problem)
                except Exception as error:  # noqa: BLE001 - each of them is answered, and logs it
                    _fail(parts, error)
        finally:
            self._flying = None

    def _next(self) -> list[Part]:
        rows, count = 0, 0
        for part in self._waiting:
            if count and rows + len(part.rows) > self._most_rows:
                break
            rows += len(part.rows)
            count += 1
        parts, self._waiting = self._waiting[:count], self._waiting[count:]
        return parts

    async def _commit(self, parts: list[Part]) -> None:
        """1. build all rows, 2. refuse whole requests, 3. one flight, 4. answer each with its own id."""
        rows = parts[0].rows if len(parts) == 1 else [row for part in parts for row in part.rows]
        received = time.time_ns()
        if len(rows) > _INLINE_ROWS:
            made = await asyncio.to_thread(measuring.built, rows, received)
        else:
            made = measuring.built(rows, received)  # 1
        going = self._judged(parts, made)  # 2
        if not going:
            return
        drafts, starts = self._drafts(going, made.batch)
        total = sum(part.good for part, _ in going)
        held = await self._outlet.publish(Stream.METRICS, [drafts], total)  # 3
        for (part, _), start in zip(going, starts, strict=True):  # 4
            identity, again = answering.row_id(held, start)
            self._count(part, accepted=part.good)
            taken = Taken(identity, Stream.METRICS, KIND, part.good, again)
            part.answer.set_result(answering.accepted(taken, part.refusals, lenient=part.lenient))

    def _judged(self, parts: list[Part], made: measuring.Built) -> list[tuple[Part, slice]]:
        """The parts that go on, with the rows of the batch that are theirs; the others are answered."""
        going, index, row = [], 0, 0
        indices = [at for at, _ in made.refused]
        for part in parts:
            low, high = bisect.bisect_left(indices, index), bisect.bisect_left(indices, index + len(part.rows))
            part.refusals.add(made.refused[low:high], measuring.CAUSES, index)
            part.good = len(part.rows) - part.refusals.rows
            if part.good and (part.lenient or not part.refusals.rows):
                going.append((part, slice(row, row + part.good)))
            else:
                self._count(part, refused_with_body=part.good)
                part.answer.set_exception(answering.refused(part.refusals, part.good))
            index, row = index + len(part.rows), row + part.good
        return going

    def _drafts(self, going: list[tuple[Part, slice]], batch: pa.RecordBatch) -> tuple[list[Envelope], list[int]]:
        """Rows without a key share envelopes, first; each key has its own. And where each part's first row is then."""
        shared = [span for part, span in going if part.key is None]
        drafts = self._outlet.drafts(_joined(batch, shared), Stream.METRICS, None) if shared else []
        at_shared, at_keyed, starts = 0, sum(span.stop - span.start for span in shared), []
        for part, span in going:
            if part.key is None:
                starts.append(at_shared)
                at_shared += part.good
            else:
                drafts += self._outlet.drafts(batch.slice(span.start, part.good), Stream.METRICS, part.key)
                starts.append(at_keyed)
                at_keyed += part.good
        return drafts, starts

    def _count(self, part: Part, **names: int) -> None:
        reasons = {f"refused_{reason}": count for reason, count in part.refusals.reasons.items()}
        self._counts.add("receive", (Stream.METRICS, KIND), "rows", {"received": len(part.rows), **reasons, **names})


def _joined(batch: pa.RecordBatch, spans: list[slice]) -> pa.RecordBatch:
    """The rows of all spans; no copy when they are all rows."""
    if sum(span.stop - span.start for span in spans) == batch.num_rows:
        return batch
    rows = itertools.chain.from_iterable(range(span.start, span.stop) for span in spans)
    return batch.take(pa.array(rows, pa.int64()))


def _fail(parts: list[Part], error: Exception) -> None:
    for part in parts:
        if not part.answer.done():
            part.answer.set_exception(error)
