"""The fast lane's detectors: one threshold crossing of the data plane in, a finding or None out.

Called by `services.fastlane` between the ring and the guard, so: plain Python, no numpy, no I/O, no allocation beyond
the finding. In: `contracts.ports.Suspect`, the counters of one source or one service in a short window. Out:
`Finding` with its evidence. A rate that is usual for this source or service is learned and then no longer told.
What a short window cannot show (beacons, slow scans, volumes) is left to the flow detectors.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts import Evidence, Finding, Severity, content_id
from loomidi.garden.graph.names import host_id, service_id
from loomidi.origami.online.baselines import Baselines, BaselineSettings
from loomidi.origami.online.rules import Rule, load_rules

if TYPE_CHECKING:  # `ports` loads pyarrow for its annotations, which the fast lane does without
    from loomidi.contracts.ports import Suspect

_TCP, _UDP, _ICMP, _DNS = 6, 17, (1, 58), 53
_SHORTEST_S = 0.05  # a burst is not extrapolated from less


@dataclasses.dataclass(frozen=True, slots=True)
class SuspectSettings:
    """How the fast lane learns."""

    baseline: BaselineSettings = dataclasses.field(default_factory=BaselineSettings)


class SuspectDetectors:
    """Judges suspects. Not thread-safe: one per fast lane."""

    def __init__(self, settings: SuspectSettings | None = None, rules: Mapping[str, Rule] | None = None) -> None:
        self._settings = settings or SuspectSettings()
        self._rules = rules or load_rules()
        self._talkative = self._rules["udp_flood"].talkative_ports
        self._logins = self._rules["brute_force"].fast_ports
        self._baselines = Baselines(self._settings.baseline)
        self._own: Mapping[str, Mapping[str, float]] = {}

    def judge(self, suspect: "Suspect") -> Finding | None:
        """A finding, or None when nothing speaks against this source or service; then its rate is learned.

        The order is from the most to the least specific reading of the same packets.
        """
        readings: tuple[Callable[[Suspect], Finding | None], ...]
        if suspect.protocol == _TCP:
            readings = (self._scan, self._brute_force, self._syn_flood, self._flag_flood)
        elif suspect.protocol == _UDP:
            readings = (self._amplification, self._scan, self._udp_flood)
        else:
            readings = (self._other_flood,)
        for reading in readings:
            finding = reading(suspect)
            if finding is not None:
                return finding
        self.learn(suspect)
        return None

    def attune(self, own: Mapping[str, Mapping[str, float]]) -> None:
        """Thresholds of single sources and services, as the data plane has them, instead of those of the rules.

        By `source/ADDRESS` or `service/ADDRESS:PORT/NUMBER`: counts in one short window, and its length `window_s`.
        They were learned within bounds; what a suspect shows is no longer learned beside them.
        """
        self._own = own

    def learn(self, suspect: "Suspect") -> None:
        """Take the rates of this window as usual for its source or service, where no thresholds of its own hold."""
        key = _key(suspect)
        if key in self._own:
            return
        self._baselines.learn(key + "|packets", _rate(suspect, suspect.packets))
        if suspect.protocol == _TCP:
            self._baselines.learn(key + "|syns", _rate(suspect, suspect.syns))

    def snapshot(self) -> dict[str, Any]:
        """What was learned, JSON-able."""
        return {"version": 1, "usual": self._baselines.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave; an unknown version starts anew."""
        if state.get("version") == 1:
            self._baselines.restore(state["usual"])

    def _limit(self, suspect: "Suspect", name: str, floor: float) -> tuple[float, str]:
        """The rate that must be exceeded, and where it comes from."""
        if own := self._own.get(_key(suspect)):
            return own[name] / own["window_s"], "; tuned to what is usual here"
        usual = self._baselines.usual(f"{_key(suspect)}|{name}")
        if usual is None or usual[1] <= floor:
            return floor, ""
        return usual[1], f"; usual here: {usual[0]:.0f}"

    def _least(self, suspect: "Suspect", name: str, rule: float) -> float:
        """The count that must be reached: its own, else the rule's."""
        own = self._own.get(_key(suspect))
        return own[name] if own else rule

    def _syn_flood(self, suspect: "Suspect") -> Finding | None:
        rule = self._rules["syn_flood"].suspect
        share = suspect.syns / max(suspect.packets, 1)
        rate = _rate(suspect, suspect.syns)
        limit, origin = self._limit(suspect, "syns", rule["rate"])
        dispersed = suspect.kind == "source" and 4 * suspect.hosts > suspect.packets  # a scan, or many peers
        if (
            suspect.syns < self._least(suspect, "syns", rule["packets"])
            or share < rule["syn_share"]
            or rate <= limit
            or dispersed
        ):
            return None
        facts = (
            Evidence("syn_rate", round(rate, 1), round(limit, 1), "packets/s", f"connection attempts {origin}"),
            Evidence("syn_share", round(share, 3), rule["syn_share"], "", "attempts that nothing follows"),
        )
        return self._finding("syn_flood", suspect, facts, rate / limit)

    def _amplification(self, suspect: "Suspect") -> Finding | None:
        rule = self._rules["amplification"]
        name = rule.ports.get(suspect.source_port)
        if name is None or suspect.destination_port in rule.ports:
            return None
        rate = _rate(suspect, suspect.packets)
        size = suspect.octets / max(suspect.packets, 1)
        limit, origin = self._limit(suspect, "packets", rule.suspect["rate"])
        floor = rule.suspect["mean_octets"]
        if suspect.kind == "source" or suspect.hosts < rule.suspect["reflectors"]:
            if suspect.source_port in self._talkative and suspect.source_port != _DNS:
                return None  # a VPN, a call: only flows show whether it was asked for
            floor = rule.suspect["dns_octets" if suspect.source_port == _DNS else "single_octets"]
        least = self._least(suspect, "packets", rule.suspect["packets"])
        if suspect.packets < least or size < floor or rate <= limit:
            return None
        facts = (
            Evidence("answer_rate", round(rate, 1), round(limit, 1), "packets/s", f"{name} answers {origin}"),
            Evidence("mean_packet_octets", round(size), floor, "octets", "size of an answer"),
            Evidence("source_port", suspect.source_port, None, "", f"{name} servers are known to be abused"),
        )
        return self._finding("amplification", suspect, facts, rate / limit)

    def _udp_flood(self, suspect: "Suspect") -> Finding | None:
        talkative = {suspect.source_port, suspect.destination_port} & self._talkative
        return self._packet_flood("udp_flood", suspect, "talkative_rate" if talkative else "rate")

    def _other_flood(self, suspect: "Suspect") -> Finding | None:
        return self._packet_flood("icmp_flood" if suspect.protocol in _ICMP else "ip_flood", suspect)

    def _packet_flood(self, pattern: str, suspect: "Suspect", floor: str = "rate") -> Finding | None:
        rule = self._rules[pattern].suspect
        rate = _rate(suspect, suspect.packets)
        limit, origin = self._limit(suspect, "packets", rule[floor])
        if suspect.packets < self._least(suspect, "packets", rule["packets"]) or rate <= limit:
            return None
        facts = (Evidence("packet_rate", round(rate, 1), round(limit, 1), "packets/s", f"packets {origin}"),)
        return self._finding(pattern, suspect, facts, rate / limit)

    def _flag_flood(self, suspect: "Suspect") -> Finding | None:
        """TCP without connections: many sources with a packet or two each, hardly any of them a SYN."""
        rule = self._rules["tcp_flag_flood"].suspect
        rate = _rate(suspect, suspect.packets)
        limit, origin = self._limit(suspect, "packets", rule["rate"])
        scattered = suspect.hosts >= rule["sources"] and suspect.packets <= 3 * suspect.hosts
        least = self._least(suspect, "packets", rule["packets"])
        wanted = suspect.kind == "service" and suspect.packets >= least and rate > limit
        if not (wanted and scattered and suspect.syns * 20 <= suspect.packets):
            return None
        facts = (
            Evidence("stray_segment_rate", round(rate, 1), round(limit, 1), "packets/s", f"segments {origin}"),
            Evidence("sources", suspect.hosts, int(rule["sources"]), "", "distinct sources, a packet or two each"),
        )
        return self._finding("tcp_flag_flood", suspect, facts, rate / limit)

    def _scan(self, suspect: "Suspect") -> Finding | None:
        if suspect.kind != "source" or (suspect.protocol == _TCP and suspect.syns * 2 < suspect.packets):
            return None
        down, across = self._rules["vertical_scan"].suspect, self._rules["horizontal_scan"].suspect
        most_hosts = self._least(suspect, "peers", across["hosts"])
        most_ports = self._least(suspect, "ports", down["ports"])
        if suspect.hosts >= most_hosts and suspect.packets <= across["packets_per_host"] * suspect.hosts:
            if suspect.destination_port in self._rules["horizontal_scan"].peer_ports or suspect.protocol == _UDP:
                return None  # peers and resolvers: whether they answer is only seen in flows
            facts = (Evidence("hosts", suspect.hosts, int(most_hosts), "", "distinct hosts in one short window"),)
            return self._finding("horizontal_scan", suspect, facts, suspect.hosts / most_hosts)
        few_hosts = suspect.ports >= 3 * max(suspect.hosts, 1)
        answers = suspect.source_port < 1024 and suspect.protocol == _UDP
        sparse = suspect.packets <= down["packets_per_port"] * suspect.ports
        if suspect.ports < most_ports or not (few_hosts and sparse) or answers:
            return None
        facts = (Evidence("ports", suspect.ports, int(most_ports), "", "distinct ports in one short window"),)
        return self._finding("vertical_scan", suspect, facts, suspect.ports / most_ports)

    def _brute_force(self, suspect: "Suspect") -> Finding | None:
        """Many new conversations of one source with one password service; a flood of SYNs is no guessing."""
        rule = self._rules["brute_force"]
        known = rule.services.get(suspect.destination_port)
        if suspect.kind != "source" or suspect.destination_port not in self._logins or known is None:
            return None
        if suspect.ports > 2 or suspect.hosts > 2:
            return None
        talks = suspect.packets >= 3 * suspect.syns  # each conversation has more than its SYN
        limit, origin = self._limit(suspect, "syns", 0.0)  # conversations per second that are usual
        if suspect.syns < rule.suspect["syns"] or not talks or _rate(suspect, suspect.syns) <= limit:
            return None
        meaning = f"new {known[0]} conversations in one short window{origin}"
        facts = (Evidence("conversations", suspect.syns, int(rule.suspect["syns"]), "", meaning),)
        return self._finding("brute_force", suspect, facts, suspect.syns / rule.suspect["syns"])

    def _finding(self, pattern: str, suspect: "Suspect", facts: tuple[Evidence, ...], excess: float) -> Finding:
        rule = self._rules[pattern]
        attacker = host_id(suspect.source)
        service = service_id(suspect.destination, suspect.destination_port, suspect.protocol)
        # Of several senders, whose packet crossed the threshold may be a bystander; who is at it crosses its own.
        spread = suspect.kind == "service" and suspect.hosts > 1
        entities = (service,) if spread else (attacker, service)
        window = Evidence("window", round(_window_s(suspect), 4), None, "s", "time in which this was counted")
        counted = Evidence("packets", suspect.packets, None, "packets", "seen in this window so far")
        peers = Evidence(
            "sources" if suspect.kind == "service" else "targets", suspect.hosts, None, "", "distinct hosts"
        )
        facts = facts if any(fact.name == peers.name for fact in facts) else (*facts, peers)
        return Finding(
            id=content_id("finding", f"{pattern} {entities[0]} {suspect.first_ns}"),
            pattern=pattern,
            techniques=rule.techniques,
            severity=Severity.MEDIUM if excess < 1.5 and rule.severity is Severity.HIGH else rule.severity,
            confidence=confidence(excess, 0.75),
            entities=entities,
            first_ns=suspect.first_ns,
            last_ns=suspect.at_ns,
            evidence=(*facts, counted, window),
            source="origami.online.suspects",
        )


def confidence(excess: float, base: float) -> float:
    """`base` at the threshold, towards 0.99 as the value exceeds it: half of the doubt is gone at three times it."""
    doubt = (1 - base) / (1 + max(excess - 1, 0) / 2)
    return round(min(0.99, 1 - doubt), 3)


def _window_s(suspect: "Suspect") -> float:
    return max((suspect.at_ns - suspect.first_ns) / 1e9, _SHORTEST_S)


def _rate(suspect: "Suspect", count: int) -> float:
    return count / _window_s(suspect)


def _key(suspect: "Suspect") -> str:
    if suspect.kind == "source":
        return f"source/{suspect.source}"
    return f"service/{suspect.destination}:{suspect.destination_port}/{suspect.protocol}"
