"""One finding for one actor and pattern, however many windows it lasts.

Called by the flow detectors. In: `Hit`, what one window showed. Out: `Finding`, once, when it has been quiet for a
while or at the end. The evidence told is that of the strongest window, the time and the totals are those of all.
"""

import dataclasses
from collections.abc import Iterable

from loomidi.contracts import Evidence, Finding, Severity, content_id
from loomidi.origami.online.rules import Rule

_MOST_ENTITIES = 12
_MOST_EPISODES = 10_000  # open at once; beyond it the weakest is told early
_STEPS = (Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """What a detector saw in one window."""

    pattern: str
    actor: str  # entity id that the finding is about; with the pattern it names the episode
    entities: tuple[str, ...]  # the one to act on first
    first_ns: int
    last_ns: int
    evidence: tuple[Evidence, ...]
    excess: float  # value by threshold, at least 1
    base: float = 0.8  # confidence at the threshold
    severity: Severity | None = None  # when it is not the rule's
    packets: int = 0  # of this window alone; windows that overlap give 0
    octets: int = 0
    techniques: tuple[str, ...] = ()  # when they are not the rule's
    quiet_ns: int = 0  # silence that ends the episode, when it must be longer than the setting: the detector's window


@dataclasses.dataclass(slots=True)
class _Episode:
    peak: Hit
    first_ns: int
    last_ns: int
    packets: int
    octets: int
    entities: dict[str, None]


@dataclasses.dataclass(slots=True)
class _Told:
    """A finding that was told while it went on."""

    id: str
    first_ns: int
    last_ns: int

    def is_near(self, episode: _Episode, quiet_ns: int) -> bool:
        return episode.first_ns - quiet_ns <= self.last_ns and self.first_ns <= episode.last_ns + quiet_ns


class Episodes:
    """Open episodes by (pattern, actor)."""

    def __init__(self, quiet_ns: int) -> None:
        self._quiet_ns = quiet_ns
        self._open: dict[tuple[str, str], list[_Episode]] = {}
        self._told: dict[tuple[str, str], list[_Told]] = {}  # by `so_far`

    def add(self, hit: Hit) -> None:
        """Extend the episode that the hit belongs to, or start one."""
        episodes = self._open.setdefault((hit.pattern, hit.actor), [])
        entities = dict.fromkeys(hit.entities)
        quiet = max(self._quiet_ns, hit.quiet_ns)
        merged = _Episode(hit, hit.first_ns, hit.last_ns, hit.packets, hit.octets, entities)
        apart = []
        for episode in episodes:
            near = hit.first_ns - quiet <= episode.last_ns and episode.first_ns <= hit.last_ns + quiet
            if near:
                _absorb(merged, episode)
            else:
                apart.append(episode)
        self._open[hit.pattern, hit.actor] = [*apart, merged]

    def ended(self, now_ns: int, lateness_ns: int, rules: dict[str, Rule]) -> list[Finding]:
        """Take out the findings that nothing can extend any more: time has moved away from them."""
        crowded = sum(map(len, self._open.values())) > _MOST_EPISODES
        findings = []
        for key, episodes in list(self._open.items()):
            gone = [e for e in episodes if crowded or self._is_over(e, now_ns, lateness_ns)]
            findings += [self._finding(episode, rules, last=True) for episode in gone]
            left = [episode for episode in episodes if episode not in gone]
            if left:
                self._open[key] = left
            else:
                del self._open[key]
        return _in_order(findings)

    def _is_over(self, episode: _Episode, now_ns: int, lateness_ns: int) -> bool:
        away = max(self._quiet_ns, episode.peak.quiet_ns) + lateness_ns
        return now_ns - episode.last_ns > away or episode.first_ns - now_ns > away

    def rest(self, rules: dict[str, Rule]) -> list[Finding]:
        """Take out all findings, in order of time."""
        episodes = [episode for kept in self._open.values() for episode in kept]
        self._open.clear()
        return _in_order([self._finding(episode, rules, last=True) for episode in episodes])

    def so_far(self, hits: Iterable[Hit], rules: dict[str, Rule]) -> list[Finding]:
        """All findings as they stand, with the hits of windows that are not over yet; nothing is taken out.

        A finding keeps its id from the first time on that it is told here, though its beginning may still move.
        """
        whole = Episodes(self._quiet_ns)
        whole._open = dict(self._open)
        for hit in hits:
            whole.add(hit)
        episodes = [episode for kept in whole._open.values() for episode in kept]
        return _in_order([self._finding(episode, rules, last=False) for episode in episodes])

    def _finding(self, episode: _Episode, rules: dict[str, Rule], *, last: bool) -> Finding:
        """With the id that it was told by; `last`: it will not be told again."""
        finding, key = _finding(episode, rules), (episode.peak.pattern, episode.peak.actor)
        quiet = max(self._quiet_ns, episode.peak.quiet_ns)
        told = self._told.get(key, [])
        mine = next((one for one in told if one.is_near(episode, quiet)), None)
        if mine is None:
            if not last:
                self._told.setdefault(key, []).append(_Told(finding.id, episode.first_ns, episode.last_ns))
            return finding
        mine.first_ns, mine.last_ns = min(mine.first_ns, episode.first_ns), max(mine.last_ns, episode.last_ns)
        if last:
            told.remove(mine)
            if not told:
                del self._told[key]
        return dataclasses.replace(finding, id=mine.id)


def _absorb(into: _Episode, other: _Episode) -> None:
    strongest = max((into.peak, other.peak), key=lambda hit: (hit.excess, -hit.first_ns))
    into.peak = strongest
    into.first_ns, into.last_ns = min(into.first_ns, other.first_ns), max(into.last_ns, other.last_ns)
    into.packets += other.packets
    into.octets += other.octets
    names = [*strongest.entities, *sorted({*into.entities, *other.entities} - set(strongest.entities))]
    into.entities = dict.fromkeys(names[:_MOST_ENTITIES])


def _finding(episode: _Episode, rules: dict[str, Rule]) -> Finding:
    hit = episode.peak
    rule = rules[hit.pattern]
    totals = []
    if episode.packets:
        totals.append(Evidence("packets", episode.packets, None, "packets", "in all"))
    if episode.octets:
        totals.append(Evidence("octets", episode.octets, None, "octets", "in all"))
    seconds = round((episode.last_ns - episode.first_ns) / 1e9, 3)
    totals.append(Evidence("duration", seconds, None, "s", "from the first packet to the last"))
    return Finding(
        id=content_id("finding", (hit.pattern, hit.actor, episode.first_ns)),
        pattern=hit.pattern,
        techniques=hit.techniques or rule.techniques,
        severity=hit.severity or _severity(rule.severity, hit.excess),
        confidence=_confidence(hit),
        entities=tuple(episode.entities),
        first_ns=episode.first_ns,
        last_ns=episode.last_ns,
        evidence=(*hit.evidence, *totals),
        source="origami.online.flows",
        explanation="",
    )


def _confidence(hit: Hit) -> float:
    """`base` at the threshold; half of the doubt is gone at three times it."""
    doubt = (1 - hit.base) / (1 + max(hit.excess - 1, 0) / 2)
    return round(min(0.99, 1 - doubt), 3)


def _severity(usual: Severity, excess: float) -> Severity:
    """One step below the rule's near the threshold, one above far beyond it."""
    step = _STEPS.index(usual)
    if excess >= 50 and usual is Severity.HIGH:
        step += 1
    elif excess < 1.5 and step > 1:
        step -= 1
    return _STEPS[step]


def _in_order(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.first_ns, finding.pattern, finding.entities))
