"""Who would be met: the graph that a blast radius is counted on, of a snapshot or of flows in the lake.

Called by `proposing`. In: a snapshot as it was handed in, or the lake and the end of a finding. Out: what
`ionic.decide.radius` asks of a graph. An end whose address nobody told counts as met: rather too much than too little.
"""

import dataclasses
import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts import Conversation, Match
from loomidi.contracts.streams import Stream
from loomidi.garden.graph import EntityGraph, Touched, host_id
from loomidi.garden.graph.names import service_id
from loomidi.ionic.decide.radius import Graph
from loomidi.loom.lake import Lake, Query

_MOST = 256  # peers and conversations named in an answer; their number is exact
_ENDS = ("source", "destination")
_FLOWS = [
    "source_ip_address",
    "destination_ip_address",
    "source_transport_port",
    "destination_transport_port",
    "protocol_identifier",
    "packet_delta_count",
    "reverse_packet_delta_count",
    "octet_delta_count",
    "reverse_octet_delta_count",
    "flow_start_nanoseconds",
    "flow_end_nanoseconds",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """Who talked to whom, as it is kept with an anomaly."""

    source: str  # address; empty: not known
    destination: str
    port: int
    protocol: int
    flows: int
    packets: int
    octets: int


def edges_of(windows: pa.RecordBatch, addresses: Mapping[str, str]) -> list[Edge]:
    """Those of a snapshot."""
    names = [*_ENDS, "destination_transport_port", "protocol_identifier", "delta_flow_count"]
    counts = [f"{back}{what}_delta_count" for what in ("packet", "octet") for back in ("", "reverse_")]
    return [_edge(row, addresses) for row in windows.select([*names, *counts]).to_pylist()]


def _edge(row: Mapping[str, Any], addresses: Mapping[str, str]) -> Edge:
    packets, octets = (row[f"{what}_delta_count"] + row[f"reverse_{what}_delta_count"] for what in ("packet", "octet"))
    source, destination = (_address(row[end], addresses) for end in _ENDS)
    port, protocol = row["destination_transport_port"], row["protocol_identifier"]
    return Edge(source, destination, port, protocol, row["delta_flow_count"], packets, octets)


def _address(name: str, addresses: Mapping[str, str]) -> str:
    try:
        return str(ipaddress.ip_address(addresses.get(name, name)))
    except ValueError:
        return ""


class SnapshotGraph:
    """The edges of one snapshot."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = edges

    def touching(self, match: Match) -> Touched:
        """Whom and what the match would meet, either direction of each conversation."""
        forward = [_meets(match, edge, answers=False) for edge in self._edges]
        met = [
            (edge, edge.source if ahead else edge.destination)
            for edge, ahead in zip(self._edges, forward, strict=True)
            if ahead or _meets(match, edge, answers=True)
        ]
        peers: Counter[str] = Counter()
        for edge, peer in met:
            peers[peer or f"unknown-{edge.source or edge.destination}"] += edge.octets
        busiest = sorted((edge for edge, _ in met), key=lambda edge: -edge.octets)
        named = [peer for peer, _ in peers.most_common(_MOST) if not peer.startswith("unknown-")]
        entities = dict.fromkeys(host_id(peer) for peer in named)
        for edge in busiest[:_MOST]:
            entities |= dict.fromkeys(_ids(edge))
        talks = dict.fromkeys(Conversation(e.source, e.destination, e.port, e.protocol) for e in busiest[:_MOST])
        return Touched(
            peers=tuple(named),
            peer_count=len(peers),
            flows=sum(edge.flows for edge, _ in met),
            packets=sum(edge.packets for edge, _ in met),
            octets=sum(edge.octets for edge, _ in met),
            total_octets=sum(edge.octets for edge in self._edges),
            entities=tuple(entities)[: 2 * _MOST],
            conversations=tuple(talks),
            unlisted=max(len(busiest) - _MOST, 0),
        )


def _ids(edge: Edge) -> list[str]:
    ends = [host_id(edge.source)] if edge.source else []
    return ends + ([service_id(edge.destination, edge.port, edge.protocol)] if edge.destination else [])


def _meets(match: Match, edge: Edge, *, answers: bool) -> bool:
    """Whether the match covers what the source sends, or what it is answered; the client's port is not known."""
    ends, ports = (edge.source, edge.destination), (0, edge.port)
    if answers:
        ends, ports = ends[::-1], ports[::-1]
    return (
        (not match.protocol or edge.protocol in (0, match.protocol))
        and _within(ends[0], match.source)
        and _within(ends[1], match.destination)
        and (not match.source_port or ports[0] in (0, match.source_port))
        and (not match.destination_port or ports[1] in (0, match.destination_port))
    )


def _within(address: str, wanted: str) -> bool:
    if not wanted or not address:
        return True
    network = ipaddress.ip_network(wanted, strict=False)
    return ipaddress.ip_address(address) in network


def lake_graph(lake: Lake | None, until_ns: int, seconds: float, rows: int) -> Graph | None:
    """Of the flows that ended shortly before then; None where there are none, so that the worst is assumed.

    With more than `rows` of them a shorter time is looked at.
    """
    if lake is None or Stream.FLOWS not in lake.tables():
        return None
    for part in (1, 4, 16, 64):
        since_ns, until = until_ns - round(seconds * 1e9 / part), until_ns + 1
        with Query(lake, "SELECT count(*) AS many FROM flows", since_ns=since_ns, until_ns=until) as asked:
            many = asked.rows()["many"][0].as_py()
        if many <= rows:
            graph = EntityGraph()
            for batch in lake.read(Stream.FLOWS, columns=_FLOWS, since_ns=since_ns, until_ns=until).to_batches():
                graph.absorb(batch)
            return graph if many else None
    return None
