"""Incidents replayed: each must be caught again, no later with its tuned thresholds, its look-alike silent.

Called by `loomidi replay --incidents` and by `keeping`, which keeps only what passes here. In: folders of incidents.
Out: a `Replayed` each: packets and milliseconds from the attack's first packet until the finding, before and after. The
fast lane is asked first, through the twin: the kernel's own code. Then the flow detectors, for what it does not see.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from loomidi.contracts import Finding, InputError, Severity
from loomidi.ionic.watched import watched_by
from loomidi.loom.capture.frames import Frame
from loomidi.loom.capture.twin import ETHERNET, TwinSettings, TwinShield, frames
from loomidi.loom.flows import meter
from loomidi.origami.online import FlowDetectors, SuspectDetectors
from loomidi.services.fast.waking import waking

EXCERPT, BENIGN, EXPECTED, PARAMETERS, STORY = (
    "excerpt.pcapng",
    "benign.pcapng",
    "expected.yaml",
    "parameters.yaml",
    "incident.json",
)
_TTL_S = 30 * 86_400.0  # no capture of an incident is longer
_DRAIN_NS = 10**9
_TAKE = 8  # frames between two looks at the suspects, each of which has its own time


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What must be found (`expected.yaml`, in the form of `rules/detections`)."""

    pattern: str
    entities: tuple[str, ...]  # one of them is named
    first_ns: int  # the attack's first packet


@dataclasses.dataclass(frozen=True, slots=True)
class Parameters:
    """Thresholds of one source or service (`parameters.yaml`); none when nothing could be tuned."""

    target: str = ""
    thresholds: Mapping[str, int] = dataclasses.field(default_factory=dict)  # counts in one window of the fast lane


@dataclasses.dataclass(frozen=True, slots=True)
class Caught:
    """When it was found."""

    packets: int  # of the attack's excerpt, from its first packet on
    ms: float
    lane: str  # fast, flows


@dataclasses.dataclass(frozen=True, slots=True)
class Replayed:
    """One incident, with the rules alone and with its parameters."""

    name: str
    pattern: str
    before: Caught | None
    after: Caught | None
    alarms: tuple[str, ...]  # patterns found in the look-alike, with the parameters
    benign_packets: int  # of the look-alike; 0: there is none

    @property
    def problem(self) -> str:
        """Why it fails; empty when it holds."""
        if self.after is None:
            return "no longer caught"
        if self.before is not None and (self.after.packets, self.after.ms) > (self.before.packets, self.before.ms):
            return "caught later than without its parameters"
        return f"the look-alike alarms: {', '.join(self.alarms)}" if self.alarms else ""

    @property
    def faster(self) -> bool:
        """Whether the parameters help."""
        return self.after is not None and (self.before is None or self.after.packets < self.before.packets)


def replay_all(folder: Path) -> Iterator[Replayed]:
    """Every incident in a folder, by name. Raises InputError when there is none, or one cannot be read."""
    found = sorted(path.parent for path in folder.glob(f"*/{EXPECTED}"))
    if not found:
        raise InputError(f"{folder}: no incident in it; `loomidi analyze CAPTURE --incidents {folder}` keeps them")
    return (replay_one(path) for path in found)


def replay_one(folder: Path) -> Replayed:
    """One incident. Raises InputError naming the file that cannot be used."""
    expected, parameters = read_expected(folder), read_parameters(folder)
    excerpt, benign = folder / EXCERPT, folder / BENIGN
    if not excerpt.is_file():
        raise InputError(f"{excerpt} is missing; an incident cannot be replayed without its packets")
    quiet = benign.is_file()
    return Replayed(
        folder.name,
        expected.pattern,
        caught(excerpt, expected),
        caught(excerpt, expected, parameters),
        tuple(sorted(alarms(benign, parameters))) if quiet else (),
        sum(1 for _ in frames(benign)) if quiet else 0,
    )


def caught(capture: Path, expected: Expected, parameters: Parameters | None = None) -> Caught | None:
    """When the attack is found first, or None."""
    times = [frame.at_ns for frame in frames(capture) if frame.at_ns >= expected.first_ns]
    for finding, at_ns in _found_fast(capture, parameters):
        if _fits(finding, expected) and at_ns >= expected.first_ns:
            return _caught(times, at_ns, expected, "fast")
    slow = [finding.last_ns for finding in _found_slow(capture) if _fits(finding, expected)]
    return _caught(times, min(slow), expected, "flows") if slow else None


def alarms(capture: Path, parameters: Parameters | None = None) -> Collection[str]:
    """The patterns above `info` that either lane finds in traffic that is meant to be normal."""
    found = [finding for finding, _ in _found_fast(capture, parameters)] + _found_slow(capture)
    return {finding.pattern for finding in found if finding.severity is not Severity.INFO}


def _caught(times: list[int], at_ns: int, expected: Expected, lane: str) -> Caught:
    packets = sum(at <= at_ns for at in times)
    return Caught(packets, round((at_ns - expected.first_ns) / 1e6, 3), lane)


def _fits(finding: Finding, expected: Expected) -> bool:
    return finding.pattern == expected.pattern and bool(set(finding.entities) & set(expected.entities))


def _found_fast(capture: Path, parameters: Parameters | None) -> Iterator[tuple[Finding, int]]:
    """Findings of the fast lane's detectors, each with the time of the packet that led to it."""
    detectors = SuspectDetectors()
    with TwinShield("replay", TwinSettings(watch=waking())) as shield:
        due_ns = 0
        for number, frame in enumerate(each for each in frames(capture) if each.link == ETHERNET):
            if not number:
                _attune(shield, detectors, frame, parameters)
            shield.process(frame.octets, frame.at_ns, frame.wire_octets)
            if frame.at_ns >= due_ns:
                due_ns = frame.at_ns + _DRAIN_NS
                list(shield.drain())
            if number % _TAKE == 0:
                yield from _judged(shield, detectors)
        yield from _judged(shield, detectors)


def _attune(shield: TwinShield, detectors: SuspectDetectors, first: Frame, parameters: Parameters | None) -> None:
    """The incident's thresholds, in the twin and in the detectors, as the lane would have them."""
    shield.move_to(first.at_ns)
    if parameters is None or not parameters.thresholds:
        return
    watched, watch = watched_by(parameters.target), waking()
    if watched is None:
        raise InputError(f"{parameters.target!r} names neither one address nor one service by its address")
    of_all = watch.service if watched.kind == "service" else watch.source
    try:
        limits = dataclasses.replace(of_all, **parameters.thresholds)
    except TypeError as error:
        raise InputError(f"{PARAMETERS}: {sorted(parameters.thresholds)}: a threshold that is none") from error
    shield.limit(watched, limits, _TTL_S)
    detectors.attune(shield.attuned())


def _judged(shield: TwinShield, detectors: SuspectDetectors) -> Iterator[tuple[Finding, int]]:
    for suspect in shield.suspects(0.0):
        finding = detectors.judge(suspect)
        if finding is not None:
            yield finding, suspect.at_ns


def _found_slow(capture: Path) -> list[Finding]:
    detectors = FlowDetectors()
    with meter([str(capture)]) as flows:
        found = [finding for batch in flows for finding in detectors.observe(batch)]
    return found + detectors.finish()


def read_expected(folder: Path) -> Expected:
    """`expected.yaml`. Raises InputError."""
    data = _document(folder / EXPECTED)
    try:
        return Expected(str(data["pattern"]), tuple(map(str, data["entities"])), int(data["first_ns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / EXPECTED}: {error!r}; it needs pattern, entities and first_ns") from error


def read_parameters(folder: Path) -> Parameters:
    """`parameters.yaml`; a folder without one has none. Raises InputError."""
    path = folder / PARAMETERS
    data = _document(path) if path.is_file() else {}
    try:
        thresholds = {str(name): int(count) for name, count in data.get("thresholds", {}).items()}
        return Parameters(str(data.get("target", "")), thresholds)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}; it needs target, and thresholds as whole numbers") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no fields; keep the incident anew")
    return data
