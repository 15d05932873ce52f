"""From alerts to incidents: alerts that share an end within a while are one, and it is told once.

Called by `judging`. In: the pairs of a tick that are told, by name, in order of time. Out: `Incident`s that are new,
got worse or are over. An end that usually most others talk to (a resolver, a gateway) would join everything, so it
joins nothing; whoever has many others only now (a scan, a flood) does. Memory is bounded; what does not fit is counted.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi.contracts.records import content_id

_PAIRS = 16  # told of one incident, those with the most alerts first


@dataclasses.dataclass(frozen=True, slots=True)
class IncidentSettings:
    """What belongs together."""

    quiet_s: float = 1800.0
    # An incident without an alert for so long is over: half an hour, as the instances of DARPA-98 are told apart.
    open: int = 256
    # Open at a time; those that were quiet longest are over when there are more.
    entities: int = 256
    # Named in one incident; further ones are counted.
    worse: float = 2.0
    # Times as many entities as when it was told, after which it is told again.


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """One pair of ends in one tick."""

    time_ns: int
    source: str
    destination: str
    edges: int  # that are told
    score: float  # the highest
    p_value: float  # the least
    contributions: tuple[tuple[str, float], ...] = ()  # feature and its share of the score, the greatest first
    quoted: tuple[tuple[str, float, float], ...] = ()  # the same features: value, usual value, as they were counted
    frozen: float = 1.0  # p-value by the detector that never learns
    learning: float = 1.0  # by the one that does
    burst: float = 1.0  # by all edges of its end at once


@dataclasses.dataclass(frozen=True, slots=True)
class Incident:
    """What is told. The id stays the same from new to over."""

    incident_id: str
    state: str  # new, worse, over
    first_ns: int
    last_ns: int
    entities: tuple[str, ...]  # with the most alerts first
    unnamed: int  # alerts' ends beyond the bound
    alerts: int
    edges: int
    score: float
    p_value: float
    contributions: tuple[tuple[str, float], ...]  # of the strangest alert
    quoted: tuple[tuple[str, float, float], ...] = ()  # of the strangest alert: feature, value, usual value
    pairs: tuple[tuple[str, str, int], ...] = ()  # source, destination, alerts; those with the most first, 16 at most
    frozen: float = 1.0  # p-value of the strangest alert by the detector that never learns
    learning: float = 1.0  # by the one that does
    burst: float = 1.0  # by all edges of its end at once


_NUMBERS = ("first_ns", "last_ns", "unnamed", "alerts", "edges", "told")


class _Open:
    """An incident that goes on."""

    def __init__(self, alert: Alert) -> None:
        self.first_ns, self.last_ns = alert.time_ns, alert.time_ns
        self.first = (alert.source, alert.destination)
        self.entities: dict[str, int] = {}
        self.pairs: dict[tuple[str, str], int] = {}
        self.unnamed = self.alerts = self.edges = self.told = 0
        self.top = alert

    def take(self, alert: Alert, most: int) -> None:
        """Count one alert in."""
        self.last_ns = max(self.last_ns, alert.time_ns)
        self.alerts, self.edges = self.alerts + 1, self.edges + alert.edges
        self.top = _stranger(self.top, alert)
        for end in (alert.source, alert.destination):
            self._name(end, 1, most)
        self._pair((alert.source, alert.destination), 1, most)

    def join(self, other: "_Open", most: int) -> None:
        """Two that an alert connects are one, as old as the older."""
        self.last_ns = max(self.last_ns, other.last_ns)
        self.alerts, self.edges = self.alerts + other.alerts, self.edges + other.edges
        self.unnamed += other.unnamed
        self.top = _stranger(self.top, other.top)
        for end, count in other.entities.items():
            self._name(end, count, most)
        for pair, count in other.pairs.items():
            self._pair(pair, count, most)

    def as_record(self, state: str) -> Incident:
        """As it is told."""
        return Incident(
            incident_id=content_id("incident", {"first_ns": self.first_ns, "ends": list(self.first)}),
            state=state,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            entities=tuple(sorted(self.entities, key=lambda end: (-self.entities[end], end))),
            unnamed=self.unnamed,
            alerts=self.alerts,
            edges=self.edges,
            score=self.top.score,
            p_value=self.top.p_value,
            contributions=self.top.contributions,
            quoted=self.top.quoted,
            pairs=tuple((*pair, count) for pair, count in self._most_pairs()),
            frozen=self.top.frozen,
            learning=self.top.learning,
            burst=self.top.burst,
        )

    def as_dict(self) -> dict[str, Any]:
        """For a snapshot; orders are kept."""
        plain = {name: getattr(self, name) for name in _NUMBERS}
        pairs = [[*pair, count] for pair, count in self.pairs.items()]
        named = {"first": self.first, "entities": list(self.entities.items()), "pairs": pairs}
        return plain | named | {"top": dataclasses.asdict(self.top)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "_Open":
        """What `as_dict` gave."""
        top = dict(plain["top"])
        top |= {name: tuple(tuple(one) for one in top[name]) for name in ("contributions", "quoted")}
        one = cls(Alert(**top))
        for name in _NUMBERS:
            setattr(one, name, plain[name])
        one.first = (plain["first"][0], plain["first"][1])
        one.entities = dict(plain["entities"])
        one.pairs = {(source, destination): count for source, destination, count in plain["pairs"]}
        return one

    def _most_pairs(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.pairs.items(), key=lambda item: (-item[1], item[0]))[:_PAIRS]

    def _pair(self, pair: tuple[str, str], count: int, most: int) -> None:
        if pair in self.pairs or len(self.pairs) < most:
            self.pairs[pair] = self.pairs.get(pair, 0) + count

    def _name(self, end: str, count: int, most: int) -> None:
        if end in self.entities or len(self.entities) < most:
            self.entities[end] = self.entities.get(end, 0) + count
        else:
            self.unnamed += count


def _stranger(one: Alert, other: Alert) -> Alert:
    return max(one, other, key=lambda alert: (-alert.p_value, alert.score))


class Incidents:
    """Open incidents, each with the ends that it holds."""

    def __init__(self, settings: IncidentSettings | None = None, hubs: frozenset[str] = frozenset()) -> None:
        """`hubs`: the ends that join nothing."""
        self.settings = settings or IncidentSettings()
        self.hubs = hubs
        self._open: list[_Open] = []  # the oldest first
        self._holder: dict[str, _Open] = {}  # of each end the incident that holds it
        self._merged: list[Incident] = []  # were told, and have become part of another one: they are over
        self.counts = {"alerts": 0, "incidents": 0, "joined": 0, "crowded_out": 0}

    def take(self, alerts: Sequence[Alert]) -> Iterator[Incident]:
        """What is new or worse by these; alerts in order of time."""
        touched = dict[_Open, None]()
        for alert in alerts:
            yield from self.settle(alert.time_ns)
            self.counts["alerts"] += 1
            one = self._of(alert)
            one.take(alert, self.settings.entities)
            self._holder |= dict.fromkeys(self._joining(alert), one)
            touched[one] = None
            yield from self._merged
            self._merged = []
        for one in touched:
            many = len(one.entities)
            if one in self._open and (not one.told or many >= self.settings.worse * one.told):
                self.counts["incidents"] += not one.told
                state = "worse" if one.told else "new"
                one.told = many
                yield one.as_record(state)
        excess = len(self._open) - self.settings.open
        if excess > 0:
            self.counts["crowded_out"] += excess
            yield from self._close(sorted(self._open, key=lambda one: one.last_ns)[:excess])

    def settle(self, now_ns: int) -> Iterator[Incident]:
        """What is over by now."""
        quiet_ns = int(self.settings.quiet_s * 1e9)
        yield from self._close([one for one in self._open if now_ns - one.last_ns > quiet_ns])

    def snapshot(self) -> bytes:
        """What is open, the hubs and the counts."""
        places = {id(one): at for at, one in enumerate(self._open)}
        holder = [[end, places[id(one)]] for end, one in self._holder.items()]
        state = {"open": [one.as_dict() for one in self._open], "holder": holder}
        return json.dumps(state | {"hubs": sorted(self.hubs), "counts": self.counts}).encode()

    def restore(self, state: bytes) -> None:
        """Go on from a `snapshot`. Raises InputError when it is none."""
        try:
            kept = json.loads(state)
            self._open = [_Open.of(one) for one in kept["open"]]
            self._holder = {end: self._open[at] for end, at in kept["holder"]}
            self.hubs, self.counts = frozenset(kept["hubs"]), dict(kept["counts"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError("a snapshot of incidents cannot be read; start anew without it") from error

    def _of(self, alert: Alert) -> _Open:
        """The incident that this alert belongs to: all that it connects, as one; a fresh one where there is none."""
        found = {self._holder[end] for end in self._joining(alert) if end in self._holder}
        if not found:
            self._open.append(_Open(alert))
            return self._open[-1]
        first, *others = (one for one in self._open if one in found)
        for one in others:
            self._join(first, one)
        return first

    def _join(self, first: _Open, other: _Open) -> None:
        self.counts["joined"] += 1
        self._open.remove(other)
        self._merged += [other.as_record("over")] if other.told else []
        first.join(other, self.settings.entities)
        first.told = max(first.told, other.told)
        self._holder |= {end: first for end, one in self._holder.items() if one is other}

    def _joining(self, alert: Alert) -> list[str]:
        """The ends by which an alert joins others: no hubs; where both are, the source."""
        ends = (alert.source, alert.destination)
        return [end for end in ends if end not in self.hubs] or [alert.source]

    def _close(self, over: list[_Open]) -> list[Incident]:
        if over:
            self._open = [one for one in self._open if one not in over]
            self._holder = {end: one for end, one in self._holder.items() if one not in over}
        return [one.as_record("over") for one in over if one.told]
