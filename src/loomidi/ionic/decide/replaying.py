"""Replayed blast radius: which of the flows that were kept a fold would have cut, and which ways of users with them.

Called by `services.folds.looking_back`, which reads the lake. In: a fold, flows summed by ends, port and names
(`REPLAYED`), the span, the protected set. Out: `Replay`. Pure, on Arrow. Rather too much than too little: either
direction counts, and who cannot be told apart is met. A rate counts like a drop: it touches what it slows.

A way of users begins where somebody who is no workload of ours asks one that is, and goes along calls between
workloads; who is cut by address alone is no user. Without names in the flows no way can be told.
"""

import collections
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts import FoldKind, FoldSpec, Match, Replay
from loomidi.ionic.decide.places import place
from loomidi.ionic.decide.radius import CUTS_NOTHING, ONE_OBJECT, Network, overlaps

NAMES = ("entity", "service", "workload")  # of each end, the narrowest first
REPLAYED = pa.schema(
    [
        *(pa.field(f"{end}_ip_address", pa.utf8()) for end in ("source", "destination")),
        *(pa.field(f"{end}_transport_port", pa.int64()) for end in ("source", "destination")),
        pa.field("protocol_identifier", pa.int64()),
        *(pa.field(f"{end}_{name}", pa.utf8()) for end in ("source", "destination") for name in NAMES),
        pa.field("flows", pa.int64()),
        pa.field("octets", pa.int64()),  # both directions
    ]
)
"""Flows in sum. A port of 0 is not known, a source port of -1 is another than the fold asks for."""
MOST_PEERS, MOST_PATHS = 64, 32  # told by name
_DEEPEST = 8  # calls from the user to the end that is cut
_ENDS = ("source", "destination")
USERS = "users"


def replayed(
    fold: FoldSpec,
    flows: pa.Table,
    span: tuple[int, int],
    protected: Sequence[Network] = (),
    *,
    rows: int | None = None,
) -> Replay:
    """What it would have cut within `span` (ns since the epoch). `rows`: flow records that the sums are of."""
    total = _sum(flows, "octets")
    common: dict[str, Any] = {"state": "measured", "since_ns": span[0], "until_ns": span[1]}
    looked = flows.num_rows if rows is None else rows
    if fold.kind in CUTS_NOTHING or fold.action == "eject":
        return Replay(**common, rows=looked)
    mine = {end: _is_met(fold, flows, end) for end in _ENDS}
    met = flows.filter(pc.or_(mine["source"], mine["destination"]))
    peers = _peers(flows, mine)
    octets = _sum(met, "octets")
    paths = _paths(flows, met, _outsiders(fold))
    return Replay(
        **common,
        rows=looked,
        peers=len(peers),
        flows=_sum(met, "flows"),
        octets=octets,
        share_of_octets=octets / total if total else 0.0,
        named=tuple(_entity(one) for one in list(peers)[:MOST_PEERS]),
        paths=tuple(paths[:MOST_PATHS]),
        unlisted_paths=max(0, len(paths) - MOST_PATHS),
        protected=tuple(_entity(one) for one in _protected(fold, met, protected))[:MOST_PEERS],
    )


def unknown(why: str) -> Replay:
    """The lake was asked and cannot say."""
    return Replay(state="unknown", why=" ".join(why.split())[:1000])


def _is_met(fold: FoldSpec, flows: pa.Table, end: str) -> pa.ChunkedArray:
    """Rows of which this end is the one that the fold is about."""
    match, there = fold.match, place(fold.target)
    by_name = _named(flows, end, fold.target, f"{there.namespace}/{there.name}")
    if match == Match():
        own = _within(flows[f"{end}_ip_address"], there.address) if there.address else by_name
        return own if there.address or there.name else pa.chunked_array([pa.array([True] * flows.num_rows)])
    other = "destination" if end == "source" else "source"
    held = _within(flows[f"{end}_ip_address"], match.source) if match.source else _all(flows)
    if fold.kind is FoldKind.ISOLATE_POD and there.kind == "pod" and not there.address:
        known = pc.is_valid(flows[f"{end}_entity"])  # an address may have been another pod's
        held = pc.if_else(known, by_name, held)
    if match.destination:
        held = pc.and_(held, _within(flows[f"{other}_ip_address"], match.destination))
    if match.protocol:
        held = pc.and_(held, pc.equal(flows["protocol_identifier"], match.protocol))
    for port, whose in ((match.source_port, end), (match.destination_port, other)):
        if port:
            column = flows[f"{whose}_transport_port"]
            held = pc.and_(held, pc.or_(pc.equal(column, port), pc.equal(column, 0)))
    return held


def _named(flows: pa.Table, end: str, target: str, name: str) -> pa.ChunkedArray:
    """Rows of which this end is the target, by its entity, or by the workload behind `workload/NAMESPACE/NAME`."""
    workload = pc.replace_substring_regex(pc.fill_null(flows[f"{end}_workload"], ""), "^[a-z]+/", "")
    entity = pc.equal(pc.fill_null(flows[f"{end}_entity"], ""), target)
    service = pc.equal(pc.fill_null(flows[f"{end}_service"], ""), target.partition(":")[0])
    return pc.or_(pc.or_(entity, service), pc.equal(workload, name if target.startswith("workload/") else "\0"))


def _all(flows: pa.Table) -> pa.ChunkedArray:
    return pc.is_valid(flows["flows"])


def _within(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    """Rows whose address lies in an address or CIDR; each address is looked at once."""
    network = ipaddress.ip_network(text, strict=False)
    inside = [one for one in pc.unique(column).to_pylist() if one and _lies(one, network)]
    return pc.is_in(column, pa.array(inside, pa.utf8()))


def _lies(text: str, network: Network) -> bool:
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    return address.version == network.version and address in network


def _peers(flows: pa.Table, mine: Mapping[str, pa.ChunkedArray]) -> dict[str, int]:
    """The other ends with their octets, the busiest first, by the name that is known, else by address."""
    octets = collections.Counter[str]()
    for end, other in (("source", "destination"), ("destination", "source")):
        rows = flows.filter(mine[end])
        names = pc.coalesce(rows[f"{other}_entity"], rows[f"{other}_service"], rows[f"{other}_ip_address"])
        for name, count in zip(names.to_pylist(), rows["octets"].to_pylist(), strict=True):
            octets[name or ""] += count
    return dict(sorted(octets.items(), key=lambda item: (-item[1], item[0])))


def _entity(name: str) -> str:
    return name if "/" in name else f"host/{name}"


def _protected(fold: FoldSpec, met: pa.Table, protected: Sequence[Network]) -> list[str]:
    """Addresses of the protected set that it meets, as `radius` has it: a named source by itself, else every end; who
    talks to one object that ends is not touched."""
    if not protected:
        return []
    ends = {fold.match.source}
    if not fold.match.source:
        ends = {one for end in _ENDS for one in pc.unique(met[f"{end}_ip_address"]).to_pylist() if one}
    if fold.kind in ONE_OBJECT:
        ends &= {fold.match.source, place(fold.target).address}
    return sorted(one for one in ends if one and overlaps(one, protected))


def _outsiders(fold: FoldSpec) -> str:
    """Whom the fold is against by address: not a user of ours. '' where it is about one of ours."""
    return fold.match.source if fold.kind is FoldKind.RECONFIGURE_NETWORK else ""


def _paths(flows: pa.Table, met: pa.Table, outsiders: str) -> list[str]:
    """Ways from users to each call that is cut, each the shortest; by the octets that go along it, most first."""
    ways = _ways(_calls(flows), outsiders)
    cut = collections.Counter[str]()
    for client, server, _, octets in _calls(met):
        before = ways.get(client or USERS) if client or not outsiders else None
        if server and before:
            cut[" -> ".join([*before, server])] += octets
    return [way for way, _ in sorted(cut.items(), key=lambda item: (-item[1], item[0]))]


def _calls(flows: pa.Table) -> list[tuple[str, str, str, int]]:
    """Client, server ('' where it is nobody of ours), the client's address, octets."""
    named = [pc.coalesce(*(flows[f"{end}_{name}"] for name in reversed(NAMES))) for end in _ENDS]
    names = [pc.replace_substring_regex(pc.fill_null(one, ""), "^external/.*", "") for one in named]
    columns = [*names, flows["source_ip_address"], flows["octets"]]
    rows = pa.table(columns, names=["client", "server", "address", "octets"])
    summed = rows.group_by(["client", "server", "address"]).aggregate([("octets", "sum")]).to_pylist()
    return [(one["client"], one["server"], one["address"], one["octets_sum"]) for one in summed]


def _ways(calls: Iterable[tuple[str, str, str, int]], outsiders: str) -> dict[str, list[str]]:
    """The shortest way from the users to each workload that they reach."""
    network = ipaddress.ip_network(outsiders, strict=False) if outsiders else None
    after = collections.defaultdict[str, set[str]](set)
    for client, server, address, _ in calls:
        blamed = network is not None and not client and bool(address) and _lies(address, network)
        if server and not blamed and client != server:
            after[client or USERS].add(server)
    ways, edge = {USERS: [USERS]}, [USERS]
    for _ in range(_DEEPEST):
        found = {server: client for client in edge for server in sorted(after[client]) if server not in ways}
        ways |= {server: [*ways[client], server] for server, client in found.items()}
        edge = sorted(found)
    return ways


def _sum(flows: pa.Table, name: str) -> int:
    return int(pc.sum(flows[name]).as_py() or 0)
