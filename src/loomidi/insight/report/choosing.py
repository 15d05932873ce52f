"""Chooses, from a graph of any size, the few entities, links and talkers that a report shows.

Called by `services.analyzing` once, after the last batch. In: the edges of the graph, busiest first, and the findings.
Out: a `Survey`, every part with a limit. What findings name comes first, then the busiest; ties are broken by name, so
that the same capture always gives the same report. One pass sums, a second describes what was chosen: a graph at its
bound has 100,000 edges.
"""

import dataclasses
import heapq
from collections.abc import Sequence

from loomidi.contracts.records import Edge, Entity, Finding
from loomidi.insight.report.records import Link, Talker

LINKS, TALKERS, ENTITIES = 240, 50, 200
SERVICES = 4  # named for each link

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What a report shows of the graph."""

    entities: tuple[Entity, ...]
    entity_count: int
    links: tuple[Link, ...]
    hosts_not_shown: tuple[int, int, int]  # without a link above: only initiators, both, only responders
    talkers: tuple[Talker, ...]


def survey(edges: Sequence[Edge], findings: Sequence[Finding]) -> Survey:
    """Sum the edges by pair of hosts, then choose."""
    edges = [edge for edge in edges if edge.kind == "flows"]
    hosts: dict[str, str] = {}  # entity -> its host; an entity is met at many edges
    sums: dict[Pair, list[int]] = {}  # flows, packets, octets, services
    for edge in edges:
        source = hosts.get(edge.source) or hosts.setdefault(edge.source, host(edge.source))
        target = hosts.get(edge.target) or hosts.setdefault(edge.target, host(edge.target))
        row = sums.get((source, target))
        if row is None:
            sums[source, target] = [edge.flows, edge.packets, edge.octets, 1]
        else:
            row[0] += edge.flows
            row[1] += edge.packets
            row[2] += edge.octets
            row[3] += 1
    pairs = _pairs(sums, {host(entity) for finding in findings for entity in finding.entities})
    wanted = dict.fromkeys(entity for finding in findings for entity in finding.entities)
    wanted.update(dict.fromkeys(end for pair in pairs for end in pair))
    return Survey(
        entities=_entities(edges, hosts, list(wanted)[:ENTITIES]),
        entity_count=len(hosts),
        links=_links(edges, hosts, sums, pairs),
        hosts_not_shown=_not_shown(sums, pairs),
        talkers=_talkers(sums),
    )


def host(entity: str) -> str:
    """The host that an entity sits on: `service/10.0.0.2:80/tcp` -> `host/10.0.0.2`; others are their own."""
    if not entity.startswith("service/") or ":" not in entity:
        return entity
    return f"host/{entity[8:].rpartition(':')[0].strip('[]')}"


def _pairs(sums: dict[Pair, list[int]], named: set[str]) -> list[Pair]:
    """Those at which findings stand, then the busiest; half of the room for each while both need it."""
    groups: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in sums:
        groups[not (pair[0] in named or pair[1] in named)].append(pair)
    room = max(LINKS // 2, LINKS - len(groups[1]))
    first = heapq.nsmallest(room, groups[0], key=lambda pair: (-sums[pair][2], pair))
    return first + heapq.nsmallest(LINKS - len(first), groups[1], key=lambda pair: (-sums[pair][2], pair))


def _links(
    edges: Sequence[Edge], hosts: dict[str, str], sums: dict[Pair, list[int]], pairs: Sequence[Pair]
) -> tuple[Link, ...]:
    """The chosen pairs with the names of their busiest services."""
    services: dict[Pair, list[str]] = {pair: [] for pair in pairs}
    for edge in edges:
        target = hosts[edge.target]
        if target != edge.target and len(named := services.get((hosts[edge.source], target), _FULL)) < SERVICES:
            named.append(edge.target.rpartition(":")[2])
    return tuple(_link(pair, sums[pair], services[pair]) for pair in pairs)


def _link(pair: Pair, row: Sequence[int], services: Sequence[str]) -> Link:
    flows, packets, octets, count = row
    return Link(*pair, flows, packets, octets, count, tuple(services))


_FULL = [""] * SERVICES  # stands for a pair that is not shown


def _not_shown(sums: dict[Pair, list[int]], pairs: Sequence[Pair]) -> tuple[int, int, int]:
    starts, answers = {source for source, _ in sums}, {target for _, target in sums}
    shown = {end for pair in pairs for end in pair}
    return len(starts - answers - shown), len((starts & answers) - shown), len(answers - starts - shown)


def _talkers(sums: dict[Pair, list[int]]) -> tuple[Talker, ...]:
    """The hosts with the most octets, both roles and directions together."""
    totals: dict[str, list[int]] = {}  # flows, packets, octets, opened, pairs
    for (source, target), (flows, packets, octets, _) in sums.items():
        for end, opened in ((source, flows), (target, 0)) if source != target else ((source, flows),):
            row = totals.setdefault(end, [0, 0, 0, 0])
            row[0] += flows
            row[1] += packets
            row[2] += octets
            row[3] += opened
    top = heapq.nsmallest(TALKERS, totals, key=lambda name: (-totals[name][2], name))
    peers: dict[str, set[str]] = {name: set() for name in top}
    for source, target in sums:
        for mine, other in ((source, target), (target, source)):
            if mine in peers:
                peers[mine].add(other)
    return tuple(_talker(name, totals[name], len(peers[name])) for name in top)


def _talker(name: str, row: Sequence[int], peers: int) -> Talker:
    flows, packets, octets, opened = row
    return Talker(name, flows, packets, octets, opened, peers)


def _entities(edges: Sequence[Edge], hosts: dict[str, str], wanted: Sequence[str]) -> tuple[Entity, ...]:
    """The wanted ones with what they sent and received; one that the graph does not hold has no attributes."""
    totals: dict[str, list[int]] = {entity: [0, 0, 0] for entity in wanted}
    for edge in edges:
        for end in {edge.source, edge.target, hosts[edge.target]}:
            if end in totals:
                row = totals[end]
                row[0] += edge.flows
                row[1] += edge.packets
                row[2] += edge.octets
    return tuple(_entity(entity, row) for entity, row in totals.items())


def _entity(entity: str, row: Sequence[int]) -> Entity:
    kind, _, name = entity.partition("/")
    named = tuple(zip(("flows", "packets", "octets"), row, strict=True)) if any(row) else ()
    return Entity(entity, kind, name, named)
