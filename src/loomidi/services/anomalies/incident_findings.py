"""An incident of the model as a finding in the terms of all findings: what is strange, against which budget, and why.

Called by `part`. In: an incident, what rules say of the same pairs, its likely causes. Out: `Finding`. Pure. Rules
decide, the model ranks: what a rule has found too is told as information, with the rule's ATT&CK techniques; without a
rule no technique is named, for strangeness alone is none.
"""

import dataclasses
from collections.abc import Sequence

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id
from loomidi.origami.causes import Cause
from loomidi.origami.scoring import Incident
from loomidi.services.sightings import NEW, OVER, WORSE

ANOMALY = "anomaly"  # the pattern
SOURCE = "origami.scoring"  # then a colon and who scored
STATES = {"new": NEW, "worse": WORSE, "over": OVER}
CAUSES = 3  # told
_AGREED, _ALONE = 0.9, 0.6  # confidence where both detectors find it, where one alone does
_KINDS = frozenset({"deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob"})
_UNITS = {"octets_per_flow": "octets", "reverse_octets_per_flow": "octets", "port_entropy": "bit"}


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """A finding of a rule about the same pair at the same time."""

    finding_id: str
    pattern: str
    techniques: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """By whom and within what an incident is told."""

    scorer: str  # floor, champion-...
    risk: float  # p-values up to it are told
    gate: float  # p-value below which a detector holds an edge to be strange
    per_day: float  # false incidents that are put up with


def finding_of(incident: Incident, told: Told, also: Sequence[Seen] = (), causes: Sequence[Cause] = ()) -> Finding:
    """The same id from new to over."""
    alone = (incident.frozen < told.gate) != (incident.learning < told.gate)
    ends = [*dict.fromkeys(end for pair in incident.pairs for end in pair[:2]), *incident.entities]
    ordered = sorted(dict.fromkeys(ends), key=lambda end: _rank(end, incident, causes))
    return Finding(
        id=content_id("finding", [ANOMALY, incident.incident_id]),
        pattern=ANOMALY,
        techniques=tuple(dict.fromkeys(name for one in also for name in one.techniques)),
        severity=Severity.INFO if also else Severity.MEDIUM,
        confidence=_ALONE if alone else _AGREED,
        entities=tuple(map(entity_of, ordered)),
        first_ns=incident.first_ns,
        last_ns=incident.last_ns,
        evidence=(*_evidence(incident, told, alone), *_also(also), *causes_told(causes)),
        source=f"{SOURCE}:{told.scorer}",
    )


def entity_of(end: str) -> str:
    """An end of windows as an entity id: `workload/shop/cart`, `network/10.0.0.0/24`, others as they are."""
    kind, _, rest = end.partition("/")
    if kind in _KINDS:
        return f"workload/{rest}"
    return f"network/{end}" if kind[:1].isdigit() or ":" in kind else end


def causes_told(causes: Sequence[Cause]) -> tuple[Evidence, ...]:
    """The likeliest causes as evidence; `insight.explain` makes sentences of it."""
    told = []
    for place, cause in enumerate(causes[:CAUSES], start=1):
        signs = "; ".join(sign.told() for sign in cause.signs[:3])
        why = f"{cause.share:.0%} of the blame, by {cause.kind}" + (f": {signs}" if signs else "")
        told.append(Evidence(f"root_cause_{place}", entity_of(cause.entity), None, "", why))
    return tuple(told)


def _rank(end: str, incident: Incident, causes: Sequence[Cause]) -> tuple[int, int]:
    """Whom to act on first: the likeliest cause, then who began most of the strange pairs, then who met most."""
    if causes and end == causes[0].entity:
        return 0, 0
    began = sum(count for source, _, count in incident.pairs if source == end)
    met = sum(count for _, destination, count in incident.pairs if destination == end)
    return 1 if began else 2, -(began or met)


def _evidence(incident: Incident, told: Told, alone: bool) -> tuple[Evidence, ...]:
    shares = dict(incident.contributions)
    pairs = "; ".join(f"{source} to {destination} ({count})" for source, destination, count in incident.pairs[:5])
    more = f"; {len(incident.pairs) - 5} more" if len(incident.pairs) > 5 else ""
    apart = "one of both detectors alone finds it" if alone else "both detectors find it"
    return (
        Evidence(
            "p_value", _short(incident.p_value), _short(told.risk), "", "share of usual edges that are as strange"
        ),
        Evidence("budget", told.per_day, None, "a day", "false incidents that are put up with"),
        Evidence("strange_edges", incident.edges, None, "", f"with alerts: {pairs}{more}"),
        Evidence("frozen_p_value", _short(incident.frozen), None, "", f"by the detector that never learns; {apart}"),
        Evidence(
            "learning_p_value", _short(incident.learning), None, "", "by the one that learns what passes the first"
        ),
        Evidence("burst_p_value", _short(incident.burst), None, "", "by all strange edges of one end at once"),
        *(
            Evidence(name, _short(now), _short(usual), _unit(name), f"{shares.get(name, 0.0):.0%} of how strange it is")
            for name, now, usual in incident.quoted
        ),
    )


def _also(also: Sequence[Seen]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence("also_seen_by", one.pattern, None, "", f"the rule's own finding is {one.finding_id}") for one in also
    )


def _unit(feature: str) -> str:
    return "s" if feature.endswith("_s") else _UNITS.get(feature, "")


def _short(value: float) -> float:
    """Three digits: more would not be true."""
    return float(f"{value:.3g}")
