"""Chooses, from a graph of any size, the few entities, links and talkers that a report shows.

Called by `services.pipeline` once, after the last batch. In: edges and entities of the graph, the findings. Out: tuples
with a limit each. What findings name comes first, then the busiest; ties are broken by name, so that the same capture
always gives the same report.
"""

import heapq
from collections.abc import Iterable, Sequence

from loomidi.contracts.records import Edge, Entity, Finding
from loomidi.insight.report.records import Link, Talker

LINKS, TALKERS, ENTITIES = 240, 50, 200
SERVICES = 4  # named for each link; edges come busiest first


def links(edges: Iterable[Edge], findings: Sequence[Finding], at_most: int = LINKS) -> tuple[Link, ...]:
    """Pairs of hosts: those at which findings stand, then the busiest; half of the room for each while both need it."""
    named = {host(entity) for finding in findings for entity in finding.entities}
    sums: dict[tuple[str, str], list[int]] = {}  # flows, packets, octets, services
    services: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        pair = (host(edge.source), host(edge.target))
        if edge.kind != "flows":
            continue
        row = sums.setdefault(pair, [0, 0, 0, 0])
        for at, number in enumerate((edge.flows, edge.packets, edge.octets, 1)):
            row[at] += number
        seen = services.setdefault(pair, [])
        if len(seen) < SERVICES and edge.target != pair[1]:
            seen.append(edge.target.rpartition(":")[2])
    groups: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for pair in sorted(sums, key=lambda pair: (-sums[pair][2], pair)):
        groups[not (pair[0] in named or pair[1] in named)].append(pair)
    room = max(at_most // 2, at_most - len(groups[1]))
    chosen = groups[0][:room] + groups[1][: at_most - min(room, len(groups[0]))]
    return tuple(_link(pair, sums[pair], services[pair]) for pair in chosen)


def _link(pair: tuple[str, str], row: Sequence[int], services: Sequence[str]) -> Link:
    flows, packets, octets, count = row
    return Link(*pair, flows, packets, octets, count, tuple(services))


def talkers(edges: Iterable[Edge], at_most: int = TALKERS) -> tuple[Talker, ...]:
    """The hosts with the most octets, both roles and directions together."""
    sums: dict[str, list[int]] = {}  # flows, packets, octets, opened
    peers: dict[str, set[str]] = {}
    for edge in edges:
        if edge.kind != "flows":
            continue
        ends = (host(edge.source), host(edge.target))
        for mine, other in (ends, ends[::-1]):
            row = sums.setdefault(mine, [0, 0, 0, 0])
            row[0] += edge.flows
            row[1] += edge.packets
            row[2] += edge.octets
            peers.setdefault(mine, set()).add(other)
        sums[ends[0]][3] += edge.flows
    top = heapq.nsmallest(at_most, sums.items(), key=lambda item: (-item[1][2], item[0]))
    return tuple(Talker(entity, row[0], row[1], row[2], row[3], len(peers[entity])) for entity, row in top)


def entities(
    held: Iterable[Entity], findings: Sequence[Finding], shown: Sequence[Link], at_most: int = ENTITIES
) -> tuple[Entity, ...]:
    """Those that findings name, then those at the links that are shown."""
    wanted = dict.fromkeys(entity for finding in findings for entity in finding.entities)
    wanted.update(dict.fromkeys(end for link in shown for end in (link.source, link.target)))
    known = {entity.id: entity for entity in held if entity.id in wanted}
    made = (known.get(entity) or Entity(entity, *_kind_and_name(entity)) for entity in wanted)
    return tuple(entity for entity, _ in zip(made, range(at_most), strict=False))


def host(entity: str) -> str:
    """The host that an entity sits on: `service/10.0.0.2:80/tcp` -> `host/10.0.0.2`; others are their own."""
    kind, _, rest = entity.partition("/")
    if kind != "service" or ":" not in rest:
        return entity
    return f"host/{rest.rpartition(':')[0].strip('[]')}"


def _kind_and_name(entity: str) -> tuple[str, str]:
    kind, _, rest = entity.partition("/")
    return kind, rest
