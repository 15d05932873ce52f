"""Who is known to behave, what was answered already, and which networks a forged flood can be slowed by without them.

Called by `fastlane` with every drained batch and, during a flood that names no source, for the prefixes to slow.
In: flow batches (schema `FLOWS`). Out: addresses and CIDRs as text. Pure but for what it remembers, which is bounded.
Nobody becomes protected by being known: it only keeps a reflex from cutting a peer whose address may be forged.
"""

import dataclasses
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from loomidi.contracts import Finding

_TCP = 6
_ALONE = 0.9  # of what begins and ends at nothing: who sends that much is not one of many
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True, slots=True)
class KnowingSettings:
    """When a peer counts as known, and how coarse a slowed network may be."""

    conversations: int = 3
    # Complete TCP conversations with data before a peer is known.
    peers: int = 65536
    # Remembered at most; the least recently seen goes first.
    widest_v4: int = 12
    widest_v6: int = 29
    # Shortest prefix that may be slowed as a whole.
    narrowest_v4: int = 24
    narrowest_v6: int = 64
    # Longest prefix: below it a network is as good as one customer.
    most: int = 16
    # Prefixes for one flood; the heaviest are kept.
    share: float = 0.02
    # 0..1 of the flood that a prefix must carry to be slowed at all: a passer-by does not.
    senders: int = 16
    # Distinct senders within a prefix; fewer are dealt with one by one.


class KnownPeers:
    """Addresses that have completed conversations, with how many."""

    def __init__(self, settings: KnowingSettings | None = None) -> None:
        self._settings = settings or KnowingSettings()
        self._seen: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def knows(self, address: str) -> bool:
        """Whether this address has behaved often enough."""
        return self._seen.get(address, 0) >= self._settings.conversations

    def known(self) -> list[str]:
        """All addresses that count as known."""
        return [address for address in self._seen if self.knows(address)]

    def add(self, address: str) -> None:
        """One more complete conversation."""
        self._seen[address] = self._seen.pop(address, 0) + 1
        if len(self._seen) > self._settings.peers:
            self._seen.popitem(last=False)

    def learn(self, batch: pa.RecordBatch) -> None:
        """Count the complete TCP conversations of a batch for their initiators."""
        import pyarrow.compute as pc

        def positive(name: str) -> Any:
            return pc.greater(batch.column(name), 0)

        tcp = pc.equal(batch.column("protocol_identifier"), _TCP)
        whole = pc.and_(pc.and_(tcp, positive("tcp_syn_total_count")), positive("tcp_fin_total_count"))
        whole = pc.and_(whole, positive("payload_octet_count"))
        for address in batch.column("source_ip_address").filter(whole).to_pylist():
            self.add(address)


class Answered:
    """Findings of flows that were answered, each up to its last packet then."""

    def __init__(self, most: int) -> None:
        """`most`: findings remembered; the one that was answered longest ago goes first."""
        self._most = most
        self._last_ns: OrderedDict[str, int] = OrderedDict()

    def grown(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those that are new or have gone on since: who looks at open windows is told all of them again."""
        grown = [finding for finding in findings if finding.last_ns > self._last_ns.get(finding.id, 0)]
        for finding in grown:
            self._last_ns[finding.id] = finding.last_ns
            self._last_ns.move_to_end(finding.id)
        while len(self._last_ns) > self._most:
            self._last_ns.popitem(last=False)
        return grown


def senders(batch: pa.RecordBatch, destination: str, port: int) -> Counter[str]:
    """source -> packets of the flows of a batch towards one service that never got as far as data."""
    import pyarrow.compute as pc

    there = pc.equal(batch.column("destination_ip_address"), destination)
    there = pc.and_(there, pc.equal(batch.column("destination_transport_port"), port))
    silent = pc.and_(there, pc.equal(batch.column("tcp_fin_total_count"), 0))
    chosen = batch.filter(silent)
    packets: Counter[str] = Counter()
    for source, count in zip(
        chosen.column("source_ip_address").to_pylist(), chosen.column("packet_delta_count").to_pylist(), strict=True
    ):
        packets[source] += count
    return packets


def alone(packets: Counter[str], finding: Finding) -> str:
    """Who sends a flood of a service nearly alone, of what `senders` counted; none where they are many or few packets.

    A service whose own thresholds are below those of a source is told first, and not by whom."""
    told = next((fact.value for fact in finding.evidence if fact.name == "packets"), 0)
    heaviest, most = next(iter(packets.most_common(1)), ("", 0))
    return heaviest if most >= max(_ALONE * packets.total(), float(told) / 2, 1) else ""


def covering(
    packets: Counter[str], spared: Iterable[Network], settings: KnowingSettings | None = None
) -> list[tuple[str, int]]:
    """The few prefixes that hold the senders and nobody who is to be spared, heaviest first, with their packets.

    Each is the longest prefix that still holds all senders found inside; where a spared address lies within, it is
    halved until it does not, and given up at the narrowest prefix. Senders that cannot be told apart stay untouched.
    """
    settings = settings or KnowingSettings()
    spared = list(spared)
    found: list[tuple[str, int]] = []
    for version, bits, widest, narrowest in (
        (4, 32, settings.widest_v4, settings.narrowest_v4),
        (6, 128, settings.widest_v6, settings.narrowest_v6),
    ):
        numbers = sorted((int(a), n) for a, n in _parsed(packets) if a.version == version)
        keep = [(int(n.network_address), int(n.broadcast_address)) for n in spared if n.version == version]
        for base, length, weight in _split(numbers, keep, (bits, widest, narrowest, settings.senders)):
            found.append((str(ipaddress.ip_network((base, length))), weight))
    least = settings.share * packets.total()
    heavy = [pair for pair in found if pair[1] >= least]
    return sorted(heavy, key=lambda pair: -pair[1])[: settings.most]


def _parsed(packets: Counter[str]) -> Iterable[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    return ((ipaddress.ip_address(address), count) for address, count in packets.items())


def _split(
    numbers: Sequence[tuple[int, int]], keep: Sequence[tuple[int, int]], limits: tuple[int, int, int, int]
) -> list[tuple[int, int, int]]:
    """(base, prefix length, packets) of the prefixes. `limits`: bits, widest, narrowest, fewest."""
    if not numbers:
        return []
    bits, widest, narrowest, fewest = limits
    low, high = numbers[0][0], numbers[-1][0]
    length = min(bits - (low ^ high).bit_length(), narrowest)
    base = low >> (bits - length) << (bits - length)
    top = base | ((1 << (bits - length)) - 1)
    if len(numbers) < fewest:
        return []
    if length >= widest and not any(first <= top and last >= base for first, last in keep):
        return [(base, length, sum(count for _, count in numbers))]
    if length >= narrowest:
        return []
    middle = base | (1 << (bits - length - 1))
    lower, upper = [n for n in numbers if n[0] < middle], [n for n in numbers if n[0] >= middle]
    return _split(lower, keep, limits) + _split(upper, keep, limits)
