"""The Shield over verdict tables, the same for the kernel and for the user-space twin.

Called by `xdp.kernel` and `twin`, which bring the tables. In: records of the contracts. Out: the same. Leaves
attaching, rings and flow tables to them.
"""

import dataclasses
import errno
from collections.abc import Iterator, Mapping
from typing import Protocol

import pyarrow as pa

from loomidi.contracts.errors import Refused, Retryable
from loomidi.contracts.ports import Deny, DenyState
from loomidi.contracts.records import Match
from loomidi.loom.capture import layouts, own_limits, verdicts
from loomidi.loom.capture.layouts import Enabled

_VERDICTS = {layouts.TUPLES: Enabled.TUPLES, layouts.HOSTS: Enabled.HOSTS, layouts.CIDRS: Enabled.CIDRS}
_ONE = (1).to_bytes(4, "little")


class Tables(Protocol):
    """What a data plane offers. Adapters: kernel maps, the C twin."""

    control: layouts.Control  # live: a store is seen by the next packet

    def lookup(self, table: str, key: bytes) -> bytes | None:
        """The value, or None."""

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Write one element. Raises OSError(E2BIG) when full."""

    def delete(self, table: str, key: bytes) -> bool:
        """False when there was none."""

    def items(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All elements."""

    def raw(self, table: str) -> tuple[bytes, bytes]:
        """All keys and all values, each one after the other."""

    def counts(self) -> list[layouts.Count]:
        """One per reason, summed over CPUs."""

    def untold(self) -> int:
        """Suspects that found the ring full."""

    def now_ns(self) -> int:
        """The clock that packets are stamped with."""

    def enable(self, bits: int) -> None:
        """Set bits of `control.enabled`, atomically."""


class TableShield:
    """Verdicts, protected set, counters, generations. Entries end by themselves; dead ones make room."""

    def __init__(self, name: str, rung: str, tables: Tables, offset_ns: int) -> None:
        """`offset_ns`: from the data plane's clock to the epoch."""
        self.name = name
        self.rung = rung
        self.offset_ns = offset_ns
        self.tables = tables

    def deny(self, deny: Deny) -> None:
        """Write one entry (or replace it, its counters kept). Takes effect with the next packet.

        Raises UsageError for an entry that makes no sense, Refused while disarmed for good, Retryable when the table is
        full of live entries.
        """
        generation = self.tables.control.generation
        if generation == layouts.FOREVER:
            raise Refused(f"{self.name} is disarmed: no entry counts until `loomidi shield arm {self.name}`")
        table, key = verdicts.place(deny.match)
        entry = verdicts.verdict_of(deny, table, key, self.tables.now_ns(), generation)
        self._keep_counters(table, key, entry)
        self._write(table, key, bytes(entry))
        self.tables.enable(_VERDICTS[table])

    def remove(self, match: Match) -> bool:
        """Remove one entry. False when there was none."""
        return self.tables.delete(*verdicts.place(match))

    def allow(self, prefix: str) -> None:
        """Add an address or CIDR to the protected set: its packets always pass."""
        self._write(layouts.PROTECTED, verdicts.prefix_key(verdicts.network_of(prefix)), _ONE)
        self.tables.enable(Enabled.PROTECTED)

    def disallow(self, prefix: str) -> bool:
        """Take an address or CIDR out of the protected set."""
        return self.tables.delete(layouts.PROTECTED, verdicts.prefix_key(verdicts.network_of(prefix)))

    def entries(self) -> list[DenyState]:
        """All verdict entries, live and dead."""
        now = self._now()
        return [
            verdicts.state_of(table, key, value, now) for table in _VERDICTS for key, value in self.tables.items(table)
        ]

    def entry(self, match: Match) -> DenyState | None:
        """The entry of exactly this match, live or dead."""
        table, key = verdicts.place(match)
        value = self.tables.lookup(table, key)
        return None if value is None else verdicts.state_of(table, key, value, self._now())

    def protected(self) -> list[str]:
        """The protected set as CIDRs."""
        return sorted(verdicts.prefix_text(key) for key, _ in self.tables.items(layouts.PROTECTED))

    def sweep(self) -> int:
        """Remove dead entries; returns how many."""
        dead = [state.deny.match for state in self.entries() if not state.live]
        ended = [own.watched for own in self.own_limits() if not own.live]
        return sum(self.remove(match) for match in dead) + sum(map(self.unlimit, ended))

    def watch(self, watch: verdicts.Watch | None) -> None:
        """Set the thresholds of the short windows; None stops counting."""
        control = self.tables.control
        if watch is None:
            control.enabled &= ~Enabled.WATCHING
            return
        control.window_ns = round(watch.window_s * 1e9)
        control.source = verdicts.limits_of(watch.source)
        control.service = verdicts.limits_of(watch.service)
        self.tables.enable(Enabled.WATCHING)

    def watching(self) -> verdicts.Watch | None:
        """The thresholds in force for all that have none of their own; None when nothing is counted."""
        control = self.tables.control
        if not control.enabled & Enabled.WATCHING:
            return None
        source, service = own_limits.plain_limits(control.source), own_limits.plain_limits(control.service)
        return verdicts.Watch(control.window_ns / 1e9, source, service)

    def limit(
        self, watched: own_limits.Watched, limits: verdicts.Limits, ttl_s: float, rule_id: int = 0
    ) -> own_limits.OwnLimits:
        """Give one source or service thresholds of its own, until `ttl_s` has passed. Counts with the next packet.

        Raises UsageError for thresholds that make no sense, Retryable when the table is full of live ones.
        """
        key, now_ns = own_limits.key_of(watched), self.tables.now_ns()
        value = own_limits.value_of(limits, ttl_s, now_ns, rule_id)
        self._write(layouts.OWN_LIMITS, key, value)
        self.tables.enable(Enabled.OWN_LIMITS)
        return own_limits.own_limits_of(key, value, now_ns, self.offset_ns)

    def unlimit(self, watched: own_limits.Watched) -> bool:
        """Back to the thresholds of all. False when it had none of its own."""
        return self.tables.delete(layouts.OWN_LIMITS, own_limits.key_of(watched))

    def own_limits(self) -> list[own_limits.OwnLimits]:
        """All thresholds of single sources and services, live and dead."""
        now_ns = self.tables.now_ns()
        found = self.tables.items(layouts.OWN_LIMITS)
        return [own_limits.own_limits_of(key, value, now_ns, self.offset_ns) for key, value in found]

    def attuned(self) -> Mapping[str, Mapping[str, float]]:
        """The live ones of them as the fast lane's detectors take them (`SuspectDetectors.attune`)."""
        window_s = self.tables.control.window_ns / 1e9
        live = [own for own in self.own_limits() if own.live] if window_s else []
        return {own.watched.text: dataclasses.asdict(own.limits) | {"window_s": window_s} for own in live}

    def windows(self) -> pa.RecordBatch:
        """The short-window counters of all that is watched (schema `own_limits.WINDOWS`)."""
        keys, values = self.tables.raw(layouts.WATCH)
        return own_limits.windows_of(keys, values, self.tables.now_ns(), self.tables.control.window_ns)

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """reason -> (packets, octets), summed over CPUs. Every packet is in exactly one."""
        counts = self.tables.counts()
        return {reason.name.lower(): (counts[reason].packets, counts[reason].octets) for reason in layouts.Reason}

    def untold(self) -> int:
        """How often a suspect could not be told since the ring was full; it is told again with the next packets."""
        return self.tables.untold()

    def disarm(self, *, for_good: bool = False) -> None:
        """Turn every verdict entry off with one 8-byte write (a new generation).

        `for_good`: no later entry counts either, and `deny` refuses, until `arm`.
        """
        control = self.tables.control
        control.generation = layouts.FOREVER if for_good else control.generation + 1

    def arm(self) -> None:
        """After `disarm(for_good=True)`: entries written from now on count; what was turned off stays off."""
        control = self.tables.control
        if control.generation == layouts.FOREVER:
            newest = max((state.generation for state in self.entries()), default=0)
            control.generation = newest + 1

    def _now(self) -> tuple[int, int, int]:
        return self.tables.now_ns(), self.offset_ns, self.tables.control.generation

    def _keep_counters(self, table: str, key: bytes, entry: layouts.Verdict) -> None:
        before = self.tables.lookup(table, key)
        if before is None:
            return
        old = layouts.Verdict.from_buffer_copy(before)
        for name in ("first_hit_ns", "last_hit_ns", "dropped", "octets", "passed"):
            setattr(entry, name, getattr(old, name))

    def _write(self, table: str, key: bytes, value: bytes) -> None:
        try:
            self.tables.update(table, key, value)
        except OSError as error:
            if error.errno not in (errno.E2BIG, errno.ENOSPC):
                raise
            if table in (*_VERDICTS, layouts.OWN_LIMITS) and self.sweep():
                return self._write(table, key, value)
            raise Retryable(f"{self.name}: the table {table} is full of live entries; remove some or wait") from error
