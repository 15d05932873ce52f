"""Between the records of the contracts and the octets of the verdict tables.

Called by `shielding` (kernel and twin alike). In: `Deny`, prefixes, thresholds, raw keys and values. Out: keys and
values as the data plane reads them, `DenyState` and `Suspect` with epoch times and text addresses. Pure.
"""

import dataclasses
import ipaddress
import math
import sys

from loomidi.contracts.errors import UsageError
from loomidi.contracts.ports import Deny, DenyState, Suspect
from loomidi.contracts.records import Match
from loomidi.loom.capture import layouts

TOKEN = 10**9  # one packet, in the bucket's unit
_ORDER = sys.byteorder
_MAPPED = b"\0" * 10 + b"\xff\xff"
_TABLES = {layouts.TUPLES: "tuple", layouts.HOSTS: "host", layouts.CIDRS: "cidr"}
_CAUSES = {
    layouts.Cause.PACKETS: "packets",
    layouts.Cause.SYNS: "syns",
    layouts.Cause.PORTS: "ports",
    layouts.Cause.OCTETS: "octets",
}
_MOST_U32 = 2**32 - 1

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of one short window; 0 turns one off. `peers`: hosts of a source, sources of a service."""

    packets: int = 0
    octets: int = 0
    syns: int = 0
    ports: int = 0
    peers: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """When the data plane tells a suspect. The detectors judge; these only wake them."""

    window_s: float = 0.25
    # Short: a scan of 25 ports or a flood of 200 SYNs is told within it.
    source: Limits = Limits(packets=2_500, octets=25_000_000, syns=40, ports=20, peers=30)
    # 10 k packets/s, 100 MB/s, 160 SYNs/s, 20 ports or 30 hosts within one window: above what one client does.
    service: Limits = Limits(packets=10_000, octets=100_000_000, syns=200, peers=200)
    # What a service sees from all together: spoofed floods show up here and nowhere else.


DEFAULT_WATCH = Watch()


def network_of(text: str) -> Network:
    """Address or CIDR, host bits ignored. Raises UsageError for anything else."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(f"{text!r} is neither an address nor a CIDR; write 192.0.2.7 or 192.0.2.0/24") from error
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped and network.prefixlen >= 96:
        return ipaddress.ip_network((int(mapped), network.prefixlen - 96))
    return network


def address_of(text: str) -> bytes:
    """16 octets of one address. Raises UsageError."""
    network = network_of(text)
    if network.prefixlen != network.max_prefixlen:
        raise UsageError(f"{text!r} is a CIDR where one address is needed")
    return _packed(network)


def _packed(network: Network) -> bytes:
    packed = network.network_address.packed
    return _MAPPED + packed if len(packed) == 4 else packed


def text_of(address: bytes) -> str:
    """Text of 16 octets; v4-mapped as IPv4."""
    if address[:12] == _MAPPED:
        return ".".join(str(octet) for octet in address[12:])
    return str(ipaddress.IPv6Address(address))


def prefix_key(network: Network) -> bytes:
    """Key of the longest-prefix tables."""
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return bits.to_bytes(4, _ORDER) + _packed(network)


def prefix_text(key: bytes) -> str:
    """The CIDR of such a key."""
    bits, address = int.from_bytes(key[:4], _ORDER), key[4:20]
    if address[:12] == _MAPPED and bits >= 96:
        return f"{text_of(address)}/{bits - 96}"
    return f"{ipaddress.IPv6Address(address)}/{bits}"


def place(match: Match) -> tuple[str, bytes]:
    """(table, key) of a match. Raises UsageError for one that no table can hold."""
    rest = (match.destination, match.source_port, match.destination_port, match.protocol)
    if match.source and not any(rest):
        network = network_of(match.source)
        if network.prefixlen == network.max_prefixlen:
            return layouts.HOSTS, _packed(network)
        return layouts.CIDRS, prefix_key(network)
    if not (match.source and match.destination and match.protocol):
        raise UsageError(
            "an entry needs a source alone, or source, destination and protocol (with ports, if it has any)"
        )
    key = layouts.Tuple(source_port=match.source_port, destination_port=match.destination_port, protocol=match.protocol)
    return layouts.TUPLES, address_of(match.source) + address_of(match.destination) + bytes(key)[32:]


def match_of(table: str, key: bytes) -> Match:
    """The match that `place` would put there."""
    if table == layouts.HOSTS:
        return Match(source=text_of(key))
    if table == layouts.CIDRS:
        return Match(source=prefix_text(key))
    exact = layouts.Tuple.from_buffer_copy(key)
    ports = (exact.source_port, exact.destination_port, exact.protocol)
    return Match(text_of(key[:16]), text_of(key[16:32]), *ports)


def verdict_of(deny: Deny, table: str, key: bytes, now_ns: int, generation: int) -> layouts.Verdict:
    """The entry to write. Raises UsageError for one without an end, rate or known action."""
    if not (math.isfinite(deny.ttl_s) and 0 < deny.ttl_s <= 10 * 365 * 86400):
        raise UsageError(f"a time to live of {deny.ttl_s:g} s makes no sense; every entry needs an end, such as 60s")
    if deny.action not in ("drop", "rate", "count"):
        raise UsageError(f"unknown action {deny.action!r}; use drop, rate or count")
    if deny.action == "rate" and not (0 < deny.rate_pps <= _MOST_U32 and 0 < deny.burst <= _MOST_U32):
        raise UsageError("a rate needs packets per second and a burst of at least 1")
    return layouts.Verdict(
        expires_ns=now_ns + round(deny.ttl_s * 1e9),
        generation=generation,
        tokens=deny.burst * TOKEN,
        refilled_ns=now_ns,
        rule_id=deny.rule_id & _MOST_U32,
        rate_pps=deny.rate_pps,
        burst=deny.burst,
        action=layouts.Action[deny.action.upper()],
        prefix=int.from_bytes(key[:4], _ORDER) if table == layouts.CIDRS else 0,
    )


def state_of(table: str, key: bytes, value: bytes, now: tuple[int, int, int]) -> DenyState:
    """An entry read back. `now`: the data plane's time, its offset to the epoch, its generation."""
    now_ns, offset_ns, generation = now
    entry = layouts.Verdict.from_buffer_copy(value)
    action = layouts.Action(entry.action).name.lower()
    ttl_s = max(0, entry.expires_ns - now_ns) / 1e9
    deny = Deny(match_of(table, key), action, ttl_s, entry.rule_id, entry.rate_pps, entry.burst)
    return DenyState(
        deny=deny,
        table=_TABLES[table],
        expires_ns=entry.expires_ns + offset_ns,
        generation=entry.generation,
        live=entry.expires_ns > now_ns and entry.generation >= generation,
        first_hit_ns=entry.first_hit_ns + offset_ns if entry.first_hit_ns else 0,
        last_hit_ns=entry.last_hit_ns + offset_ns if entry.last_hit_ns else 0,
        hits=entry.dropped + entry.passed,
        octets=entry.octets,
        dropped=entry.dropped,
    )


def sketch_bits(distinct: int) -> int:
    """Bits that so many distinct values set in a linear-counting bitmap, on average, at least 1."""
    if distinct <= 0:
        return 0
    return max(1, round(layouts.SKETCH_BITS * -math.expm1(-distinct / layouts.SKETCH_BITS)))


def distinct_of(bits_set: int) -> int:
    """The estimate back; a full bitmap gives its upper end, about 1,400."""
    clear = max(layouts.SKETCH_BITS - bits_set, 1)
    return round(layouts.SKETCH_BITS * math.log(layouts.SKETCH_BITS / clear))


def limits_of(limits: Limits) -> layouts.Limits:
    """As the data plane compares them."""
    return layouts.Limits(
        packets=limits.packets,
        syns=limits.syns,
        ports=sketch_bits(limits.ports),
        peers=sketch_bits(limits.peers),
        octets=limits.octets,
    )


def suspect_of(event: layouts.Suspect, offset_ns: int) -> Suspect:
    """A threshold crossing with epoch times and text addresses."""
    of_source = event.kind == layouts.WatchKind.SOURCE
    reasons = [name for cause, name in _CAUSES.items() if event.causes & cause]
    if event.causes & layouts.Cause.PEERS:
        reasons.append("hosts" if of_source else "sources")
    packet, seen = event.tuple, event.seen
    return Suspect(
        kind="source" if of_source else "service",
        reasons=tuple(reasons),
        at_ns=event.at_ns + offset_ns,
        first_ns=seen.from_ns + offset_ns,
        source=text_of(bytes(packet.source)),
        destination=text_of(bytes(packet.destination)),
        source_port=packet.source_port,
        destination_port=packet.destination_port,
        protocol=packet.protocol,
        packets=seen.packets,
        octets=seen.octets,
        syns=seen.syns,
        ports=distinct_of(seen.ports_set),
        hosts=distinct_of(seen.peers_set),
    )
