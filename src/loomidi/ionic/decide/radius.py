"""Blast radius: what a fold would cut, counted on the live graph before anything is decided.

Called by `deciding`. In: a match, a finding, the graph (anything with `touching(match)`, such as
`garden.graph.EntityGraph`) and the protected set as CIDRs. Out: `BlastRadius`. Without a graph the answer is the worst
case: the whole of the traffic, and as many peers as the match has addresses. Judging the numbers is left to the guards.
"""

import ipaddress
from collections.abc import Container, Iterable, Sequence
from typing import Protocol

from loomidi.contracts import BlastRadius, Conversation, Finding, FoldKind, FoldSpec, Match
from loomidi.ionic.decide.places import Place, Where, place

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_NAMED = 64  # bystanders listed by id; `peers` counts all of them
MOST_LISTED = 128  # conversations listed of an isolation; `unlisted` counts the rest
CUTS_NOTHING = frozenset({FoldKind.SCALE_OUT, FoldKind.CORDON, FoldKind.RESIZE})  # what runs goes on as it is
ONE_OBJECT = frozenset({FoldKind.RESTART, FoldKind.ROLLBACK, FoldKind.EVICT, FoldKind.TERMINATE})


class Touched(Protocol):
    """What the graph says about a match, over its window."""

    @property
    def peers(self) -> tuple[str, ...]: ...
    @property
    def peer_count(self) -> int: ...
    @property
    def flows(self) -> int: ...
    @property
    def packets(self) -> int: ...
    @property
    def octets(self) -> int: ...
    @property
    def total_octets(self) -> int: ...
    @property
    def entities(self) -> tuple[str, ...]: ...
    @property
    def conversations(self) -> tuple[Conversation, ...]: ...
    @property
    def unlisted(self) -> int: ...


class Graph(Protocol):
    """The one question that deciding asks of the live graph."""

    def touching(self, match: Match) -> Touched:
        """Who and how much the match meets in the window."""


def measure(
    fold: FoldSpec, finding: Finding, graph: Graph | None, protected: Sequence[Network], where: Where = place
) -> BlastRadius:
    """What the fold would cut. More replicas, other resources, a closed node or an endpoint that others stand in for
    cut nothing; else the graph is asked.

    A fold that ends pods and names no address in its match counts for all traffic that is seen: rather too much.
    `where`: the places of entities that are named otherwise than by their address.
    """
    if fold.kind in CUTS_NOTHING or fold.action in ("eject", "tune"):
        hits = () if fold.kind is FoldKind.SCALE_OUT else _protected_hits(fold, where(fold.target), (), protected)
        return BlastRadius(0, 0, 0, 0, 0.0, protected=hits)
    if graph is None:
        hits = _protected_hits(fold, where(fold.target), (), protected)
        return BlastRadius(_addresses(fold.match), 0, 0, 0, 1.0, protected=hits)
    touched = graph.touching(fold.match)
    named = {*finding.entities, fold.target}
    places = {entity: where(entity) for entity in named}
    hosts = {place.address for place in places.values() if place.kind != "service"}  # with all they serve
    services = {(place.address, place.port, place.protocol) for place in places.values() if place.kind == "service"}
    bystanders = [entity for entity in touched.entities if not _is_named(entity, hosts, services)]
    isolates = fold.kind is FoldKind.ISOLATE_POD
    listed = touched.conversations[:MOST_LISTED] if isolates else ()
    return BlastRadius(
        peers=touched.peer_count,
        flows=touched.flows,
        packets=touched.packets,
        octets=touched.octets,
        share_of_octets=touched.octets / touched.total_octets if touched.total_octets else 0.0,
        bystanders=tuple(bystanders[:MOST_NAMED]),
        protected=_protected_hits(fold, where(fold.target), touched.peers, protected),
        conversations=listed,
        unlisted=touched.unlisted + len(touched.conversations) - len(listed) if isolates else 0,
    )


def networks(prefixes: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and CIDRs as networks. Raises ValueError naming the first that is neither."""
    return tuple(map(_network, prefixes))


def _is_named(entity: str, hosts: Container[str], services: Container[tuple[str, int, int]]) -> bool:
    """Whether the finding or the fold is about this entity of the graph."""
    found = place(entity)
    return found.address in hosts or (found.address, found.port, found.protocol) in services


def _protected_hits(
    fold: FoldSpec, target: Place, peers: Iterable[str], protected: Sequence[Network]
) -> tuple[str, ...]:
    """What of the protected set the fold meets: its target, its source, or (when no source is named) its peers.

    Whoever talks to a pod that ends may talk to the next one: peers of one object are not touched.
    """
    touched = {target.address, fold.match.source}
    if not fold.match.source and fold.kind not in ONE_OBJECT:
        touched |= {place(peer).address or peer for peer in peers}
    hits = {text for text in touched if text and overlaps(text, protected)}
    return tuple(sorted(f"{'network' if '/' in hit else 'host'}/{hit}" for hit in hits))


def overlaps(text: str, protected: Sequence[Network]) -> bool:
    """Whether an address or CIDR shares an address with the protected set. What cannot be read counts as protected."""
    try:
        network = _network(text)
    except ValueError:
        return True
    return any(network.version == other.version and network.overlaps(other) for other in protected)


def _network(text: str) -> Network:
    """An address or CIDR; IPv4 also when it is written as v4-mapped IPv6. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def _addresses(match: Match) -> int:
    """How many remote addresses a match can meet; without a source, all of IPv4."""
    try:
        return int(ipaddress.ip_network(match.source or "0.0.0.0/0", strict=False).num_addresses)
    except ValueError:
        return 2**32
