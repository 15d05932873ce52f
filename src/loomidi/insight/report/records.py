"""The result of one analysis, as frozen records: what the three renderers draw.

Built by `services.analyzing`, read by `text`, `document` and `page`, and by users of `loomidi.analyze`. Plain values
only: nothing here grows with the capture, every list has a limit and says how much was left out.
"""

import dataclasses
from collections.abc import Mapping

from loomidi.contracts.records import Entity, Finding, FoldSpec, Plan, Severity, Verdict
from loomidi.insight import wording

SEVERITIES = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)  # worst first


BEYOND = {  # key of `Report.beyond` -> what it counts, after "N "
    "findings": "further findings were milder and are not listed",
    "hosts": "hosts were folded into their networks",
    "edges": "edges of the graph were folded",
    "detector_rows": "rows were given up by detectors, so counts in evidence are lower bounds",
    "flows": "flows were ended early because the flow table was full",
}


@dataclasses.dataclass(frozen=True, slots=True)
class CaptureRead:
    """One file that was given, and what stood in its way."""

    path: str
    octets: int  # size on disk; 0 when it is not a plain file
    problems: tuple[str, ...] = ()  # what could not be read; what was readable is in the report


@dataclasses.dataclass(frozen=True, slots=True)
class FlowTotals:
    """Flow records of all captures together."""

    count: int = 0
    packets: int = 0
    octets: int = 0  # of the IP packets, without link-layer headers
    first_ns: int = 0  # epoch; 0 when there is no flow
    last_ns: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Traffic over time in bins of equal width; a flow is spread evenly from its start to its end."""

    start_ns: int  # of the first bin
    bin_ns: int
    packets: Mapping[str, tuple[int, ...]]  # tcp, udp, icmp, other -> packets per bin
    octets: tuple[int, ...]  # all protocols

    @property
    def packets_in_all(self) -> tuple[int, ...]:
        """Packets per bin over all protocols."""
        return tuple(map(sum, zip(*self.packets.values(), strict=True)))


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """Traffic of one host with another, all services of the other together."""

    source: str  # entity id of the initiator
    target: str  # entity id of the host that was spoken to
    flows: int
    packets: int
    octets: int
    service_count: int
    services: tuple[str, ...]  # names of the busiest, such as 443/tcp


@dataclasses.dataclass(frozen=True, slots=True)
class Talker:
    """One host with all its traffic, both roles, both directions."""

    entity: str
    flows: int
    packets: int
    octets: int
    opened: int  # flows of these that it initiated
    peers: int


@dataclasses.dataclass(frozen=True, slots=True)
class ProposedFold:
    """One fold with the plan made of it and what the guards said. Nothing was applied."""

    fold: FoldSpec
    plan: Plan
    verdicts: tuple[Verdict, ...]
    allowed: bool  # every guard allowed, as far as guards may without a person


@dataclasses.dataclass(frozen=True, slots=True)
class Balance:
    """Where every packet of the captures ended."""

    reasons: Mapping[str, tuple[int, int]]  # reason -> packets, octets
    received: int  # packets read
    adds_up: bool  # every packet is in exactly one reason, and the accounted ones are in the flow records


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything that `loomidi analyze` has to say."""

    captures: tuple[CaptureRead, ...]
    flows: FlowTotals
    series: Series
    findings: tuple[Finding, ...]  # worst first, each with its explanation
    beyond: Mapping[str, int]  # what did not fit into a bound, see `BEYOND`
    folds: tuple[ProposedFold, ...]
    entities: tuple[Entity, ...]  # those that findings name, then the busiest
    entity_count: int  # all that the graph holds
    links: tuple[Link, ...]
    hosts_not_shown: tuple[int, int, int]  # without a link above: only initiators, both, only responders
    talkers: tuple[Talker, ...]
    protocols: Mapping[str, FlowTotals]
    balance: Balance
    version: str  # of Loomidi

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings above `info`."""
        return tuple(finding for finding in self.findings if finding.severity is not Severity.INFO)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that could not be read."""
        return tuple(f"{capture.path}: {problem}" for capture in self.captures for problem in capture.problems)

    @property
    def bounds(self) -> tuple[str, ...]:
        """One line for each bound that was met."""
        return tuple(f"{wording.count(number)} {BEYOND[name]}" for name, number in self.beyond.items() if number)

    @property
    def exit_code(self) -> int:
        """0 nothing above `info`, 1 something was found, 2 part of a capture could not be read."""
        return 2 if self.problems else int(bool(self.alarms))

    @property
    def distinct_folds(self) -> tuple[tuple[ProposedFold, int], ...]:
        """Folds that differ in what they do, each with the number of findings that call for it."""
        first: dict[tuple[object, ...], ProposedFold] = {}
        count: dict[tuple[object, ...], int] = {}
        for proposed in self.folds:
            fold = proposed.fold
            key = (fold.kind, fold.target, fold.action, fold.match)
            first.setdefault(key, proposed)
            count[key] = count.get(key, 0) + 1
        return tuple((proposed, count[key]) for key, proposed in first.items())

    def proposals(self, finding: Finding) -> tuple[ProposedFold, ...]:
        """What is proposed against one finding."""
        return tuple(proposed for proposed in self.folds if proposed.fold.because == finding.id)
