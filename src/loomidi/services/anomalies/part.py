"""The model on the live windows, as a part of the pipeline: windows in, findings out with their likely causes.

Called by `answering`. In: EDGE_WINDOWS, ENTITY_WINDOWS, ENTITIES and the findings of rules, from the bus; windows that
are still open, from `windowing` of this process. Out: rows of `findings` on the bus. Exactly once, in this order:
  1. take what has come; 2. judge; 3. incidents become findings with causes and with what rules say; 4. write all state
  down, the findings that are to be told too; 5. tell them under ids that a restart gives again; 6. commit positions.
It is shadow by its nature: no fold is proposed from here. Learning and judging are left to `noticing`, why to
`reasoning`, early words to `foretelling`, the challenger to `shadowing`, whether the champion stays to `overseeing`.
"""

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts import InputError, Retryable
from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITIES, ENTITY_WINDOWS, FINDINGS
from loomidi.contracts.streams import Envelope, Message, Reader, Stream
from loomidi.kit import logging
from loomidi.loom.bus import BadBatch, TendedBus
from loomidi.loom.bus.envelopes import decode, encode
from loomidi.loom.runners.checkpoints import Checkpoints
from loomidi.loom.runners.machines import SLICE_ROWS
from loomidi.origami.scoring import Incident, Tick
from loomidi.services.anomalies.champions import makers
from loomidi.services.anomalies.foretelling import Foretelling, Telling
from loomidi.services.anomalies.incident_findings import Told, finding_of
from loomidi.services.anomalies.noticing import PHASES, Noticing
from loomidi.services.anomalies.overseeing import Back, Overseeing
from loomidi.services.anomalies.reasoning import Reasons
from loomidi.services.anomalies.rule_findings import RuleFindings
from loomidi.services.anomalies.shadowing import Shadowing
from loomidi.services.anomalies.states import Ledger, State
from loomidi.services.folds.planning import explained
from loomidi.services.shared.counting import Counter
from loomidi.services.shared.findings import finding_row
from loomidi.services.shared.naming_part import recall
from loomidi.services.shared.plant import Plant
from loomidi.services.shared.probes import Sample
from loomidi.services.sightings import AGAIN, NEW, OVER

COMPONENT, SHADOW = "anomalies", "challenger"
_SCHEMAS = {
    Stream.ENTITIES: ENTITIES,
    Stream.FINDINGS: FINDINGS,
    Stream.ENTITY_WINDOWS: ENTITY_WINDOWS,
    Stream.EDGE_WINDOWS: EDGE_WINDOWS,  # last: it is judged with all that is known by then
}
_MOST = 64
_POLL_S = 0.2
_RECENT = 1024  # times of alerts and ticks that quantiles are told of
_log = logging.logger("services.anomalies")


class Anomalies:
    """One pipeline's."""

    def __init__(self, plant: Plant, size_s: int, reasons: Reasons) -> None:
        """`size_s`: of the windows that are looked at. `reasons` is fed from here and may be asked by others."""
        self.settings = plant.settings.anomalies.checked()
        self.counts = collections.Counter[str]()
        self._plant, self._size_s, self._reasons = plant, size_s, reasons
        self._ticks, self._alerts = (collections.deque[float](maxlen=_RECENT) for _ in "ta")  # seconds
        self._least = collections.deque[float](maxlen=_RECENT)  # p-value of the strangest edge of a window
        self._noticing: Noticing | None = None
        self._state = State()
        self._rules = RuleFindings()
        self._heard_ns = 0  # the newest flow that was known when the windows that are judged now were closed
        self._ledger = Ledger()
        self._seqs = dict[tuple[str, int], int]()  # of who makes windows: the newest envelope that has come
        self._foretold = Foretelling()
        self._back: Back | None = None  # who is to score from the next window on
        self._folder = self.settings.folder(plant.settings.node.state)
        self._overseeing = Overseeing(self._folder, self.settings)
        self._shadowing: Shadowing | None = None
        plant.sampled[COMPONENT] = self.samples

    async def run(self, told: asyncio.Event) -> None:
        """Until told; a window that is not whole stays for the next start. Raises Retryable while the bus is away."""
        plant = self._plant
        checkpoints = await asyncio.to_thread(Checkpoints, plant.state(COMPONENT))
        readers = dict[Stream, Reader]()
        try:
            publisher = await plant.publisher(SHADOW)
            self._shadowing = Shadowing(
                self._folder.parent, self.settings, lambda rows: publisher.offer(Stream.METRICS, rows)
            )
            await asyncio.to_thread(self._begin, checkpoints)
            bus, names = await plant.bus(), await asyncio.to_thread(recall, plant, self._reasons.learn)
            for stream in _SCHEMAS:
                self._state.follow(stream, await bus.lineage(stream))
                after = names if stream == Stream.ENTITIES else self._state.after(stream)
                readers[stream] = await bus.reader(stream, plant.reader(COMPONENT), after=after)
            await self._publish(bus)  # what was written down and perhaps not told
            self._ledger.mark(self._state, self._figures())
            plant.early.size_s, plant.early.every_s = self._size_s, self.settings.early_s
            plant.counted[COMPONENT] = self.counted
            await self._follow(bus, readers, checkpoints, told)
        finally:
            plant.early.every_s = 0.0
            await _closed(readers.values())
            await asyncio.to_thread(checkpoints.close)

    def _begin(self, checkpoints: Checkpoints) -> None:
        """From the last snapshot; where it does not fit, learning begins anew and says why."""
        if coarse := self.settings.coarse():
            _log.warning("the budget is finer than the slice", cause=coarse)
        chosen = makers(self._folder, self.settings)
        noticing = Noticing(self.settings, self._size_s, chosen)
        self._rules = RuleFindings()
        self._state = State(epoch=time.time_ns())
        try:
            data, _ = checkpoints.load()
            self._state = State.of(data) if data is not None else self._state
            self._rules.restore(self._state.rules)
            if self._state.noticing:
                noticing.restore(self._state.noticing)
                self._reasons.signals.restore(self._state.signals)
        except InputError as error:  # no state of a model is worth a pipeline that does not start
            self.counts["snapshots_refused"] += 1
            _log.warning("what was learned cannot be used: learning begins anew", cause=str(error))
            noticing, self._state.open = Noticing(self.settings, self._size_s, chosen), {}
        noticing.scored = self._scored
        self._noticing, self._foretold = noticing, Foretelling()
        self._foretold.early, self._foretold.names = self._state.early, self._state.names
        self._ledger.begin(noticing.figures())
        _log.info("anomalies", standing=noticing.standing(), champion_problem=chosen.problem)

    async def _follow(
        self, bus: TendedBus, readers: Mapping[Stream, Reader], checkpoints: Checkpoints, told: asyncio.Event
    ) -> None:
        saved = heard = time.monotonic()
        while not told.is_set():
            fetched = await _fetched(readers)
            heard = time.monotonic() if fetched[Stream.EDGE_WINDOWS] else heard
            silent = time.monotonic() - heard >= self.settings.settle_s
            rows = await asyncio.to_thread(self._take, fetched, silent)  # 1, 2, 3
            if rows or time.monotonic() - saved >= self.settings.snapshot_s:
                await asyncio.to_thread(self._save, checkpoints, rows)  # 4
                await self._publish(bus)  # 5
                await self._commit(readers)  # 6
                saved = time.monotonic()
            self._ledger.mark(self._state, self._figures())
        await asyncio.to_thread(self._save, checkpoints, [])

    # -- on a thread -----------------------------------------------------------------------------------------------

    def _take(self, fetched: Mapping[Stream, Sequence[Message]], silent: bool) -> list[pa.RecordBatch]:
        """All that has come, in the order of the streams; what is to be told, as rows."""
        noticing, rows = self._there(), list[pa.RecordBatch]()
        for stream, messages in fetched.items():
            for message in messages:
                rows += self._rows(self._absorb(stream, message))
                self._state.positions[stream][message.partition] = message.offset
        if fetched[Stream.FINDINGS]:
            rows += self._seen_too()
        if silent and noticing.waiting:
            rows += self._rows(self._timed(None))
        early, heard_ns = self._plant.early.take()
        if early:
            found = noticing.glance({end: self._mine(one) for end, one in early.items()})
            rows += [self._row(one, heard_ns) for one in self._foretold.first(found)]
        return rows + [self._row(one) for one in self._foretold.lapsed(noticing.done_ns)]

    def _absorb(self, stream: Stream, message: Message) -> list[Incident]:
        try:
            batch = decode(message.envelope, _SCHEMAS[stream])
        except BadBatch:  # the committer of the same stream keeps it as a dead letter
            self.counts["unreadable_batches"] += 1
            return []
        if stream == Stream.ENTITIES:
            self._reasons.learn(batch)
        elif stream == Stream.FINDINGS:
            self.counts["rule_findings"] += self._rules.learn(batch)
        elif stream == Stream.ENTITY_WINDOWS:
            self._reasons.feed_served(self._mine(batch))
        else:
            self._heard_ns = message.envelope.created_ns or time.time_ns()
            mine = self._mine(batch)
            self._reasons.feed(mine, self._size_s)
            told, whole = self._timed(batch), self._whole(message.envelope)
            return told + (self._timed(None) if whole and mine.num_rows and self._there().waiting else [])
        return []

    def _whole(self, envelope: Envelope) -> bool:
        """Whether its window is there as a whole: it is not full, and all before it have come, in whatever order."""
        who = (envelope.producer, envelope.epoch)
        last = self._seqs.get(who, envelope.seq - 1)
        self._seqs[who] = max(last, envelope.seq)
        return envelope.seq == last + 1 and envelope.rows < SLICE_ROWS

    def _mine(self, windows: pa.RecordBatch) -> pa.RecordBatch:
        sized = pc.equal(windows.column("window_size_s"), self._size_s)
        return windows.filter(pc.and_(windows.column("window_aligned"), sized))

    def _timed(self, windows: pa.RecordBatch | None) -> list[Incident]:
        """None: nothing more comes of the last window."""
        noticing, began = self._there(), time.perf_counter()
        phase, scored = noticing.phase, noticing.counts["scored"]
        incidents = noticing.settle() if windows is None else noticing.take(windows)
        if noticing.counts["scored"] != scored:
            self._ticks.append(time.perf_counter() - began)
        if noticing.phase != phase:
            _log.info("anomalies", standing=noticing.standing(), risk=noticing.judge.risk)
        if self._back is not None:
            incidents += noticing.replace(self._back.makers)
        return incidents

    def _scored(self, features: pa.RecordBatch, tick: Tick, broken: str) -> None:
        """A tick that the champion has judged: whether it stays, and what the challenger says."""
        noticing = self._there()
        self._least.append(tick.least)
        if self._back is None:
            self._back = self._overseeing.see(noticing.makers, tick, broken)
        if self._shadowing is not None:
            self._shadowing.see(features, tick, noticing.makers.name)

    def _rows(self, incidents: Sequence[Incident]) -> list[pa.RecordBatch]:
        """What closed windows tell, and that a model came back."""
        told = [self._row(one) for incident in incidents for one in self._foretold.then(incident)]
        if self._back is not None:
            told.append(finding_row(explained(self._back.finding, ()), NEW, (), time.time_ns()))
            self._back = None
        return told

    def _row(self, telling: Telling, heard_ns: int = 0) -> pa.RecordBatch:
        """An incident as it is to be told; those that go on are remembered. `heard_ns`: of what was told early."""
        incident = telling.incident
        if telling.state == OVER:
            self._state.open.pop(incident.incident_id, None)
        else:
            self._state.open[incident.incident_id] = incident
        return self._told(telling, heard_ns)

    def _seen_too(self) -> list[pa.RecordBatch]:
        """What was told before a rule found it, too: once more, as information."""
        rows = []
        for incident in list(self._state.open.values()):
            also = {one.finding_id for one in self._rules.of(incident, self._reasons.end)}
            if also - set(self._state.also.get(incident.incident_id, ())):
                rows.append(self._told(Telling(incident, AGAIN)))
        return rows

    def _told(self, telling: Telling, heard_ns: int = 0) -> pa.RecordBatch:
        incident, state = telling.incident, telling.state
        also = self._rules.of(incident, self._reasons.end)
        if state == OVER:
            self._state.also.pop(incident.incident_id, None)
        else:
            self._state.also[incident.incident_id] = [one.finding_id for one in also]
        noticing, now_ns = self._there(), time.time_ns()
        gate, per_day = noticing.judge.settings.guard.gate, self.settings.incidents_per_day
        by = Told(noticing.makers.name, noticing.judge.risk, gate, per_day)
        finding = finding_of(incident, by, also, self._reasons.of(incident))
        finding = explained(dataclasses.replace(finding, evidence=(*finding.evidence, *telling.evidence)), ())
        self.counts[state] += 1
        self.counts["also_seen"] += bool(also)
        if state != AGAIN and state != OVER:
            self._alerts.append((now_ns - (heard_ns or self._heard_ns)) / 1e9)
        return finding_row(finding, state, (), now_ns)

    def _save(self, checkpoints: Checkpoints, rows: Sequence[pa.RecordBatch]) -> None:
        """Everything, with what is to be told."""
        state, node = self._state, self._plant.settings.node.name
        if rows:
            batch = pa.Table.from_batches(rows).combine_chunks().to_batches()[0]
            now, who = time.time_ns(), f"{node}.{COMPONENT}"
            told = encode(batch, stream=Stream.FINDINGS, producer=who, epoch=state.epoch, seq=state.seq, created_ns=now)
            state.outbox.append(told)
            state.seq, state.offered = state.seq + 1, state.offered + batch.num_rows
        state.noticing, state.signals = self._there().to_bytes(), self._reasons.signals.to_bytes()
        state.rules = self._rules.as_list()
        try:
            checkpoints.save(state.to_bytes())
        except OSError as error:
            raise Retryable(f"state of anomalies cannot be written: {error}; make room, it is tried again") from error
        self.counts["snapshots"] += 1

    def _there(self) -> Noticing:
        assert self._noticing is not None
        return self._noticing

    # -- the bus ---------------------------------------------------------------------------------------------------

    async def _publish(self, bus: TendedBus) -> None:
        outbox = self._state.outbox
        if outbox:
            await bus.publish(outbox)
            self._state.published += sum(one.rows for one in outbox)
            self._state.outbox = list[Envelope]()

    async def _commit(self, readers: Mapping[Stream, Reader]) -> None:
        for stream, reader in readers.items():
            if self._state.positions[stream]:
                await reader.commit(self._state.positions[stream])

    # -- figures ---------------------------------------------------------------------------------------------------

    def counted(self, at_ns: int) -> pa.RecordBatch:
        """Rows of the loss balance, as of the last moment at which nothing was under way."""
        node, epoch = self._plant.settings.node.name, self._ledger.epoch or self._state.epoch
        told = Counter(node, COMPONENT, epoch).batch(self._ledger.told, at_ns)
        judged = self._plant.counter(COMPONENT).batch(self._ledger.judged, at_ns)
        return pa.Table.from_batches([told, judged]).combine_chunks().to_batches()[0]

    def _figures(self) -> dict[str, int]:
        early = dict(self._foretold.counts)
        return self._noticing.figures() | early if self._noticing is not None else {}

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        noticing = self._noticing
        for phase in PHASES:
            about = "1: what the model does now; before `telling` it tells nothing"
            here = int(noticing is not None and noticing.phase == phase)
            yield Sample("loomidi_anomalies_phase", "gauge", about, here, {"phase": phase})
        counted = dict(self.counts) | self._figures()
        for what, value in sorted((counted | dict(self._reasons.counts)).items()):
            about = "Windows, alerts, incidents and findings of the model, by what became of them"
            yield Sample("loomidi_anomalies_total", "counter", about, value, {"what": what})
        for what, value in sorted(self._overseeing.counts.items()):
            about = "Times that the champion was beyond its bounds, and that the one before it came back by itself"
            yield Sample("loomidi_champion_total", "counter", about, value, {"what": what})
        if self._shadowing is not None:
            yield from self._shadowing.samples()
        if noticing is not None:
            about = "Share of strange edges that only one of both detectors finds: 0 they agree, 1 one has moved away"
            yield Sample("loomidi_anomalies_apart", "gauge", about, noticing.judge.guarded.apart, {})
            about = "p-value up to which an edge may be told: of the budget and the calibration slice"
            yield Sample("loomidi_anomalies_limit", "gauge", about, noticing.judge.risk, {})
        if self._least:
            about = "p-value of the strangest edge of the last thousand windows"
            yield Sample("loomidi_anomalies_least", "gauge", about, min(self._least), {})
        for name, about, times in (
            ("tick", "Time to score a window, of the last thousand", self._ticks),
            ("alert", "From the newest flow that closed a window to its finding, of the last thousand", self._alerts),
        ):
            for quantile in (0.5, 0.99) if times else ():
                seconds = float(np.quantile(list(times), quantile))
                yield Sample(
                    f"loomidi_anomalies_{name}_seconds", "gauge", about, seconds, {"quantile": f"{quantile:g}"}
                )


async def _closed(readers: Iterable[Reader]) -> None:
    for reader in readers:
        with contextlib.suppress(Retryable):
            await reader.close()


async def _fetched(readers: Mapping[Stream, Reader]) -> dict[Stream, list[Message]]:
    """What has come on each. Raises what the first of them failed with, when all have ended."""
    found = await asyncio.gather(*(one.fetch(_MOST, _POLL_S) for one in readers.values()), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return dict(zip(readers, found, strict=True))  # type: ignore[arg-type]
