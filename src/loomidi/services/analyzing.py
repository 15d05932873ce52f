"""The slow lane in one function: captures in, an explained report out. Nothing is ever applied from here.

Called by `loomidi analyze` and by `loomidi.analyze`. In: paths of captures and settings. Out: a `Report`. This is the
composition root of the lane: it picks the meter, the graph, the detectors, the guards; each step's work is left to the
house that it names. Memory does not grow with the captures: every stage has a bound and counts what went beyond it.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from loomidi import __version__
from loomidi.contracts.errors import InputError
from loomidi.contracts.records import Finding, Severity
from loomidi.garden.graph import EntityGraph
from loomidi.insight.report import SEVERITIES, Balance, CaptureRead, ProposedFold, Report, choosing
from loomidi.insight.report.tallying import Tally
from loomidi.kit.clock import ManualClock
from loomidi.loom.flows import FlowStream, MeterSettings, meter
from loomidi.origami.online import FlowDetectors
from loomidi.services.folds.planning import check_protected, decider_over, explained, planned

Source = str | os.PathLike[str]
Progress = Callable[[int, int], object]  # octets read, octets to read (0: unknown)


@dataclasses.dataclass(frozen=True, slots=True)
class AnalyzeSettings:
    """What an analysis may be told."""

    meter: MeterSettings = dataclasses.field(default_factory=MeterSettings)
    # When a flow ends, and how many are kept at once.
    protected: tuple[str, ...] = ()
    # Addresses or CIDRs that no fold may touch; guards refuse folds that would.
    most_findings: int = 1000
    # Kept, worst first; more than anybody reads, few enough to stay small. The others are counted.
    most_planned: int = 200
    # Findings for which folds are planned and judged (each costs about a millisecond).

    def __post_init__(self) -> None:
        """Raises UsageError for a protected entry that is neither an address nor a CIDR: before reading, not after."""
        check_protected(self.protected)


def analyze(
    sources: Sequence[Source] | Source, settings: AnalyzeSettings | None = None, *, progress: Progress | None = None
) -> Report:
    """Everything that one or more captures show, explained, with the folds that would answer it.

    Raises InputError for a source that is not there; a capture that ends badly is reported as far as it goes.
    """
    settings = settings or AnalyzeSettings()
    names = [os.fspath(source) for source in ([sources] if isinstance(sources, (str, os.PathLike)) else sources)]
    tally, graph, detectors, found = Tally(), EntityGraph(), FlowDetectors(), Found(settings.most_findings)

    with meter(names, settings.meter) as flows:  # 1 capture -> flow records, in Arrow batches
        for batch in _batches(flows, progress):
            tally.absorb(batch)  # 2 totals and timeline
            graph.absorb(batch)  # 3 who talks to whom
            found.add(detectors.observe(batch))  # 4 detectors -> findings
        found.add(detectors.finish())

    findings = found.worst_first()
    clock = ManualClock(tally.totals().last_ns)  # the end of the captures, so that they always give the same plans
    decider = decider_over(graph, settings.protected, clock)
    folds = [fold for f in findings[: settings.most_planned] for fold in planned(f, decider)]  # 5 folds, judged
    findings = [explained(finding, folds) for finding in findings]  # 6 explanation
    beyond = {
        "findings": found.left_out,
        "hosts": graph.collapsed_hosts,
        "edges": graph.collapsed_edges,
        "detector_rows": detectors.shed,
        "flows": flows.evicted,
    }
    return _report(names, flows, tally, graph, (findings, folds, beyond))  # 7 report


def _batches(flows: FlowStream, progress: Progress | None) -> Iterator[pa.RecordBatch]:
    """The stream, with the one who waits kept informed."""
    if flows.live:
        raise InputError(f"{flows.sources[0]} is an interface; record it first (tcpdump -i {flows.sources[0]} -w FILE)")
    if progress is not None:
        flows.on_breath = lambda: progress(flows.bytes_read, flows.bytes_total)
    yield from flows


def _report(
    names: Sequence[str],
    flows: FlowStream,
    tally: Tally,
    graph: EntityGraph,
    outcome: tuple[Sequence[Finding], Sequence[ProposedFold], Mapping[str, int]],
) -> Report:
    findings, folds, beyond = outcome
    alarms = [finding for finding in findings if finding.severity is not Severity.INFO]
    seen = choosing.survey(graph.edges(), alarms or findings)
    return Report(
        captures=_captures(names, flows),
        flows=tally.totals(),
        series=tally.series(),
        findings=tuple(findings),
        beyond=beyond,
        folds=tuple(folds),
        entities=seen.entities,
        entity_count=seen.entity_count,
        links=seen.links,
        hosts_not_shown=seen.hosts_not_shown,
        talkers=seen.talkers,
        protocols=tally.protocols(),
        balance=_balance(flows, tally),
        version=__version__,
    )


def _captures(names: Sequence[str], flows: FlowStream) -> tuple[CaptureRead, ...]:
    problems: dict[str, list[str]] = {}
    for problem in flows.problems:
        problems.setdefault(problem.source, []).append(problem.message)
    shown = {name: "standard input" if name == "-" else name for name in names}
    return tuple(CaptureRead(text, _octets(name), tuple(problems.pop(text, ()))) for name, text in shown.items())


def _octets(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except OSError:
        return 0


def _balance(flows: FlowStream, tally: Tally) -> Balance:
    """Each packet in one reason, and what the meter accounted is what the flow records hold."""
    reasons = {name: counts for name, counts in flows.balance.items() if counts[0]}
    accounted = flows.balance["accounted"][0]
    received = sum(packets for packets, _ in reasons.values())
    return Balance(reasons, received, accounted == tally.totals().packets)


class Found:
    """Findings as they come, at most twice the limit at any time; what is dropped is the mildest, and counted."""

    def __init__(self, limit: int) -> None:
        self._limit, self._kept = limit, list[Finding]()
        self.left_out = 0

    def add(self, findings: Sequence[Finding]) -> None:
        """Take in what a detector says."""
        self._kept.extend(findings)
        if len(self._kept) > 2 * self._limit:
            self._shorten()

    def worst_first(self) -> list[Finding]:
        """By severity, then confidence, then time; at most the limit."""
        self._shorten()
        return self._kept

    def _shorten(self) -> None:
        self._kept.sort(key=lambda f: (SEVERITIES.index(f.severity), -f.confidence, f.first_ns, f.id))
        self.left_out += len(self._kept[self._limit :])
        del self._kept[self._limit :]
