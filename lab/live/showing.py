"""A run seen through Loomidi itself: every link metered once, findings told live with names, and the proposed folds.

Called by the command `run`. In: a lab, its observer. Out: a context in which links are metered for the observer and
for `services.watching.Watch`, whose findings are told as they come; afterwards `Seen`, which tells the manifests.
"""

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.staging.observing import Observer, link_patterns

if TYPE_CHECKING:
    import pyarrow as pa

    from loomidi.loom.flows.links import LinkId, LinkMeters
    from loomidi.services.sightings import Balanced, Sighting
    from loomidi_lab.cluster import Lab
    from loomidi_lab.recording.sources.watching import Change

Say = Callable[[str], object]
_KINDS = frozenset({"Node", "ReplicaSet", "Job", "Service", "Pod"})  # that have addresses, or own what has
_END_S = 20.0
SUMMARY_S = 5.0  # between two sums of the flows with their busiest talkers


class Seen:
    """What Loomidi has found during the run."""

    def __init__(self) -> None:
        self.sightings: dict[str, Sighting] = {}  # finding id -> as it was told last
        self.balance: Balanced | None = None
        self.failures: list[LoomidiError] = []

    def tell(self, say: Say) -> None:
        """Every finding above `info` with its folds as manifests."""
        from loomidi.insight.report.text import yaml

        serious = [one for one in self.sightings.values() if one.named.finding.severity.value != "info"]
        say(f"loomidi: {len(serious)} finding{'' if len(serious) == 1 else 's'}" if serious else "loomidi: no finding")
        for one in serious:
            for line in heading(one):
                say(line)
            for proposed in one.folds:
                answer = "guards allow" if proposed.allowed else "guards refuse"
                say(f"  proposed {proposed.fold.kind.value} ({answer}; not applied):")
                for line in yaml(proposed).splitlines():
                    say(f"    {line}")
        if self.balance is not None:
            received, links = self.balance.packets.get("received", 0), self.balance.counts["links"]
            end = "adds up" if self.balance.adds_up else "does NOT add up"
            say(f"loomidi: {received:,} packets on {links} links; balance {end}")


def heading(one: "Sighting") -> Iterator[str]:
    """A finding in two lines: what and who with ATT&CK ids, then its facts."""
    from loomidi.insight import wording
    from loomidi.insight.explain import phrase
    from loomidi.insight.explain.telling import fact

    finding, named = one.named.finding, one.named
    who = [wording.printable(named.called(entity)) for entity in finding.entities]
    subject = who[0] + (f" -> {wording.listing(who[1:], 3)}" if who[1:] else "")
    title, ids = phrase(finding.pattern).title, " ".join(finding.techniques)
    yield f"{finding.severity.value.upper()} {title}: {subject}  {ids}  {finding.confidence:.0%}"
    yield f"  {'; '.join(fact(item) for item in finding.evidence[:3])}"


@contextlib.contextmanager
def watching(lab: "Lab", observer: Observer, say: Say) -> Iterator[Seen]:
    """Meter and watch while the block runs; the last findings are told when it ends."""
    from loomidi.loom.flows.links import LIVE, LinkMeters
    from loomidi.services.watching import Watch, WatchSettings

    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="loomidi-run-") as folder, _address_book(lab, Path(folder)) as book:
        source = Shared(LinkMeters(link_patterns(lab), LIVE), observer)
        with Watch((), WatchSettings(meter=LIVE, summary_s=SUMMARY_S), entities=str(book), source=source) as watch:
            thread = threading.Thread(target=_follow, args=(watch, seen, say), name="watching", daemon=True)
            thread.start()
            try:
                yield seen
            finally:
                watch.stop()
                thread.join(timeout=_END_S)
    if seen.failures:
        raise seen.failures[0]


class Shared:
    """Links whose flows go to an observer as well as to the watch that takes them: each link is metered once."""

    def __init__(self, meters: "LinkMeters", observer: Observer) -> None:
        self._meters, self._observer = meters, observer

    def take(self, timeout_s: float = 0.0) -> "list[tuple[LinkId, pa.RecordBatch]]":
        """As `LinkMeters.take`."""
        taken = self._meters.take(timeout_s)
        for link, batch in taken:
            self._observer.absorb((link.netns, link.name), batch)
        return taken

    @property
    def ended(self) -> bool:
        """As `LinkMeters.ended`."""
        return self._meters.ended

    @property
    def links(self) -> "tuple[LinkId, ...]":
        """As `LinkMeters.links`."""
        return self._meters.links

    @property
    def problems(self) -> tuple[str, ...]:
        """As `LinkMeters.problems`."""
        return self._meters.problems

    def balance(self) -> "dict[LinkId, dict[str, int]]":
        """As `LinkMeters.balance`."""
        return self._meters.balance()

    def figures(self) -> "dict[LinkId, dict[str, int]]":
        """As `LinkMeters.figures`."""
        return self._meters.figures()

    def stop(self) -> None:
        """As `LinkMeters.stop`."""
        self._meters.stop()

    def close(self) -> None:
        """As `LinkMeters.close`."""
        self._meters.close()


def _follow(watch: Any, seen: Seen, say: Say) -> None:
    from loomidi.conductor.verbs.watch import flow_lines
    from loomidi.services import sightings

    try:
        for event in watch:
            if isinstance(event, sightings.Sighting):
                _heard(event, seen, say)
            elif isinstance(event, sightings.FlowsSeen):
                _say_all(say, flow_lines(event))
            elif isinstance(event, sightings.Trouble):
                say(f"loomidi: {event.message}")
            elif isinstance(event, sightings.Balanced):
                seen.balance = event
    except LoomidiError as error:
        seen.failures.append(error)


def _say_all(say: Say, lines: Iterator[str]) -> None:
    for line in lines:
        say(line)


def _heard(event: "Sighting", seen: Seen, say: Say) -> None:
    from loomidi.services.sightings import OVER

    finding = event.named.finding
    if event.state != OVER:
        seen.sightings[finding.id] = event
        if finding.severity.value != "info":
            for line in itertools.chain(heading(event), _folds(event)):
                say(line)


def _folds(event: "Sighting") -> Iterator[str]:
    from loomidi.insight.explain.telling import remedy

    for proposed in event.folds:
        yield f"  would {proposed.fold.kind.value}: {remedy(proposed.fold)}"


@contextlib.contextmanager
def _address_book(lab: "Lab", folder: Path) -> Iterator[Path]:
    """A file that grows with the Kubernetes watch: who has which address from when to when."""
    from loomidi_lab.recording.balances import Balance
    from loomidi_lab.recording.entities import Entities
    from loomidi_lab.recording.sources.watching import RESOURCES, Watch
    from loomidi_lab.recording.sources.working import Workers
    from loomidi_lab.recording.surroundings import fixed_entities

    book = folder / "entities.jsonl"
    entities, workers, notes = Entities(book), Workers(), Balance()
    entities.add_fixed(fixed_entities(lab))
    try:
        for resource in (resource for resource in RESOURCES if resource.kind in _KINDS):
            watch = Watch(lab.api, resource, _recorder(entities), notes)
            watch.relist()
            workers.spawn(resource.kind, lambda watch=watch: watch.follow(workers))  # type: ignore[misc]
        yield book
    finally:
        workers.stopping.set()  # the threads are daemons: a watch that hears nothing ends within its minute
        entities.close()


def _recorder(entities: Any) -> "Callable[[Change], None]":
    import time

    return lambda change: entities.changed(change, time.time_ns())


def folds_by_pattern(seen: Seen) -> Mapping[str, list[str]]:
    """Pattern -> kinds of the folds that were proposed, for tests and tables."""
    found: dict[str, list[str]] = {}
    for one in seen.sightings.values():
        kinds = [proposed.fold.kind.value for proposed in one.folds]
        found.setdefault(one.named.finding.pattern, []).extend(kinds)
    return found
