"""Floods and amplification: too much of one kind of traffic at one host within 10 seconds.

Called by `flows`. In: `Rows`. Out: `Hit`s. What is counted is in `reading.Kind`; here it is summed by target and
window, held against the rule and against what this target is used to. The target is acted on first when there are
many sources (they may be forged), the source when there are few.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping, Sequence

import numpy as np

from loomidi.contracts import Evidence
from loomidi.garden.graph.columns import I64, Shape, Table, joined, mixed
from loomidi.garden.graph.names import host_id, protocol_name, service_id
from loomidi.origami.online.baselines import Baselines
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.reading import Kind, Mask, Rows
from loomidi.origami.online.rules import Rule
from loomidi.origami.online.windows import Distinct, Windows, largest, spread

WIDTH_NS = 10_000_000_000
_DNS = 53
_FEW = 3  # sources: fewer than a crowd
_NAMED = 8  # sources that are named one by one
_AT_IT = 0.1  # of what the heaviest sent: who sent less is a bystander, whose handshake was open for a moment
_NETWORK = {4: 24, 6: 64}  # IP version -> the shortest prefix that is told as where all sources are
_CROWD = 256  # sources: more are not looked at for that
_MOST_CELLS = 60_000
_NOTABLE = 60  # packets of an attack's kind in a window; below it no rule is asked
_ATTACKS = (
    Kind.SYN, Kind.SYN_ACK, Kind.STRAY, Kind.ILLEGAL, Kind.BARE, Kind.REFLECTED, Kind.FRAGMENT, Kind.UDP, Kind.REQUEST,
    Kind.ICMP, Kind.ICMP_ERROR, Kind.IP, Kind.REFUSED,
)  # fmt: skip
_SHAPE = Shape(
    keys=("window", "target", "target_hash", "kind"),
    sums=("packets", "octets", "back_octets", "flows"),
    lows=("first",),
    highs=("last", "top"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One kind of traffic at one target in one window."""

    packets: int = 0
    octets: int = 0
    back_octets: int = 0
    flows: int = 0
    first: int = 0
    last: int = 0
    source_port: int = 0  # of the largest flow
    port: int = 0
    sources: int = 0  # distinct
    ports: int = 0  # distinct destination ports
    source_ports: int = 0
    names: tuple[str, ...] = ()  # of the sources that are at it, when they are few
    network: str = ""  # the smallest that holds all sources, when they are many and lie close together
    parts: tuple["Cell", ...] = ()  # by source port, the largest first (reflected traffic only)

    @property
    def seconds(self) -> float:
        """How long it lasted within the window, at least 1 s: shorter bursts are not extrapolated."""
        return max((self.last - self.first) / 1e9, 1.0)

    @property
    def rate(self) -> float:
        """Packets per second."""
        return self.packets / self.seconds

    @property
    def mean(self) -> float:
        """Octets per packet."""
        return self.octets / max(self.packets, 1)


class FloodDetector:
    """Counts by (window, target, kind) and judges windows that are over."""

    def __init__(self, rules: Mapping[str, Rule], baselines: Baselines) -> None:
        self._rules = rules
        self._baselines = baselines
        self.windows = Windows(_SHAPE, _MOST_CELLS, largest("packets", _MOST_CELLS))
        self._sources = Distinct()
        self._ports = Distinct()
        self._source_ports = Distinct()

    @property
    def shed_rows(self) -> int:
        """Rows given up to stay inside the bound."""
        parts = (self.windows, self._sources, self._ports, self._source_ports)
        return sum(part.shed_rows for part in parts)

    def observe(self, rows: Rows) -> None:
        """Count one batch."""
        turned = rows.turned
        chosen = rows.kind != Kind.OTHER
        cut = spread(rows.first[chosen], rows.last[chosen], WIDTH_NS)
        at = np.flatnonzero(chosen)[cut.row]
        turn = turned[at]
        kind = rows.kind[at]
        target_hash = np.where(turn | (kind == Kind.REQUEST), rows.source_hash[at], rows.destination_hash[at])
        target = np.where(turn | (kind == Kind.REQUEST), rows.source[at], rows.destination[at])
        packets = np.where(turned, rows.back_packets, rows.packets)[chosen]
        packets = np.where(rows.kind[chosen] == Kind.SYN, rows.flags["syn"][chosen], packets)
        part = cut.part(packets)
        source_port = np.where(turn, rows.port[at], rows.source_port[at])
        reflector = np.where(kind == Kind.REFLECTED, source_port, 0)  # a cell for each reflected service
        port = np.where(turn, rows.source_port[at], rows.port[at])
        table: Table = {
            "key": joined(cut.window, target_hash, kind, reflector),
            "window": cut.window,
            "target": target,
            "target_hash": target_hash,
            "kind": kind,
            "packets": part,
            "octets": cut.part(np.where(turned, rows.back_octets, rows.octets)[chosen]),
            "back_octets": cut.part(rows.back_octets[chosen]),
            "flows": (cut.before == 0.0).astype(np.int64),
            "first": np.maximum(rows.first[at], cut.window * WIDTH_NS),
            "last": np.minimum(rows.last[at], (cut.window + 1) * WIDTH_NS),
            "top": np.minimum(part, 2**30) << 32 | source_port << 16 | port,
        }
        self.windows.add(table)
        self._note_peers(rows, at, table, turn)

    def judge(self, windows: list[int]) -> list[Hit]:
        """Hits of windows that are over, in order of time. What is usual is learned from each window after it."""
        table = self.windows.rows_of(windows)
        if not table:
            return []
        loud = np.isin(table["kind"], np.array(_ATTACKS)) & (table["packets"] >= _NOTABLE)
        place = joined(table["window"], table["target_hash"])
        rows = np.flatnonzero(np.isin(place, place[loud]))
        rows = rows[np.argsort(table["window"][rows], kind="stable")]
        places: dict[tuple[int, str], dict[Kind, Cell]] = {}
        for row in rows.tolist():
            where = (int(table["window"][row]), table["target"][row].decode())
            kind, cell = Kind(int(table["kind"][row])), self._cell(table, row)
            cells = places.setdefault(where, {})
            cells[kind] = _with_part(cells.get(kind), cell) if kind is Kind.REFLECTED else cell
        hits: list[Hit] = []
        for (_, target), cells in places.items():
            hits += self._judge_target(target, cells)
        return hits

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop windows outside keep[0]..keep[1]."""
        for part in (self.windows, self._sources, self._ports, self._source_ports):
            part.forget(keep)

    def _note_peers(self, rows: Rows, at: I64, table: Table, turn: Mask) -> None:
        """Distinct sources and ports, of the kinds that an attack is made of."""
        loud = np.isin(table["kind"], np.array(_ATTACKS))
        key, window = table["key"][loud], table["window"][loud]
        peer = np.where(turn, rows.destination[at], rows.source[at])[loud]
        peer_hash = np.where(turn, rows.destination_hash[at], rows.source_hash[at])[loud]
        nothing = np.zeros(len(key), "S1")
        top = table["top"][loud].astype(np.uint64)
        self._sources.add(key, window, mixed(peer_hash), peer, table["packets"][loud])
        self._ports.add(key, window, mixed(top & np.uint64(0xFFFF)), nothing)
        self._source_ports.add(key, window, mixed((top >> np.uint64(16)) & np.uint64(0xFFFF)), nothing)

    def _cell(self, table: Table, row: int) -> Cell:
        key = table["key"][row : row + 1]
        sources = int(self._sources.counts(key)[0])
        names = self._sources.names(key[0], _CROWD) if sources <= _CROWD else []
        top = int(table["top"][row])
        return Cell(
            packets=int(table["packets"][row]),
            octets=int(table["octets"][row]),
            back_octets=int(table["back_octets"][row]),
            flows=int(table["flows"][row]),
            first=int(table["first"][row]),
            last=int(table["last"][row]),
            source_port=top >> 16 & 0xFFFF,
            port=top & 0xFFFF,
            sources=sources,
            ports=int(self._ports.counts(key)[0]),
            source_ports=int(self._source_ports.counts(key)[0]),
            names=tuple(self._sources.names(key[0], _NAMED, _AT_IT)) if sources <= _NAMED else (),
            network=_network(names) if sources > _NAMED else "",
        )

    def _judge_target(self, target: str, cells: dict[Kind, Cell]) -> list[Hit]:
        if _is_group(target):
            return []
        hits = self._reflected(target, cells)
        if not hits and Kind.REFLECTED in cells:  # no answers, then: forged ports of a plain flood, or nothing
            cells = cells | {Kind.UDP: _together(cells.get(Kind.UDP, Cell()), cells[Kind.REFLECTED])}
        readings = (
            self._syn, self._unlisted, self._handshakes, self._requests, self._udp, self._icmp, self._strays, self._ip,
        )  # fmt: skip
        return hits + [hit for reading in readings if (hit := reading(target, cells)) is not None]

    def _limit(self, target: str, kind: Kind, rate: float, floor: float) -> tuple[float, str]:
        """The rate to exceed: the floor or what this target is used to; then this window is learned."""
        key = f"{target}|{kind.name}"
        usual = self._baselines.usual(key)
        if rate >= floor / 4:
            self._baselines.learn(key, rate, floor)
        if usual is None or usual[1] <= floor:
            return floor, ""
        return usual[1], f"; this target is used to {usual[0]:.0f}"

    def _syn(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        rule, cell = self._rules["syn_flood"].thresholds, cells.get(Kind.SYN, Cell())
        done = cells.get(Kind.HANDSHAKE, Cell()).flows
        share = cell.packets / max(cell.packets + done, 1)
        rate = cell.rate
        limit, origin = self._limit(target, Kind.SYN, rate, rule["rate"])
        scan = cell.sources <= _FEW and cell.ports >= rule["scan_port_share"] * cell.packets
        scan &= rate < rule["scan_rate"]
        if cell.packets < rule["packets"] or rate < limit or share < rule["half_open_share"] or scan:
            return None
        if cell.back_octets == 0 and cell.packets >= rule["retries"] * cell.flows:
            return None  # a target that is down, and its users
        evidence = (
            Evidence("syn_rate", round(rate, 1), round(limit, 1), "packets/s", f"connection attempts {origin}"),
            Evidence("half_open_share", round(share, 3), rule["half_open_share"], "", "attempts never completed"),
        )
        return _hit("syn_flood", target, cell, evidence, rate / limit, protocol=6)

    def _reflected(self, target: str, cells: dict[Kind, Cell]) -> list[Hit]:
        """Judged together, told for each service that takes a tenth of it."""
        rules = self._rules["amplification"]
        rule = rules.thresholds
        whole, tails = cells.get(Kind.REFLECTED), cells.get(Kind.FRAGMENT, Cell())
        if whole is None or tails.packets > 20 * whole.packets:
            return []
        cell = _together(whole, tails)
        factor = rule["discovery_factor"] if cell.source_port in rules.discovery_ports else 1.0
        floor, size = self._answers_floor(cell)
        limit = self._limit(target, Kind.REFLECTED, cell.rate, factor * floor)
        asked = cells.get(Kind.UDP_TALK, Cell()).packets > cell.packets
        if cell.packets < factor * rule["packets"] or cell.rate < limit[0] or cell.mean < size or asked:
            return []
        first, *others = whole.parts
        told = [(_together(first, tails), tails.packets), *((part, 0) for part in others)]
        enough = [(part, later) for part, later in told if 10 * part.packets >= cell.packets]
        return [self._reflected_hit(target, part, later, limit, size) for part, later in enough]

    def _answers_floor(self, cell: Cell) -> tuple[float, float]:
        """Packets per second and octets per packet that answers must exceed, by how many servers send them.

        Calls and VPNs talk a lot from ports that are abused, too; where one direction only is seen, a few are no
        reflectors.
        """
        rule, talkative = self._rules["amplification"].thresholds, self._rules["udp_flood"].talkative_ports
        if cell.source_port == _DNS and cell.sources >= rule["sources"]:
            return rule["rate"], rule["mean_octets" if cell.sources >= rule["unlisted_sources"] else "few_mean_octets"]
        if cell.source_port in talkative and cell.source_port != _DNS:
            enough = cell.sources >= rule["unlisted_sources"]
            floor = rule["rate"] if enough else self._rules["udp_flood"].thresholds["talkative_rate"]
            return floor, rule["mean_octets"]
        if cell.sources >= rule["sources"]:
            return rule["rate"], rule["mean_octets"]
        loud = cell.rate >= rule["few_loud_rate"]
        return rule["few_rate"], rule["mean_octets" if loud else "few_mean_octets"]

    def _reflected_hit(self, target: str, cell: Cell, fragments: int, limit: tuple[float, str], size: float) -> Hit:
        name = self._rules["amplification"].ports.get(cell.source_port, "reflector")
        meaning = f"{name} answers{limit[1]}"
        evidence = [
            Evidence("answer_rate", round(cell.rate, 1), round(limit[0], 1), "packets/s", meaning),
            Evidence("mean_packet_octets", round(cell.mean), size, "octets", "size of an answer"),
            Evidence("source_port", cell.source_port, None, "", f"{name} servers answer from it and are often abused"),
        ]
        if fragments:
            evidence.append(Evidence("fragments", fragments, None, "packets", "later fragments of such answers"))
        hit = _hit("amplification", target, cell, tuple(evidence), cell.rate / limit[0], protocol=17)
        return dataclasses.replace(hit, actor=f"{hit.actor}|{cell.source_port}")

    def _unlisted(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        """Many sources with one source port that no list has: servers of one kind, answering."""
        rule, cell = self._rules["amplification"].thresholds, cells.get(Kind.UDP, Cell())
        alike = cell.source_ports <= 2 and cell.source_port < 49152 and cell.sources >= rule["unlisted_sources"]
        limit, origin = self._limit(target, Kind.UDP, cell.rate, rule["rate"] * 2)
        if not alike or cell.packets < rule["packets"] or cell.rate < limit or cell.mean < rule["mean_octets"]:
            return None
        evidence = (
            Evidence("answer_rate", round(cell.rate, 1), round(limit, 1), "packets/s", f"one-way packets {origin}"),
            Evidence("mean_packet_octets", round(cell.mean), rule["mean_octets"], "octets", "size of a packet"),
            Evidence("source_port", cell.source_port, None, "", "all sources send from the same port"),
        )
        return _hit("amplification", target, cell, evidence, cell.rate / limit, protocol=17, base=0.7)

    def _handshakes(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        """TCP reflection: servers answer forged SYNs."""
        rule, cell = self._rules["amplification"].thresholds, cells.get(Kind.SYN_ACK, Cell())
        limit, origin = self._limit(target, Kind.SYN_ACK, cell.rate, rule["rate"])
        if cell.packets < rule["handshake_packets"] or cell.sources < rule["handshake_sources"] or cell.rate < limit:
            return None
        meaning = f"connection answers that the target never asked for {origin}"
        evidence = (
            Evidence("syn_ack_rate", round(cell.rate, 1), round(limit, 1), "packets/s", meaning),
            Evidence("source_port", cell.source_port, None, "", "the port of the servers that answer"),
        )
        return _hit("amplification", target, cell, evidence, cell.rate / limit, protocol=6)

    def _requests(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        """Seen beside the reflector: one client asks little, again and again, and very much goes back to it."""
        rule, cell = self._rules["amplification"].thresholds, cells.get(Kind.REQUEST, Cell())
        ratio = cell.back_octets / max(cell.octets, 1)
        limit, origin = self._limit(target, Kind.REQUEST, cell.rate, rule["request_rate"])
        if cell.packets < rule["packets"] or cell.rate < limit or ratio < rule["request_ratio"]:
            return None
        name = self._rules["amplification"].ports.get(cell.port, "service")
        evidence = (
            Evidence("request_rate", round(cell.rate, 1), round(limit, 1), "packets/s", f"{name} requests {origin}"),
            Evidence("amplification_factor", round(ratio, 1), rule["request_ratio"], "", "octets back per octet asked"),
        )
        return _hit(
            "amplification",
            target,
            dataclasses.replace(cell, names=()),
            evidence,
            cell.rate / limit,
            protocol=0,
            base=0.6,
        )

    def _udp(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        rule, cell = self._rules["udp_flood"].thresholds, cells.get(Kind.UDP, Cell())
        share = cell.packets / max(cell.packets + cells.get(Kind.UDP_TALK, Cell()).packets, 1)
        many = cell.sources >= rule["sources"] or cell.ports >= rule["spray_ports"]
        sprayed = not many and cell.source_ports >= rule["spray_ports"]  # one sender, ever new source ports
        packets = rule["packets"] if many or sprayed else rule["few_packets"]
        quiet = not {cell.port, cell.source_port} & self._rules["udp_flood"].talkative_ports
        floor = (
            rule["rate"] if many else rule["spray_rate"] if sprayed else rule["few_rate" if quiet else "talkative_rate"]
        )
        limit, origin = self._limit(target, Kind.UDP_TALK, cell.rate, floor)
        probe = cell.sources <= _FEW and cell.packets <= 3 * cell.ports and cell.mean < 28 + rule["probe_octets"]
        probe &= cell.rate < rule["few_rate"]
        if cell.packets < packets or cell.rate < limit or share < rule["one_way_share"] or probe:
            return None
        if self._unlisted(target, cells) is not None:
            return None
        evidence = (
            Evidence("packet_rate", round(cell.rate, 1), round(limit, 1), "packets/s", f"one-way packets {origin}"),
            Evidence("one_way_share", round(share, 3), rule["one_way_share"], "", "of the UDP packets to the target"),
        )
        return _hit("udp_flood", target, cell, evidence, cell.rate / limit, protocol=17)

    def _icmp(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        rule, cell = self._rules["icmp_flood"].thresholds, cells.get(Kind.ICMP, Cell())
        errors = cells.get(Kind.ICMP_ERROR, Cell())
        if errors.packets >= rule["error_packets"]:
            cell = _together(cell, errors)
        limit, origin = self._limit(target, Kind.ICMP, cell.rate, rule["rate"])
        if cell.packets < rule["packets"] or cell.rate < limit:
            return None
        evidence = (
            Evidence("packet_rate", round(cell.rate, 1), round(limit, 1), "packets/s", f"ICMP packets {origin}"),
            Evidence("mean_packet_octets", round(cell.mean), None, "octets", "size of a packet"),
        )
        return _hit("icmp_flood", target, cell, evidence, cell.rate / limit, protocol=1)

    def _strays(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        rule = self._rules["tcp_flag_flood"].thresholds
        strays, illegal, bare = (cells.get(kind, Cell()) for kind in (Kind.STRAY, Kind.ILLEGAL, Kind.BARE))
        if (refused := cells.get(Kind.REFUSED, Cell())).packets and not self._scanned(refused):
            strays = _together(strays, refused)
        cell = _together(strays, illegal) if illegal.packets else strays
        scattered = cell.packets >= rule["packets"] and cell.flows >= rule["flows"]
        if illegal.packets >= rule["illegal_packets"]:
            scattered = not (illegal.sources <= _FEW and illegal.ports >= 0.3 * illegal.packets)
        if bare.rate >= rule["single_rate"] and bare.packets >= rule["single_rate"]:
            cell, scattered = _together(cell, bare), True
        limit, origin = self._limit(target, Kind.STRAY, cell.rate, rule["rate"])
        if not scattered or cell.rate < limit:
            return None
        answers = self._rules["amplification"].thresholds
        alike = cell.source_ports <= _FEW and cell.sources >= answers["handshake_sources"]
        if alike and cell.mean >= answers["few_mean_octets"]:
            return self._answered_hit(target, cell, limit, origin)
        evidence = (
            Evidence("stray_rate", round(cell.rate, 1), round(limit, 1), "packets/s", f"stray segments {origin}"),
            Evidence("conversations", cell.flows, int(rule["flows"]), "", "distinct ones without a handshake"),
            Evidence("illegal_flags", illegal.packets, None, "packets", "with flags that no stack sends"),
        )
        return _hit("tcp_flag_flood", target, cell, evidence, cell.rate / limit, protocol=6)

    def _scanned(self, refused: Cell) -> bool:
        """Whether closed ports say no to a scan by this host: who is scanned is no attacker (as in `_syn`, turned)."""
        rule = self._rules["syn_flood"].thresholds
        spread_out = refused.source_ports >= rule["scan_port_share"] * refused.packets
        return refused.sources <= _FEW and spread_out and refused.rate < rule["scan_rate"]

    def _answered_hit(self, target: str, cell: Cell, limit: float, origin: str) -> Hit:
        """Large segments of no connection from one port of many servers: middleboxes that answer forged requests."""
        floor = self._rules["amplification"].thresholds["few_mean_octets"]
        meaning = f"segments of no connection{origin}"
        evidence = (
            Evidence("answer_rate", round(cell.rate, 1), round(limit, 1), "packets/s", meaning),
            Evidence("mean_packet_octets", round(cell.mean), floor, "octets", "size of a segment"),
            Evidence("source_port", cell.source_port, None, "", "the port of the servers that answer"),
        )
        return _hit("amplification", target, cell, evidence, cell.rate / limit, protocol=6, base=0.7)

    def _ip(self, target: str, cells: dict[Kind, Cell]) -> Hit | None:
        rule = self._rules["ip_flood"].thresholds
        cell = cells.get(Kind.IP, Cell())
        tails, heads = cells.get(Kind.FRAGMENT, Cell()), cells.get(Kind.REFLECTED, Cell())
        whole = heads.packets + cells.get(Kind.UDP, Cell()).packets + cells.get(Kind.UDP_TALK, Cell()).packets
        if tails.packets > 20 * max(whole, 1):  # fragments whose beginnings never came
            cell = _together(cell, tails)
        floor = rule["rate"] if cell.sources >= rule["sources"] else rule["few_rate"]
        limit, origin = self._limit(target, Kind.IP, cell.rate, floor)
        if cell.packets < rule["packets"] or cell.rate < limit:
            return None
        meaning = f"one-way packets without ports {origin}"
        evidence = (Evidence("packet_rate", round(cell.rate, 1), round(limit, 1), "packets/s", meaning),)
        return _hit("ip_flood", target, cell, evidence, cell.rate / limit, protocol=0)


def _with_part(whole: Cell | None, part: Cell) -> Cell:
    """Reflected traffic of one more service, added to that of the others."""
    parts = sorted((*(whole.parts if whole else ()), part), key=lambda cell: -cell.packets)
    return dataclasses.replace(part if whole is None else _together(whole, part), parts=tuple(parts))


def _together(one: Cell, other: Cell) -> Cell:
    """Two kinds at one target as one; the ports are those of the larger, sources are not added twice."""
    if not other.packets or not one.packets:
        return one if one.packets else other
    larger = max(one, other, key=lambda cell: (cell.source_port > 0, cell.packets))
    return dataclasses.replace(
        larger,
        packets=one.packets + other.packets,
        octets=one.octets + other.octets,
        flows=one.flows + other.flows,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
        sources=max(one.sources, other.sources),
        network=one.network if one.network == other.network else "",
    )


def _network(addresses: Sequence[str]) -> str:
    """The smallest network of them all, where it is not wider than a site's; '' otherwise."""
    if not addresses:
        return ""
    low, high = (bound(map(ipaddress.ip_address, addresses), key=int) for bound in (min, max))
    shared = low.max_prefixlen - (int(low) ^ int(high)).bit_length()
    if low.version != high.version or shared < _NETWORK[low.version]:
        return ""
    return str(ipaddress.ip_network((low, shared), strict=False))


def _hit(
    pattern: str,
    target: str,
    cell: Cell,
    evidence: tuple[Evidence, ...],
    excess: float,
    *,
    protocol: int,
    base: float = 0.8,
) -> Hit:
    """The finding of one window; few sources are acted on themselves."""
    victim = service_id(target, cell.port, protocol) if cell.ports <= 2 and protocol in (6, 17) else host_id(target)
    attackers = tuple(host_id(name) for name in cell.names)
    spread_out = pattern == "amplification" or not attackers
    entities = (victim, *attackers) if spread_out else (*attackers, victim)
    more = [Evidence("sources", cell.sources, None, "", "distinct source addresses")]
    if cell.network:
        more.append(Evidence("source_network", cell.network, None, "", "the smallest that holds all of the sources"))
    if protocol in (6, 17):
        more.append(
            Evidence("destination_ports", cell.ports, None, "", f"distinct {protocol_name(protocol)} ports hit")
        )
    rated = min(base + 0.1, 0.95) if cell.sources >= 100 else base
    return Hit(
        pattern, host_id(target), entities, cell.first, cell.last, (*evidence, *more), max(excess, 1.0), rated,
        packets=cell.packets, octets=cell.octets,
    )  # fmt: skip


def _is_group(address: str) -> bool:
    """Multicast and broadcast: announced to everybody, a target of nobody."""
    if ":" in address:
        return address.lower().startswith("ff")
    first = int(address.partition(".")[0] or 0)
    return 224 <= first <= 239 or first == 255 or address.endswith(".255") or address == "0.0.0.0"  # noqa: S104
