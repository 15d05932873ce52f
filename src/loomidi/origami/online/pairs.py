"""Scans, password guessing and exfiltration: what one source does with many ports, hosts or octets in 10 to 20 minutes.

Called by `flows`. In: `Rows`. Out: `Hit`s. One table of (source, destination, port, protocol) by window serves all four
patterns; a window is judged together with the one before it, so that a border hides nothing. Which conversation is a
probe is decided per flow, how many are too many by the rule and by what this source is used to.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping

import numpy as np

from loomidi.contracts import Evidence, Severity
from loomidi.garden.graph.columns import Column, Shape, Table, grouped, joined, stacked, taken
from loomidi.garden.graph.names import host_id, protocol_name, service_id
from loomidi.origami.online.baselines import Baselines
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.reading import Kind, Mask, Rows
from loomidi.origami.online.rules import Rule
from loomidi.origami.online.windows import Windows

WIDTH_NS = 600_000_000_000
_MOST_PAIRS = 100_000
_TCP, _UDP = 6, 17
_TRACE_PORTS = (33434, 33625)  # UDP trace routes count up from here
_PROBE_PACKETS = {_TCP: 6, _UDP: 3}  # an attempt with its repetitions
_TUNNEL = ("T1048.003", "T1071.004")  # over an unencrypted protocol, DNS as the channel
_MOST_HITS = 500  # scanners told of one window
_TOLD = 8  # ports or hosts named in a finding
_COUNTS = (
    "flows", "probes", "talks", "talk_got", "talk_square", "begun", "answered", "packets", "sent", "got", "duration",
    "failures", "odd",
)  # fmt: skip
_SHAPE = Shape(
    keys=("window", "source", "source_hash", "destination", "destination_hash", "port", "protocol"),
    sums=_COUNTS,
    lows=("first",),
    highs=("last",),
)
_INSIDE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
                 "fc00::/7", "fe80::/10")
]  # fmt: skip


class PairDetector:
    """Counts by (window, source, destination, port, protocol) and judges windows that are over."""

    def __init__(self, rules: Mapping[str, Rule], baselines: Baselines) -> None:
        self._rules = rules
        self._baselines = baselines
        self._auth = np.array(sorted(rules["brute_force"].services), np.int64)
        self._reflectors = np.array(sorted(rules["amplification"].ports), np.int64)
        self.windows = Windows(_SHAPE, _MOST_PAIRS, _busy_sources)

    def observe(self, rows: Rows) -> None:
        """Count one batch."""
        probes = _probes(rows, self._reflectors, self._rules["udp_flood"].thresholds["probe_octets"])
        data = rows.payload > 0
        answered = rows.back_packets > 0
        heard = (rows.back_payload > 0) | ((rows.back_packets == 0) & (rows.flags["ack"] > 1))
        begun = _begun(rows)
        talks = ((rows.protocol == _TCP) & heard & data & begun) | ((rows.protocol != _TCP) & answered)
        failures = (rows.protocol == _TCP) & (rows.flags["syn"] > 0) & (rows.payload + rows.back_payload == 0)
        window = rows.first // WIDTH_NS
        port = np.where((rows.protocol == _TCP) | (rows.protocol == _UDP), rows.port, 0)
        ends = (rows.source_hash, rows.destination_hash)
        table: Table = {
            "key": joined(window, *ends, port, rows.protocol),
            "window": window,
            "source": rows.source,
            "source_hash": ends[0],
            "destination": rows.destination,
            "destination_hash": ends[1],
            "port": port,
            "protocol": rows.protocol,
            "flows": np.ones(len(window), np.int64),
            "probes": probes.astype(np.int64),
            "talks": talks.astype(np.int64),
            "talk_got": np.where(talks, rows.back_payload, 0),
            "talk_square": np.where(talks, rows.back_payload, 0).astype(np.float64) ** 2,
            "begun": begun.astype(np.int64),
            "answered": answered.astype(np.int64),
            "packets": rows.packets,
            "sent": rows.payload,
            "got": rows.back_payload,
            "duration": rows.last - rows.first,
            "failures": failures.astype(np.int64),
            "odd": _odd_answers(rows).astype(np.int64),
            "first": rows.first,
            "last": rows.last,
        }
        self.windows.add(table)

    def judge(self, windows: list[int]) -> list[Hit]:
        """Hits of windows that are over, each seen together with the window before it."""
        hits: list[Hit] = []
        for window in sorted(windows):
            table = self.windows.rows_of([window])
            earlier = self.windows.peek([window - 1])
            parts = [part for part in (earlier, table) if part]
            if parts:
                hits += self._judge_window(_merged(parts))
                self._learn(table)
        return [dataclasses.replace(hit, quiet_ns=2 * WIDTH_NS) for hit in hits]

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop windows outside keep[0]..keep[1]; one more is kept to be seen together with the next."""
        self.windows.forget((keep[0] - 1, keep[1]))

    def _judge_window(self, table: Table) -> list[Hit]:
        return [*self._vertical(table), *self._horizontal(table), *self._guessing(table), *self._leaks(table)]

    def _vertical(self, table: Table) -> list[Hit]:
        """Distinct ports of one host that were tried by one source."""
        rule = self._rules["vertical_scan"].thresholds
        trace = (table["protocol"] == _UDP) & (table["port"] >= _TRACE_PORTS[0]) & (table["port"] <= _TRACE_PORTS[1])
        ports = np.isin(table["protocol"], (_TCP, _UDP)) & ~trace
        groups = _groups(taken(table, ports), ("source_hash", "destination_hash", "protocol"))
        if not groups:
            return []
        floor = np.where(groups["protocol"] == _TCP, rule["ports"], rule["udp_ports"])
        many = (groups["probed"] >= floor) & (groups["probed"] >= rule["probe_share"] * groups["rows"])
        many |= groups["odd_ports"] >= np.maximum(floor, rule["low_port_share"] * groups["rows"])
        return [self._vertical_hit(table, groups, index, float(floor[index])) for index in _strongest(many, groups)]

    def _vertical_hit(self, table: Table, groups: Table, index: int, floor: float) -> Hit:
        source, destination, protocol = _ends(groups, index)
        count = int(max(groups["probed"][index], groups["odd_ports"][index]))
        mine = (table["source_hash"] == groups["source_hash"][index]) & (table["protocol"] == protocol)
        mine &= table["destination_hash"] == groups["destination_hash"][index]
        mine &= (table["probes"] > 0) | (table["odd"] > 0)
        evidence = (
            Evidence("ports", count, int(floor), "", f"distinct {protocol_name(protocol)} ports tried in vain"),
            Evidence("tried", _first_few(np.sort(table["port"][mine])), None, "", "some of these ports"),
            _share("probe_share", count, int(groups["rows"][index]), self._rules["vertical_scan"], "ports"),
        )
        return Hit(
            "vertical_scan",
            host_id(source),
            (host_id(source), host_id(destination)),
            *_times(groups, index),
            evidence,
            count / floor,
            base=0.75,
        )

    def _horizontal(self, table: Table) -> list[Hit]:
        """Distinct hosts that were tried by one source on one port."""
        rule = self._rules["horizontal_scan"].thresholds
        groups = _groups(table, ("source_hash", "port", "protocol"))
        if not groups:
            return []
        sources = _groups(table, ("source_hash",))
        heard = sources["answered"][np.searchsorted(sources["source_hash"], groups["source_hash"])] > 0
        udp = np.where(heard, rule["udp_hosts"], rule["blind_udp_hosts"])
        floor = np.where(groups["protocol"] == _TCP, rule["hosts"], np.where(groups["protocol"] == _UDP, udp, 1e9))
        floor = np.where(np.isin(groups["protocol"], (1, 58)), rule["icmp_hosts"], floor)
        many = (groups["probed"] >= floor) & (groups["probed"] >= rule["probe_share"] * groups["rows"])
        hits = [self._horizontal_hit(table, groups, index, float(floor[index])) for index in _strongest(many, groups)]
        return [hit for hit in hits if hit is not None]

    def _horizontal_hit(self, table: Table, groups: Table, index: int, floor: float) -> Hit | None:
        source, _, protocol = _ends(groups, index)
        port, count = int(groups["port"][index]), int(groups["probed"][index])
        usual = self._baselines.usual(f"{source}|hosts")
        if usual is not None and count <= usual[1]:
            return None
        rule = self._rules["horizontal_scan"]
        mine = (table["source_hash"] == groups["source_hash"][index]) & (table["port"] == port)
        mine &= (table["protocol"] == protocol) & (table["probes"] > 0)
        names = [name.decode() for name in np.sort(table["destination"][mine])[:_TOLD].tolist()]
        wanted = f"port {port}/{protocol_name(protocol)}" if protocol in (_TCP, _UDP) else "echo"
        evidence = (
            Evidence("hosts", count, int(floor), "", f"distinct hosts tried in vain ({wanted})"),
            Evidence("port", port, None, "", f"the {protocol_name(protocol)} port that was tried"),
            _share("probe_share", count, int(groups["rows"][index]), rule, "hosts"),
        )
        peers = port in rule.peer_ports and protocol in (_TCP, _UDP)
        return Hit(
            "horizontal_scan",
            f"{host_id(source)}|{'peers' if peers else 'scan'}",
            (host_id(source), *map(host_id, names)),
            *_times(groups, index),
            evidence,
            count / floor,
            base=0.75,
            severity=Severity.INFO if peers else None,
        )

    def _guessing(self, table: Table) -> list[Hit]:
        """Short, alike conversations of one source with one password service, or of many sources."""
        rows = taken(table, (table["protocol"] == _TCP) & np.isin(table["port"], self._auth))
        if not len(rows["key"]):
            return []
        return [*self._guessing_alone(rows), *self._guessing_together(rows)]

    def _guessing_alone(self, rows: Table) -> list[Hit]:
        hits = []
        for index in np.flatnonzero((rows["talks"] >= 10) | (rows["failures"] >= 30)).tolist():
            row = {name: column[index : index + 1] for name, column in rows.items()}
            hit = self._guessing_hit(row, rows["source"][index].decode(), 1)
            if hit is not None:
                hits.append(hit)
        return hits

    def _guessing_together(self, rows: Table) -> list[Hit]:
        """Many sources, a few guesses each, at one service."""
        rule = self._rules["brute_force"].thresholds
        tried = taken(rows, (rows["talks"] >= 3) & (rows["talks"] < 10))
        groups = _groups(tried, ("destination_hash", "port"))
        if not groups:
            return []
        many = np.flatnonzero(groups["rows"] >= rule["distributed_sources"]).tolist()
        alone = [{name: column[index : index + 1] for name, column in groups.items()} for index in many]
        hits = [self._guessing_hit(row, "", int(row["rows"][0])) for row in alone]
        return [hit for hit in hits if hit is not None]

    def _guessing_hit(self, row: Table, source: str, sources: int) -> Hit | None:
        rules = self._rules["brute_force"]
        rule, port = rules.thresholds, int(row["port"][0])
        name, floor, most = rules.services[port]
        talks, failures = int(row["talks"][0]), int(row["failures"][0])
        victim = service_id(row["destination"][0].decode(), port, _TCP)
        minutes = max((int(row["last"][0]) - int(row["first"][0])) / 60e9, 1 / 60)
        if talks < floor:
            return self._failing_hit(row, source, victim) if failures >= rule["failures"] and source else None
        mean = float(row["got"][0]) / talks
        alike = _deviation(float(row["talk_square"][0]), float(row["talk_got"][0]) / talks, talks)
        seconds = float(row["duration"][0]) / 1e9 / max(int(row["begun"][0]), 1)
        usual = self._baselines.usual(f"{victim}|talks")
        limit = max(float(floor), usual[1] if usual else 0.0) * sources
        per_minute = (talks - 1) / minutes  # between them: the last has none after it
        slow = per_minute < rule["rate"] or seconds > rule["duration_s"]
        if talks < limit or slow or mean > most or alike > rule["alike"]:
            return None
        evidence = (
            Evidence("conversations", talks, round(limit), "", f"short {name} conversations"),
            Evidence("per_minute", round(per_minute, 1), rule["rate"], "1/min", "new conversations"),
            Evidence("alike", round(alike, 3), rule["alike"], "", "deviation of the answers' sizes by their mean"),
            Evidence("answer_octets", round(mean), most, "octets", "mean answer: a refused login is short"),
            Evidence("sources", sources, None, "", "distinct source addresses"),
        )
        entities = (host_id(source), victim) if source else (victim,)
        times = (int(row["first"][0]), int(row["last"][0]))
        return Hit("brute_force", "|".join(entities), entities, *times, evidence, talks / limit, base=0.7)

    def _failing_hit(self, row: Table, source: str, victim: str) -> Hit:
        """It never connects: a guesser at a closed door, or a client whose server is down. Worth a line."""
        rule = self._rules["brute_force"].thresholds
        failures = int(row["failures"][0])
        meaning = "connection attempts that were refused or not answered"
        evidence = (Evidence("failures", failures, int(rule["failures"]), "", meaning),)
        times, entities = (int(row["first"][0]), int(row["last"][0])), (host_id(source), victim)
        return Hit("brute_force", "|".join(entities) + "|failures", entities, *times, evidence,
                   failures / rule["failures"], 0.5, Severity.INFO)  # fmt: skip

    def _leaks(self, table: Table) -> list[Hit]:
        """Much more out than in, from an inside host to an outside one; and names that carry data."""
        rule = self._rules["exfiltration"].thresholds
        groups = _groups(table, ("source_hash", "destination_hash"))
        if not groups:
            return []
        much = (groups["sent"] >= rule["octets"]) & (groups["sent"] >= rule["ratio"] * groups["got"])
        hits = [self._leak_hit(groups, index) for index in np.flatnonzero(much).tolist()]
        names = _groups(
            taken(table, (table["protocol"] == _UDP) & (table["port"] == 53)), ("source_hash", "destination_hash")
        )
        if names:
            socket = names["packets"] >= rule["dns_queries_per_flow"] * names["flows"]
            mean = np.where(socket, rule["dns_socket_octets"], rule["dns_mean_octets"])
            long = (names["sent"] >= mean * names["packets"]) & (names["sent"] >= rule["dns_octets"])
            long &= names["packets"] >= rule["dns_queries"]
            hits += [self._tunnel_hit(names, index) for index in np.flatnonzero(long).tolist()]
        return [hit for hit in hits if hit is not None]

    def _leak_hit(self, groups: Table, index: int) -> Hit | None:
        rule = self._rules["exfiltration"].thresholds
        source, destination, _ = _ends(groups, index)
        if not inside(source) or inside(destination) or _is_group(destination):
            return None
        sent, got = int(groups["sent"][index]), int(groups["got"][index])
        usual = self._baselines.usual(f"{source}|sent")
        limit = max(rule["octets"], rule["baseline_factor"] * usual[0] if usual else 0.0)
        if sent < limit:
            return None
        ratio = sent / max(got, 1)
        meaning = "payload sent" + (f"; usual for this source: {usual[0]:.0f}" if usual else "; nothing learned yet")
        evidence = (
            Evidence("sent_octets", sent, round(limit), "octets", meaning),
            Evidence("sent_by_received", round(min(ratio, 1e6), 1), rule["ratio"], "", "payload out by payload in"),
        )
        return Hit(
            "exfiltration",
            f"{host_id(source)}|{host_id(destination)}",
            (host_id(source), host_id(destination)),
            *_times(groups, index),
            evidence,
            sent / limit,
            base=0.75 if usual else 0.55,
            severity=None if usual else Severity.MEDIUM,
        )

    def _tunnel_hit(self, groups: Table, index: int) -> Hit:
        rule = self._rules["exfiltration"].thresholds
        source, destination, _ = _ends(groups, index)
        queries, sent = int(groups["packets"][index]), int(groups["sent"][index])
        mean = sent / queries
        socket = queries >= rule["dns_queries_per_flow"] * int(groups["flows"][index])
        limit = rule["dns_socket_octets" if socket else "dns_mean_octets"]
        evidence = (
            Evidence("query_octets", round(mean, 1), limit, "octets", "mean DNS query payload"),
            Evidence("queries", queries, int(rule["dns_queries"]), "", "DNS queries to one server"),
            Evidence("sent_octets", sent, int(rule["dns_octets"]), "octets", "carried in the queried names"),
        )
        entities = (host_id(source), service_id(destination, 53, _UDP))
        return Hit("exfiltration", "|".join((*entities, "dns")), entities, *_times(groups, index), evidence,
                   mean / limit, base=0.8, techniques=_TUNNEL)  # fmt: skip

    def _learn(self, table: Table) -> None:
        """What is usual, after it was judged: hosts tried and octets sent by a source, conversations of a service."""
        if not table:
            return
        rule = self._rules["exfiltration"].thresholds
        hosts = self._rules["horizontal_scan"].thresholds["hosts"]
        sources = _groups(table, ("source_hash",))
        for index in np.flatnonzero((sources["sent"] >= rule["octets"] / 10) | (sources["probed"] >= 10)).tolist():
            name = _ends(sources, index)[0]
            self._baselines.learn(f"{name}|sent", float(sources["sent"][index]), rule["octets"] * 2)
            self._baselines.learn(f"{name}|hosts", float(sources["probed"][index]), hosts)
        auth = np.isin(table["port"], self._auth) & (table["talks"] >= 10) & (table["protocol"] == _TCP)
        for index in np.flatnonzero(auth).tolist():
            victim = service_id(table["destination"][index].decode(), int(table["port"][index]), _TCP)
            floor = float(self._rules["brute_force"].services[int(table["port"][index])][1])
            self._baselines.learn(f"{victim}|talks", float(table["talks"][index]), floor)


def inside(address: str) -> bool:
    """Whether an address is of a private, shared or link-local range."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in _INSIDE)


def _is_group(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return True
    return parsed.is_multicast or address.endswith(".255")


def _probes(rows: Rows, reflectors: Column, most_octets: float) -> Mask:
    """Flows that try and get nowhere."""
    flags, quiet = rows.flags, rows.payload + rows.back_payload == 0
    attempts = (rows.protocol == _TCP) & (flags["syn"] > 0) & quiet & (rows.packets <= _PROBE_PACKETS[_TCP])
    odd = (rows.kind == Kind.ILLEGAL) & (rows.packets <= 3)
    bounced = (rows.kind == Kind.STRAY) & (rows.packets <= 2) & quiet & (flags["fin"] == 0) & (flags["rst"] == 0)
    bounced &= flags["back_rst"] > 0
    client = (rows.source_port >= 1024) & ~np.isin(rows.source_port, reflectors) & (rows.source_port != rows.port)
    datagrams = (rows.protocol == _UDP) & (rows.back_packets == 0) & (rows.packets <= _PROBE_PACKETS[_UDP]) & client
    datagrams &= rows.payload <= most_octets * rows.packets
    echoes = np.where(rows.protocol == 1, rows.icmp_type == 8, (rows.protocol == 58) & (rows.icmp_type == 128))
    mask: Mask = attempts | odd | bounced | datagrams | (echoes & (rows.back_packets == 0))
    return mask


def _odd_answers(rows: Rows) -> Mask:
    """Unanswered datagrams from a server's port to ports from which nothing is asked: no answers, whatever they say."""
    alone = (rows.protocol == _UDP) & (rows.back_packets == 0) & (rows.packets <= _PROBE_PACKETS[_UDP])
    low = (rows.source_port > 0) & (rows.source_port < 1024) & (rows.port > 0) & (rows.port < 1024)
    mask: Mask = alone & low & (rows.source_port != rows.port)
    return mask


def _begun(rows: Rows) -> Mask:
    """Rows with which a conversation begins: one that goes on is cut into a row every few seconds.

    Where no flags are known (or the shortest headers are missing) every row counts as one.
    """
    flags = rows.flags
    unknown = (
        sum((flags[name] for name in ("syn", "ack", "rst", "back_syn", "back_ack", "back_rst")), flags["fin"]) == 0
    )
    mask: Mask = (rows.protocol != _TCP) | (flags["syn"] + flags["back_syn"] > 0) | unknown
    return mask


def _busy_sources(table: Table) -> Mask:
    """When there is too much: sources of a single probe go first (a spoofed flood), then the quietest pairs."""
    _, inverse, count = np.unique(table["source_hash"], return_inverse=True, return_counts=True)
    weight = np.where(table["probes"] > 0, count[inverse] * 1000, 0) + np.minimum(table["sent"] + table["got"], 10**9)
    kept = np.zeros(len(weight), bool)
    kept[np.argsort(-weight, kind="stable")[: _MOST_PAIRS // 2]] = True
    return kept


def _merged(parts: list[Table]) -> Table:
    """Windows as one: one row for each (source, destination, port, protocol)."""
    if len(parts) == 1:
        return parts[0]
    table = stacked(parts)
    ends = (table["source_hash"], table["destination_hash"], table["port"], table["protocol"])
    return grouped(table | {"key": joined(*ends)}, _SHAPE)


def _groups(table: Table, by: tuple[str, ...]) -> Table:
    """Rows summed by some of their columns; `rows` counts them and `probed` those that have a probe."""
    if not table or not len(table["key"]):
        return {}
    ones = np.ones(len(table["key"]), np.int64)
    more = {"rows": ones, "probed": (table["probes"] > 0).astype(np.int64)}
    more["odd_ports"] = (table["odd"] > 0).astype(np.int64)
    key = table[by[0]] if len(by) == 1 else joined(*(table[name] for name in by))
    shape = Shape(_SHAPE.keys, (*_COUNTS, "rows", "probed", "odd_ports"), _SHAPE.lows, _SHAPE.highs)
    return grouped(table | more | {"key": key}, shape)


def _strongest(many: Mask, groups: Table) -> list[int]:
    """The rows that are told of one window: at most 500, those that tried the most."""
    rows = np.flatnonzero(many)
    order = np.argsort(-groups["probed"][rows], kind="stable")[:_MOST_HITS]
    return [int(row) for row in rows[order]]


def _ends(groups: Table, index: int) -> tuple[str, str, int]:
    source, destination = groups["source"][index].decode(), groups["destination"][index].decode()
    return source, destination, int(groups["protocol"][index])


def _times(groups: Table, index: int) -> tuple[int, int]:
    return int(groups["first"][index]), int(groups["last"][index])


def _share(name: str, part: int, whole: int, rule: Rule, of: str) -> Evidence:
    return Evidence(name, round(part / max(whole, 1), 3), rule.thresholds[name], "", f"of the {of} it talked to")


def _first_few(ports: Column) -> str:
    shown = ", ".join(str(port) for port in ports[:_TOLD].tolist())
    return shown + (", ..." if len(ports) > _TOLD else "")


def _deviation(square: float, mean: float, count: int) -> float:
    """Standard deviation by mean, from the sum of squares."""
    return float(np.sqrt(max(square / count - mean * mean, 0.0)) / max(mean, 1.0))
