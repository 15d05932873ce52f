"""The entity graph of a window: hosts, services, and who flows to what.

Called by `services` with every flow batch; asked by `ionic.decide` for the blast radius. In: Arrow (`FLOWS`). Out:
entities, edges and `Touched`. Bounded: beyond `edges` the quietest edges lose their ports, beyond `hosts` the quietest
addresses are folded into /24 or /64 networks (coarser ones when that is not enough); both are counted. Kubernetes names
are left to a later house.
"""

import dataclasses
import ipaddress

import numpy as np
import pyarrow as pa

from loomidi.contracts import Conversation, Edge, Entity, Match
from loomidi.garden.graph.columns import (
    LEVELS,
    Column,
    Shape,
    Table,
    Text,
    grouped,
    hashes,
    joined,
    networks,
    numbers,
    stacked,
    taken,
    texts,
)
from loomidi.garden.graph.names import host_id, service_id

_SHAPE = Shape(
    keys=("source", "target", "source_port", "port", "protocol"),
    sums=("flows", "packets", "octets"),
    lows=("first",),
    highs=("last",),
)
_REGISTERED = 1024  # ports below name a service whoever speaks first
_PEERS = 256  # peers named in an answer; their number is exact
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True, slots=True)
class GraphSettings:
    """What bounds the graph."""

    hosts: int = 50_000  # addresses kept apart
    edges: int = 100_000  # about 15 MB
    pending: int = 16_384  # rows that wait at least before they are merged; later as many as are merged already


@dataclasses.dataclass(frozen=True, slots=True)
class Touched:
    """What a match meets in the window."""

    peers: tuple[str, ...]  # remote addresses (or networks), the busiest first, at most 256
    peer_count: int
    flows: int
    packets: int
    octets: int
    total_octets: int  # of the whole window
    entities: tuple[str, ...]  # ids of the hosts and services met, at most 512
    conversations: tuple[Conversation, ...] = ()  # met, the busiest first, of at most 256 edges
    unlisted: int = 0  # edges beyond those


class EntityGraph:
    """Absorbs flows; answers who is there and whom a match would meet."""

    def __init__(self, settings: GraphSettings | None = None) -> None:
        self._settings = settings or GraphSettings()
        self._parts: list[Table] = []
        self._rows = self._merged = 0
        self._level = 0  # of LEVELS, for what is folded
        self.collapsed_hosts = 0  # addresses folded into networks so far
        self.collapsed_edges = 0  # edges that lost their port so far

    def absorb(self, batch: pa.RecordBatch) -> None:
        """Take in one batch of flows."""
        if not batch.num_rows:
            return
        part = grouped(_edges_of(batch), _SHAPE)
        self._parts.append(part)
        self._rows += len(part["key"])
        if self._rows > self._merged + max(self._settings.pending, self._merged):
            self._merge()

    def entities(self) -> list[Entity]:
        """Hosts, networks and services with what they sent and received."""
        table = self._merge()
        totals: dict[str, list[int]] = {}
        for edge in _records(table):
            for entity in {edge.source, edge.target}:
                seen = totals.setdefault(entity, [0, 0, 0])
                seen[0] += edge.flows
                seen[1] += edge.packets
                seen[2] += edge.octets
        return [_entity(entity, seen) for entity, seen in totals.items()]

    def edges(self) -> list[Edge]:
        """Host -> service edges, the busiest first."""
        return sorted(_records(self._merge()), key=lambda edge: (-edge.octets, edge.source, edge.target))

    def find(self, entity_id: str) -> Entity | None:
        """The entity with this id, or None when it was not seen (or is folded into its network)."""
        return next((entity for entity in self.entities() if entity.id == entity_id), None)

    def touching(self, match: Match) -> Touched:
        """Whom and what the match would meet, either direction of each conversation.

        An edge without a remembered source port counts as met: a blast radius may be too large, never too small.
        """
        table = self._merge()
        total = int(table["octets"].sum()) if table else 0
        if not table:
            return Touched((), 0, 0, 0, 0, total, ())
        forward = self._meets(table, match, ("source", "source_port", "target", "port"))
        backward = self._meets(table, match, ("target", "port", "source", "source_port"))
        met = taken(table, forward | backward)
        remote = np.where(forward, table["source"], table["target"])[forward | backward]
        peers = _ranked(remote, met["octets"])
        names = {host_id(name): None for name in peers[:_PEERS]}
        busiest = taken(met, np.argsort(-met["octets"], kind="stable")[:_PEERS])
        for edge in _records(busiest):
            names.update({edge.source: None, edge.target: None})
        flows, packets, octets = (int(met[name].sum()) for name in ("flows", "packets", "octets"))
        told = tuple(names)[: 2 * _PEERS], _conversations(busiest), len(met["key"]) - len(busiest["key"])
        return Touched(tuple(peers[:_PEERS]), len(peers), flows, packets, octets, total, *told)

    def _meets(self, table: Table, match: Match, columns: tuple[str, str, str, str]) -> Column:
        """Rows whose traffic in one direction the match covers; a port of 0 in the row is unknown."""
        from_host, from_port, to_host, to_port = columns
        rows = np.ones(len(table["key"]), bool)
        if match.protocol:
            rows &= table["protocol"] == match.protocol
        for port, column in ((match.source_port, from_port), (match.destination_port, to_port)):
            if port:
                rows &= (table[column] == port) | (table[column] == 0)
        for text, column in ((match.source, from_host), (match.destination, to_host)):
            if text:
                rows &= _within(table[column], text)
        return rows

    def _merge(self) -> Table:
        """Bring all parts into one table and keep it inside its bounds."""
        if not self._parts:
            return {}
        if len(self._parts) > 1 or self._rows > self._settings.edges:
            table = grouped(stacked(self._parts), _SHAPE)
            table = self._bounded(table)
            self._parts = [table]
            self._rows = self._merged = len(table["key"])
        return self._parts[0]

    def _bounded(self, table: Table) -> Table:
        """Fold what is numerous: ports of few hosts, else quiet addresses, until both bounds hold."""
        settings = self._settings
        while True:
            both = np.concatenate((table["source"], table["target"]))
            names, inverse = np.unique(both, return_inverse=True)
            if len(names) <= settings.hosts and len(table["key"]) <= settings.edges:
                return table
            if len(names) <= settings.edges // 4 and len(names) <= settings.hosts and table["port"].any():
                table = self._without_ports(table)
            else:
                octets = np.bincount(inverse, np.concatenate((table["octets"], table["octets"])), len(names))
                names = self._with_networks(names, octets)
                middle = len(table["source"])
                table = _rekeyed(table, {"source": names[inverse[:middle]], "target": names[inverse[middle:]]})

    def _without_ports(self, table: Table) -> Table:
        """The quieter edges keep their hosts and lose their ports."""
        quiet = np.argsort(-table["octets"], kind="stable")[self._settings.edges // 2 :]
        quiet = quiet if table["port"][quiet].any() else np.arange(len(table["key"]))
        ports = {name: table[name].copy() for name in ("source_port", "port")}
        for column in ports.values():
            column[quiet] = 0
        self.collapsed_edges += len(quiet)
        return _rekeyed(table, ports)

    def _with_networks(self, names: Text, octets: Column) -> Text:
        """The quietest addresses as networks; a coarser level once all of those are networks already."""
        settings = self._settings
        nets = np.char.find(names, b"/") >= 0
        folded = np.ones(len(names), bool)
        folded[np.argsort(-octets, kind="stable")[: min(settings.hosts, settings.edges // 4, len(names)) // 2]] = False
        fresh = int((folded & ~nets).sum())
        self.collapsed_hosts += fresh
        if fresh:
            folded &= ~nets  # they are of this level already
        else:
            self._level = min(self._level + 1, len(LEVELS) - 1)
            folded |= nets
        names[folded] = networks(names[folded], self._level)
        return names


def _edges_of(batch: pa.RecordBatch) -> Table:
    """Each flow as an edge; a client's port is no service, so it is 0."""
    source, target = texts(batch.column("source_ip_address")), texts(batch.column("destination_ip_address"))
    source_port, port = numbers(batch, "source_transport_port"), numbers(batch, "destination_transport_port")
    answers = numbers(batch, "reverse_packet_delta_count")
    serving = (source_port < _REGISTERED) | ((source_port < port) & (answers == 0))
    clienting = (port >= _REGISTERED) & serving & (source_port < port)
    columns: Table = {
        "source": source.astype("S40"),
        "target": target.astype("S40"),
        "source_port": np.where(serving, source_port, 0),
        "port": np.where(clienting, 0, port),
        "protocol": numbers(batch, "protocol_identifier"),
        "flows": np.ones(batch.num_rows, np.int64),
        "packets": numbers(batch, "packet_delta_count") + answers,
        "octets": numbers(batch, "octet_delta_count") + numbers(batch, "reverse_octet_delta_count"),
        "first": numbers(batch, "flow_start_nanoseconds"),
        "last": numbers(batch, "flow_end_nanoseconds"),
    }
    return columns | {"key": _key(columns)}


def _key(columns: Table) -> Column:
    ends = [hashes(columns[name].astype("S40")) for name in ("source", "target")]
    return joined(*ends, *(columns[name] for name in ("source_port", "port", "protocol")))


def _rekeyed(table: Table, changed: Table) -> Table:
    table = table | changed
    return grouped(table | {"key": _key(table)}, _SHAPE)


def _within(column: Column, text: str) -> Column:
    """Rows whose address lies in (or whose network overlaps) an address or CIDR. Raises ValueError when it is none."""
    wanted = ipaddress.ip_network(text, strict=False)
    names, inverse = np.unique(column, return_inverse=True)
    alone = wanted.prefixlen == wanted.max_prefixlen
    exact = str(wanted.network_address).encode()
    hit = [name == exact if alone and b"/" not in name else _overlaps(name, wanted) for name in names.tolist()]
    return np.array(hit, bool)[inverse]


def _overlaps(name: bytes, wanted: Network) -> bool:
    network = ipaddress.ip_network(name.decode(), strict=False)
    return network.version == wanted.version and network.overlaps(wanted)


def _ranked(names: Column, octets: Column) -> list[str]:
    unique, inverse = np.unique(names, return_inverse=True)
    sums = np.bincount(inverse, octets, len(unique))
    return [unique[index].decode() for index in np.argsort(-sums, kind="stable")]


def _records(table: Table) -> list[Edge]:
    if not table:
        return []
    columns = [table[name].tolist() for name in (*_SHAPE.keys, *_SHAPE.sums, "first", "last")]
    return [_edge(*row) for row in zip(*columns, strict=True)]


def _conversations(table: Table) -> tuple[Conversation, ...]:
    """Each once, by who asks: an answer that was seen alone is of the same one."""
    found: dict[Conversation, None] = {}
    for source, target, source_port, port, protocol in zip(*(table[key].tolist() for key in _SHAPE.keys), strict=True):
        ends = source.decode(), target.decode()
        answer = source_port and not port
        found[Conversation(*(ends[::-1] if answer else ends), source_port if answer else port, protocol)] = None
    return tuple(found)


def _edge(source: bytes, target: bytes, source_port: int, port: int, protocol: int, *seen: int) -> Edge:
    sender = source.decode()
    speaker = service_id(sender, source_port, protocol) if source_port and not port else host_id(sender)
    return Edge(speaker, service_id(target.decode(), port, protocol), "flows", *seen)


def _entity(entity: str, seen: list[int]) -> Entity:
    kind, _, name = entity.partition("/")
    return Entity(entity, kind, name, (("flows", seen[0]), ("packets", seen[1]), ("octets", seen[2])))
