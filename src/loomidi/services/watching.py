"""The slow lane, live, in one class: links in, findings told as they are found, with names. Nothing is ever applied.

Called by `loomidi watch` and by the lab. In: links, settings, an address book's file. Out: events as they come (see
`sightings`). Its pieces are those of `analyzing`: graph, flow detectors, `planning`; what differs is that findings are
looked at while they grow. One thread; reading the links has threads of its own.
"""

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.records import Evidence, Finding, Mode
from loomidi.garden.graph import EntityGraph
from loomidi.garden.graph.naming import AddressBook
from loomidi.insight.report import SEVERITIES, Link, choosing
from loomidi.insight.report.tallying import Tally
from loomidi.ionic.decide import DeciderSettings
from loomidi.kit.clock import SystemClock
from loomidi.loom.capture.frames import Frame
from loomidi.loom.flows import MeterSettings
from loomidi.loom.flows.links import LIVE, LinkId, LinkMeters, total
from loomidi.origami.online import FlowDetectors, FlowSettings
from loomidi.services.folds.planning import check_protected, decider_over, explained, planned
from loomidi.services.gathering import Once, Recent
from loomidi.services.naming import Named, endpoints, named
from loomidi.services.sightings import AGAIN, NEW, OVER, WORSE, Balanced, Event, FlowsSeen, Sighting, Talk, Trouble

SLACK_S = 5.0  # that the watch of a cluster may hear of a pod after its first packet
_WAIT_S = 0.25  # for the first batch of a turn
_FLOWS = FlowSettings(lateness_s=30.0, quiet_s=300.0)  # flows are cut every few seconds, so none comes later
_MOST_KNOWN = 10_000
_SHARE = 5  # looking may take a fifth of the time at most: after a long look the next waits longer


@dataclasses.dataclass(frozen=True, slots=True)
class WatchSettings:
    """What a watch may be told."""

    meter: MeterSettings = LIVE
    # When a flow ends, and each link's ring.
    protected: tuple[str, ...] = ()
    # Addresses or CIDRs that no fold may touch; guards refuse folds that would.
    turn_s: float = 0.2
    # Between two turns: many links end flows all the time, and one batch of all costs as much as one of a single flow.
    judge_s: float = 1.0
    # Between two looks at what has been seen so far.
    summary_s: float = 10.0
    # Between two sums of the flows; 0: none.
    window_s: float = 300.0
    # The blast radius is counted on the traffic of the last one to two of these.
    duration_s: float = 0.0
    # 0: until `stop`.
    talks: int = 5
    # Talkers told in a sum.
    again_s: float = 0.0
    # Between two times that a finding is told which grows without becoming worse; 0: never.
    mode: Mode = Mode.SHADOW
    # That plans are made in.
    valid_s: float = 60.0
    # From a plan to its act; longer where people are asked.
    most_told: int = 50
    # New findings told at one look, each planned and judged (about 2 ms a fold); the others follow at the next.
    recent: int = 0
    # Frames of each link whose first 128 octets are kept for `recent`, the last ones; 0: none.

    def __post_init__(self) -> None:
        """Raises UsageError for what makes no sense, before anything is opened."""
        check_protected(self.protected)
        if not 0 <= self.duration_s < float("inf"):
            raise UsageError(f"duration {self.duration_s:g} s: use a number of seconds above 0")
        if not (
            0 <= self.turn_s <= 10
            and 0.1 <= self.judge_s <= 60
            and 0 <= self.summary_s < float("inf")
            and self.window_s > 0
        ):
            raise UsageError(
                "turn every 0 to 10 s, judge every 0.1 to 60 s, sum up every 0 s (never) or more, keep a window above 0"
            )


class Source(Protocol):
    """What `LinkMeters` offers; tests hand in flows without links."""

    def take(self, timeout_s: float = 0.0) -> list[tuple[LinkId, pa.RecordBatch]]: ...
    @property
    def ended(self) -> bool: ...
    @property
    def links(self) -> tuple[LinkId, ...]: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    def balance(self) -> dict[LinkId, dict[str, int]]: ...
    def figures(self) -> dict[LinkId, dict[str, int]]: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


@dataclasses.dataclass(slots=True)
class _Heard:
    """A finding that was told."""

    finding: Finding  # as the detectors gave it last
    worst: int  # its place in SEVERITIES when it was told last
    updates: int = 0
    told_ns: int = 0


class Watch:
    """Iterate over its events; `stop` ends it in good order, with a last look and the balance."""

    def __init__(
        self,
        links: Sequence[tuple[str, str]],
        settings: WatchSettings | None = None,
        *,
        entities: str | None = None,
        book: AddressBook | None = None,
        source: Source | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Opens what `links` (network namespace or "", glob) fit now. Raises as `LinkMeters` does.

        `entities`: the file of an address book, which may grow; or the `book` itself, kept by whoever gives it.
        `source`: instead of links, such as the bus.
        """
        self.settings = settings or WatchSettings()
        self.on_flows: Callable[[pa.RecordBatch], object] | None = None  # called with each batch, every flow once
        self.on_found: Callable[[Finding], object] | None = None  # called with what is told first, by its addresses
        self.book = AddressBook(entities, slack_s=SLACK_S) if book is None else book
        self.book.refresh()
        self._clock = clock
        self._once, self._recent, self._tally = Once(), Recent(self.settings.window_s), Tally()
        self._interval = EntityGraph()
        self._detectors = FlowDetectors(_FLOWS)
        plans = DeciderSettings(self.settings.mode, approval_s=self.settings.valid_s)
        self._decider = decider_over(self._recent, self.settings.protected, SystemClock(), plans)
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self._began_ns = self._summed_ns = self._clock()
        self._look_due_ns = self._began_ns
        self._turned_s = 0.0
        self._fresh = False  # whether anything came since the last look
        self._sums = [0, 0, 0, 0]  # flows, packets, octets, again: told in the last sum
        self._problems: list[str] = []
        self._told_problems: set[str] = set()
        self._counts = dict.fromkeys(("findings", "updates", "not_told", "folds", "folds_allowed"), 0)
        self._source = source or LinkMeters(links, self.settings.meter, recent=self.settings.recent)  # last
        if not self._source.links:
            self._problems.append("no link of that name is up yet; it is waited for")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until `stop` or the duration; the last one is the balance."""
        until_ns = self._began_ns + round(self.settings.duration_s * 1e9) if self.settings.duration_s else None
        while not self._source.ended:
            if until_ns is not None and self._clock() >= until_ns:
                self._source.stop()
            yield from self.turn()
        yield from self._last()

    def recent(self) -> Mapping[LinkId, Sequence[Frame]]:
        """The last frames of each link, cut; empty for a source that keeps none."""
        found: Mapping[LinkId, Sequence[Frame]] = getattr(self._source, "recent", dict)()
        return found

    def stop(self) -> None:
        """End it. Safe from signal handlers and other threads."""
        self._source.stop()

    def close(self) -> None:
        """Let go of the links."""
        self._source.close()

    def turn(self) -> Iterator[Event]:
        """One turn. Steps: 1 take batches  2 each conversation once  3 graph  4 detectors  5 look  6 sum up."""
        time.sleep(max(self._turned_s + self.settings.turn_s - time.monotonic(), 0.0))
        self._turned_s = time.monotonic()
        taken = self._source.take(_WAIT_S)  # 1
        now_ns = self._clock()
        batch = self._once.gather(taken, now_ns)  # 2
        if batch is not None:
            yield from self._absorb(batch, now_ns)  # 3, 4
        if self._fresh and now_ns >= self._look_due_ns:
            yield from self._look(now_ns)  # 5
        if self.settings.summary_s and now_ns - self._summed_ns >= self.settings.summary_s * 1e9:
            yield self._sum_up(now_ns)  # 6
        yield from self._troubles(now_ns)

    def _absorb(self, batch: pa.RecordBatch, now_ns: int) -> Iterator[Event]:
        self._tally.absorb(batch)
        self._interval.absorb(batch)
        self._recent.absorb(batch, now_ns)
        self._fresh = True
        if self.on_flows is not None:
            self.on_flows(batch)
        yield from self._over(self._detectors.observe(batch), now_ns)

    def _look(self, now_ns: int) -> Iterator[Event]:
        """What is new or worse among the findings so far, the worst first."""
        self._fresh = False
        self._refresh()
        began = time.monotonic_ns()
        findings = self._detectors.look()
        spent_ns = time.monotonic_ns() - began
        self._look_due_ns = now_ns + max(round(self.settings.judge_s * 1e9), _SHARE * spent_ns)
        new = [finding for finding in findings if finding.id not in self._heard]
        for finding in findings:
            yield from self._again(finding, now_ns)
        new.sort(key=_rank)
        for finding in new[: self.settings.most_told]:
            yield self._tell(finding, NEW, now_ns)
        self._fresh |= len(new) > self.settings.most_told

    def _again(self, finding: Finding, now_ns: int) -> Iterator[Event]:
        """A finding that was told before: counted when it grew, told when it is worse."""
        heard = self._heard.get(finding.id)
        if heard is None or heard.finding == finding:
            return
        heard.finding = finding
        heard.updates += 1
        self._counts["updates"] += 1
        if SEVERITIES.index(finding.severity) < heard.worst:
            yield self._tell(finding, WORSE, now_ns)
        elif self.settings.again_s and now_ns - heard.told_ns >= self.settings.again_s * 1e9:
            yield self._tell(finding, AGAIN, now_ns)

    def _over(self, ended: Sequence[Finding], now_ns: int) -> Iterator[Event]:
        """Findings that nothing will extend any more."""
        for finding in ended:
            known = finding.id in self._heard
            yield self._tell(finding, OVER if known else NEW, now_ns)
            self._heard.pop(finding.id, None)

    def _tell(self, finding: Finding, state: str, now_ns: int) -> Sighting:
        heard = self._heard.setdefault(finding.id, _Heard(finding, len(SEVERITIES)))
        heard.worst, heard.told_ns = SEVERITIES.index(finding.severity), now_ns
        if len(self._heard) > _MOST_KNOWN:
            self._heard.popitem(last=False)
        who = _with_address(named(finding, self.book))
        folds = planned(who.finding, self._decider, who.where) if state != OVER else []
        if state == NEW:
            if self.on_found is not None:
                self.on_found(finding)
            self._counts["findings"] += 1
            self._counts["folds"] += len(folds)
            self._counts["folds_allowed"] += sum(proposed.allowed for proposed in folds)
        met = {entity for proposed in folds for entity in proposed.plan.blast_radius.bystanders}
        told = Sighting(now_ns, state, heard.updates, who, tuple(folds), endpoints(met, now_ns, self.book))
        finding = explained(who.finding, [told.in_names(proposed) for proposed in folds])
        return dataclasses.replace(told, named=dataclasses.replace(who, finding=finding))

    def _sum_up(self, now_ns: int) -> FlowsSeen:
        totals = self._tally.totals()
        sums = [totals.count, totals.packets, totals.octets, self._once.again]
        grown = [after - before for before, after in zip(self._sums, sums, strict=True)]
        self._refresh()
        links = choosing.survey(self._interval.edges(), ()).links[: self.settings.talks]
        names = endpoints({end for link in links for end in (link.source, link.target)}, now_ns, self.book)
        talks = tuple(_talk(link, names) for link in links)
        seconds = round((now_ns - self._summed_ns) / 1e9, 3)
        self._sums, self._interval, self._summed_ns = sums, EntityGraph(), now_ns
        flows, packets, octets, again = grown
        return FlowsSeen(
            now_ns, seconds, len(self._source.links or self._source.balance()), flows, packets, octets, again, talks
        )

    def _refresh(self) -> None:
        """Read on in the address book. One that cannot be read any more is told, and the names known so far stay."""
        try:
            self.book.refresh()
        except InputError as error:
            self._problems = [str(error)]

    def _troubles(self, now_ns: int) -> Iterator[Trouble]:
        for line in (*self._source.problems, *self.book.problems, *self._problems):
            if line not in self._told_problems:
                self._told_problems.add(line)
                yield Trouble(now_ns, line)

    def _last(self) -> Iterator[Event]:
        """After the last batch: what is still open is judged and told, then the balance."""
        now_ns = self._clock()
        self._refresh()
        for number, finding in enumerate(sorted(self._detectors.finish(), key=_rank)):
            if finding.id in self._heard:
                yield from self._again(finding, now_ns)
            elif number < 20 * self.settings.most_told:
                yield self._tell(finding, NEW, now_ns)
            else:
                self._counts["not_told"] += 1
        if self.settings.summary_s:
            yield self._sum_up(now_ns)
        yield from self._troubles(now_ns)
        yield self._balanced(now_ns)

    def _balanced(self, now_ns: int) -> Balanced:
        balance, figures = self._source.balance(), self._source.figures()
        beside = total(figures)
        counts = self._counts | {
            "links": len(balance),
            "flows": self._tally.totals().count,
            "again": self._once.again,
            "detector_rows_shed": self._detectors.shed,
            "entities": len(self.book),
            "bad_entities": self.book.bad,
        }
        counts |= {name: beside.get(name, 0) for name in ("in_flows", "undelivered", "evicted", "waited_ms")}
        links = {str(link): parts | figures.get(link, {}) for link, parts in sorted(balance.items())}
        seconds = round((now_ns - self._began_ns) / 1e9, 3)
        return Balanced(now_ns, seconds, total(balance), links, counts)


def _talk(link: Link, names: Mapping[str, str]) -> Talk:
    ends = names.get(link.source, ""), names.get(link.target, "")
    seen = link.flows, link.packets, link.octets
    return Talk(link.source, link.target, link.services, link.service_count, *ends, *seen)


def _rank(finding: Finding) -> tuple[int, float, int, str]:
    return SEVERITIES.index(finding.severity), -finding.confidence, finding.first_ns, finding.id


def _with_address(who: Named) -> Named:
    """The address of the one who acts beside its name: names pass to another pod, evidence stays."""
    entity = who.finding.entities[0] if who.finding.entities else ""
    address = who.where(entity).address if entity else ""
    if not address or address in entity:
        return who
    fact = Evidence("address", address, None, "", f"of {entity} at that time")
    return dataclasses.replace(who, finding=dataclasses.replace(who.finding, evidence=(*who.finding.evidence, fact)))
