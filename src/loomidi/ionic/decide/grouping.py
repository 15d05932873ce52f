"""From findings to incidents: what is about one cause is one incident, and folds are proposed for it once.

Called by `services.folds.folding` with each finding as it is told. In: a finding, whether guards allow anything against
it. Out: `Grouped`: the incident, whether this finding speaks for it, and in a storm the one finding that stands for
all. Findings are of one incident when they come within a while and name the same entity to act on, or share any entity
and a technique (a pattern, where they name none); what connects two incidents makes them one. Pure; memory is bounded,
what does not fit is counted. Alerts of the model are grouped before they are findings (`origami.scoring.incidents`).
"""

import collections
import dataclasses
from collections.abc import Iterable

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id
from loomidi.ionic.decide.places import REMOTE_KINDS, place
from loomidi.ionic.decide.proposing import FEW_SOURCES, SOURCE_COUNTS

SOURCE = "ionic.grouping"
_LINKS = 64  # entities of one finding by which it may join others
_NAMED = 64  # sources named in the finding of a storm
_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
_Link = tuple[str, str]  # an entity, and the technique or pattern by which it joins; '' for the one to act on


@dataclasses.dataclass(frozen=True, slots=True)
class GroupSettings:
    """What belongs together, and how much is remembered."""

    quiet_s: float = 300.0
    # An incident without a finding for so long is over: as long as a source is dropped for.
    fresh_s: float = 60.0
    # A finding that speaks for an incident and was not seen for so long lets another one speak.
    open: int = 512
    # Incidents at a time; those that were quiet longest are over when there are more.
    actors: int = 1024
    # Entities to act on that one incident tells apart; further ones are counted.


@dataclasses.dataclass(frozen=True, slots=True)
class Grouped:
    """What a finding is to its incident."""

    incident: str  # id; the same from the first finding to the last
    findings: int  # different ones so far
    sources: int  # outsiders that are acted against, so far
    speaks: bool  # whether folds follow from it; else another finding speaks for the same
    storm: Finding | None = None  # more sources than are blamed one by one, against one service: this stands for all


class _Incident:
    """One that goes on."""

    def __init__(self, finding: Finding) -> None:
        self.id = content_id("incident", [finding.id, finding.first_ns])
        self.first_ns = self.last_ns = finding.first_ns
        self.ids: dict[str, None] = {}
        self.actors: dict[str, Finding] = {}  # entity to act on -> the finding that speaks for it
        self.shared: collections.Counter[str] = collections.Counter()  # services that are acted on, by sources
        self.links: set[_Link] = set()
        self.unable: set[str] = set()  # entities of which who speaks has no fold that guards allow


class Groups:
    """Incidents of one process."""

    def __init__(self, settings: GroupSettings | None = None) -> None:
        self.settings = settings or GroupSettings()
        self.counts: collections.Counter[str] = collections.Counter()
        self._open: collections.OrderedDict[str, _Incident] = collections.OrderedDict()  # quiet longest first
        self._holder: dict[_Link, _Incident] = {}

    def take(self, finding: Finding, *, able: bool = True) -> Grouped:
        """`able`: whether there is a fold that guards allow. Steps, in this order:

        1 what is over goes   2 the incident, all that it connects as one   3 who speaks   4 a storm
        """
        # 1 over
        self._settle(finding.last_ns)
        # 2 the incident
        one = self._of(finding)
        one.last_ns = max(one.last_ns, finding.last_ns)
        self.counts["findings"] += finding.id not in one.ids
        one.ids[finding.id] = None
        while len(one.ids) > self.settings.actors:
            one.ids.pop(next(iter(one.ids)))
        # 3 who speaks
        speaks = self._speaks(one, finding, able)
        self.counts["spoken_for"] += not speaks
        sources = [actor for actor in one.actors if place(actor).kind in REMOTE_KINDS]
        # 4 a storm
        storm = self._storm(one, finding, sources) if finding.entities and finding.entities[0] in sources else None
        return Grouped(one.id, len(one.ids), len(sources), speaks, storm)

    def _of(self, finding: Finding) -> _Incident:
        links = _links(finding)
        found = dict.fromkeys(self._holder[link].id for link in links if link in self._holder)
        if found:
            first, *others = sorted((self._open[id_] for id_ in found), key=lambda one: (one.first_ns, one.id))
            for other in others:
                self._join(first, other)
        else:
            first = _Incident(finding)
            self._open[first.id] = first
            self.counts["incidents"] += 1
        fresh_links = [link for link in links if link not in first.links]
        room = max(0, _LINKS * self.settings.actors - len(first.links))
        self.counts["links_left_out"] += max(0, len(fresh_links) - room)
        first.links.update(fresh_links[:room])
        self._holder |= dict.fromkeys(fresh_links[:room], first)
        self._open.move_to_end(first.id)
        while len(self._open) > self.settings.open:
            self.counts["crowded_out"] += 1
            self._close(next(iter(self._open.values())))
        return first

    def _join(self, first: _Incident, other: _Incident) -> None:
        self.counts["joined"] += 1
        del self._open[other.id]
        first.ids |= other.ids
        first.actors = other.actors | first.actors
        first.shared += other.shared
        first.links |= other.links
        first.unable |= other.unable
        first.last_ns = max(first.last_ns, other.last_ns)
        self._holder |= dict.fromkeys(other.links, first)

    def _speaks(self, one: _Incident, finding: Finding, able: bool) -> bool:
        """The worst, then the first, of those that anything follows from; while it is seen. The same about the same
        entity, found anew, goes on for the one before: its fold may be over by now."""
        actor = finding.entities[0] if finding.entities else ""
        before = one.actors.get(actor)
        if before is None and len(one.actors) >= self.settings.actors:
            self.counts["actors_unnamed"] += 1
            return False
        if before is None and place(actor).kind in REMOTE_KINDS:
            one.shared.update(_services(finding))
        stale = before is not None and finding.last_ns - before.last_ns > self.settings.fresh_s * 1e9
        worse = before is not None and _RANKS[finding.severity] > _RANKS[before.severity]
        same = before is not None and (before.id == finding.id or before.pattern == finding.pattern)
        if before is None or same or (able and (stale or worse or actor in one.unable)):
            one.actors[actor] = finding
            (one.unable.discard if able else one.unable.add)(actor)
            return True
        return False

    def _storm(self, one: _Incident, finding: Finding, sources: list[str]) -> Finding | None:
        """Against the service that most of them press on, where they are too many to blame one by one."""
        service, count = max(one.shared.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        if count <= FEW_SOURCES or service not in finding.entities:
            return None
        self.counts["storm_findings"] += 1
        mine = [one.actors[source] for source in sources if service in one.actors[source].entities]
        worst = max(mine, key=lambda each: (_RANKS[each.severity], -each.first_ns))
        told = Evidence("sources", count, FEW_SOURCES, "", "distinct sources against one service: one incident")
        rest = (each for each in worst.evidence if each.name not in SOURCE_COUNTS)
        techniques = dict.fromkeys(name for each in mine for name in each.techniques)
        return dataclasses.replace(
            worst,
            id=one.id,
            techniques=tuple(techniques),
            confidence=max(each.confidence for each in mine),
            entities=(service, *sources[:_NAMED]),
            first_ns=min(each.first_ns for each in mine),
            last_ns=max(each.last_ns for each in mine),
            evidence=(told, *rest),
            source=SOURCE,
            explanation="",
        )

    def _settle(self, now_ns: int) -> None:
        quiet_ns = round(self.settings.quiet_s * 1e9)
        for one in [one for one in self._open.values() if now_ns - one.last_ns > quiet_ns]:
            self._close(one)

    def _close(self, one: _Incident) -> None:
        del self._open[one.id]
        for link in one.links:
            if self._holder.get(link) is one:
                del self._holder[link]


def _links(finding: Finding) -> list[_Link]:
    """By what it joins: the entity to act on whatever is done, all of them by what is done."""
    kinds: Iterable[str] = finding.techniques or (finding.pattern,)
    entities = finding.entities[:_LINKS]
    acting = [(entities[0], "")] if entities else [(finding.id, "")]
    return acting + [(entity, kind) for entity in entities for kind in kinds]


def _services(finding: Finding) -> list[str]:
    """What an outsider acts on."""
    found = ((entity, place(entity)) for entity in finding.entities[1:_LINKS])
    return [entity for entity, there in found if there.kind in ("service", "workload") or there.port]
