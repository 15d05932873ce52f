"""A data plane in memory: the Shield Protocol without packets, a kernel or root.

Called by tests and dry runs of any house. Entries end by its clock, generations turn them off, protected addresses
pass, and every packet told to `packet` is counted once, as in the kernel. With `path`, entries outlive the process as
pinned maps do, so that crashes can be tested. Flows are left to the twin: `drain` gives none.
"""

import dataclasses
import ipaddress
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from loomidi.contracts import EnvironmentLacks, Match, UsageError
from loomidi.contracts.ports import Deny, DenyState, Suspect
from loomidi.kit.clock import Clock, SystemClock


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """As much of a packet as a verdict needs."""

    source: str
    destination: str = "192.0.2.1"
    source_port: int = 40000
    destination_port: int = 80
    protocol: int = 6
    octets: int = 60


class FakeShield:
    """In-memory adapter of `contracts.ports.Shield`."""

    rung = "fake"

    def __init__(
        self, name: str = "fake0", *, clock: Clock | None = None, capacity: int = 1024, path: Path | None = None
    ) -> None:
        """`capacity`: entries before the table is full. `path`: where entries are kept, as one JSON file."""
        self.name = name
        self._clock = clock or SystemClock()
        self._capacity = capacity
        self._path = path
        self._entries: dict[Match, DenyState] = {}
        self._protected: dict[str, None] = {}
        self._generation = 1
        self._suspects: list[Suspect] = []
        self._counters = {"accounted": (0, 0), "drop": (0, 0)}
        self._load()

    def deny(self, deny: Deny) -> None:
        """Write one entry (or replace it). Raises UsageError for a match no table has, EnvironmentLacks when full."""
        if deny.ttl_s <= 0:
            raise UsageError(f"ttl {deny.ttl_s:g} s: an entry needs an end after now")
        match = normal(deny.match)
        table = table_of(match)
        if match not in self._entries and len(self._entries) >= self._capacity:
            raise EnvironmentLacks(f"{self.name}: the {table} table is full ({self._capacity} entries); remove some")
        expires_ns = self._clock.now_ns() + round(deny.ttl_s * 1e9)
        entry = dataclasses.replace(deny, match=match)
        self._entries[match] = DenyState(entry, table, expires_ns, self._generation, True, 0, 0, 0, 0, 0)
        self._save()

    def remove(self, match: Match) -> bool:
        """Remove one entry. False when there was none."""
        found = self._entries.pop(normal(match), None)
        self._save()
        return found is not None

    def allow(self, prefix: str) -> None:
        """Add to the protected set."""
        self._protected[str(ipaddress.ip_network(prefix, strict=False))] = None

    def disallow(self, prefix: str) -> bool:
        """Take out of the protected set."""
        return self._protected.pop(str(ipaddress.ip_network(prefix, strict=False)), "absent") is None

    def entries(self) -> list[DenyState]:
        """All entries, live and dead."""
        return [dataclasses.replace(state, live=self._live(state)) for state in self._entries.values()]

    def entry(self, match: Match) -> DenyState | None:
        """The entry of exactly this match, live or dead."""
        state = self._entries.get(normal(match))
        return dataclasses.replace(state, live=self._live(state)) if state else None

    def protected(self) -> list[str]:
        """The protected set as CIDRs."""
        return list(self._protected)

    def suspects(self, timeout_s: float) -> list[Suspect]:
        """What `suspect` was told since the last call; never waits."""
        told, self._suspects = self._suspects, []
        return told

    def suspect(self, suspect: Suspect) -> None:
        """Let a threshold be crossed."""
        self._suspects.append(suspect)

    def drain(self) -> Iterator[pa.RecordBatch]:
        """No flows."""
        yield from ()

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """reason -> (packets, octets)."""
        return dict(self._counters)

    def disarm(self) -> None:
        """A new generation: every entry is off."""
        self._generation += 1
        self._save()

    def close(self) -> None:
        """Nothing to let go of."""

    def packet(self, packet: Packet) -> bool:
        """Let one packet come. True when it passed. A `rate` entry lets `burst` packets through in all."""
        state = self._matching(packet)
        dropped = state is not None and self._hit(state, packet)
        reason = "drop" if dropped else "accounted"
        packets, octets = self._counters[reason]
        self._counters[reason] = (packets + 1, octets + packet.octets)
        return not dropped

    def _matching(self, packet: Packet) -> DenyState | None:
        source = ipaddress.ip_address(packet.source)
        if any(source in ipaddress.ip_network(prefix) for prefix in self._protected):
            return None
        exact = Match(packet.source, packet.destination, packet.source_port, packet.destination_port, packet.protocol)
        for match in (normal(exact), Match(source=str(source))):
            if (state := self._entries.get(match)) and self._live(state):
                return state
        covering = [s for s in self._entries.values() if s.table == "cidr" and self._live(s)]
        covering = [s for s in covering if source in ipaddress.ip_network(s.deny.match.source)]
        return max(covering, key=lambda s: ipaddress.ip_network(s.deny.match.source).prefixlen, default=None)

    def _hit(self, state: DenyState, packet: Packet) -> bool:
        now_ns = self._clock.now_ns()
        over = state.deny.action == "drop" or (state.deny.action == "rate" and state.hits >= state.deny.burst)
        self._entries[state.deny.match] = dataclasses.replace(
            state,
            first_hit_ns=state.first_hit_ns or now_ns,
            last_hit_ns=now_ns,
            hits=state.hits + 1,
            octets=state.octets + packet.octets,
            dropped=state.dropped + over,
        )
        return over

    def _live(self, state: DenyState) -> bool:
        return state.expires_ns > self._clock.now_ns() and state.generation == self._generation

    def _save(self) -> None:
        if self._path is None:
            return
        kept = [dataclasses.asdict(state) for state in self._entries.values()]
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"generation": self._generation, "entries": kept}), encoding="utf-8")
        fresh.replace(self._path)

    def _load(self) -> None:
        if self._path is None or not self._path.exists():
            return
        kept = json.loads(self._path.read_text(encoding="utf-8"))
        self._generation = kept["generation"]
        for row in kept["entries"]:
            deny = row.pop("deny")
            match = Match(**deny.pop("match"))
            self._entries[match] = DenyState(Deny(match, **deny), **row)


def normal(match: Match) -> Match:
    """The match with its addresses in their shortest form. Raises UsageError for what is no address."""
    try:
        source = _short(match.source)
        return dataclasses.replace(match, source=source, destination=_short(match.destination))
    except ValueError as error:
        raise UsageError(f"{error}; give an address or a CIDR") from error


def table_of(match: Match) -> str:
    """tuple, host or cidr. Raises UsageError for a match that no table can hold."""
    rest = (match.destination, match.source_port, match.destination_port, match.protocol)
    if match.source and not any(rest):
        return "cidr" if "/" in match.source else "host"
    if match.source and match.destination and match.protocol and "/" not in match.source + match.destination:
        return "tuple"
    raise UsageError("an entry needs a source alone, or source, destination, ports and protocol")


def _short(text: str) -> str:
    if not text:
        return ""
    network = ipaddress.ip_network(text, strict=False)
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
