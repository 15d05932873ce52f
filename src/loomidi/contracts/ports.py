"""The Protocols at which two or more adapters exist.

Called by `services` (which picks the adapters) and by the adapters' contract suites in `tests/contracts`.
In: records and plain values. Leaves all I/O to the adapters.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from loomidi.contracts.records import Approval, Extension, FoldSpec, Match, Plan, Receipt, Step, Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Deny:
    """One verdict entry, as written to the data plane.

    Which table it goes to follows from `match`: all of source, destination, ports and protocol -> exact 5-tuple;
    a source address -> host; a source prefix -> CIDR.
    """

    match: Match
    action: str  # drop, rate, count
    ttl_s: float  # > 0; the kernel ignores the entry afterwards
    rule_id: int = 0  # 32 bit, links the entry to its plan
    rate_pps: int = 0
    burst: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class DenyState:
    """A verdict entry read back, with what it has done so far."""

    deny: Deny
    table: str  # tuple, host, cidr
    expires_ns: int  # epoch
    generation: int
    live: bool  # neither expired nor of an older generation
    first_hit_ns: int  # epoch; 0: never hit
    last_hit_ns: int
    hits: int  # packets that matched
    octets: int
    dropped: int  # packets of those that were dropped


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """A threshold crossed in the data plane: one source (or one service) in one short window."""

    kind: str  # source, service
    reasons: tuple[str, ...]  # packets, syns, ports, hosts, sources, octets
    at_ns: int  # epoch, when the crossing packet was seen
    first_ns: int  # start of the short window
    source: str  # address of the crossing packet
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    packets: int  # in the window so far
    octets: int
    syns: int
    ports: int  # estimate of distinct destination ports
    hosts: int  # estimate of distinct destination hosts (kind source) or distinct sources (kind service)


class Shield(Protocol):
    """The data plane on one interface. Adapters: the kernel (XDP or tc) and the user-space twin."""

    name: str
    rung: str  # xdp-native, xdp-generic, tc, twin

    def deny(self, deny: Deny) -> None:
        """Write one entry (or replace it). Takes effect with the next packet."""

    def remove(self, match: Match) -> bool:
        """Remove one entry. False when there was none."""

    def allow(self, prefix: str) -> None:
        """Add an address or CIDR to the protected set: its packets always pass."""

    def disallow(self, prefix: str) -> bool:
        """Take an address or CIDR out of the protected set."""

    def entries(self) -> list[DenyState]:
        """All verdict entries, live and dead."""

    def protected(self) -> list[str]:
        """The protected set as CIDRs."""

    def suspects(self, timeout_s: float) -> list[Suspect]:
        """Wait up to `timeout_s` for threshold crossings and return all that are there."""

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Switch the flow tables, absorb them and yield the flows that ended (schema `FLOWS`)."""

    def counters(self) -> Mapping[str, tuple[int, int]]:
        """reason -> (packets, octets), summed over CPUs. Every packet is in exactly one."""

    def disarm(self) -> None:
        """Turn every verdict entry off with one 8-byte write (a new generation)."""

    def close(self) -> None:
        """Let go of the handles; what is pinned stays."""


class Guard(Protocol):
    """A rule set that must allow a plan. Undefined, missing, timed out or errored: `allow` is None."""

    name: str

    def judge(self, plan: Plan, facts: Mapping[str, Any]) -> Sequence[Verdict]:
        """One verdict for every rule that was expected to answer."""


class Driver(Protocol):
    """Carries plans out on one kind of system, and takes them back."""

    name: str

    def check(self, fold: FoldSpec) -> str | None:
        """None when this driver can do it, else why not. Touches nothing."""

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """How it will be undone, computed from the state as it is now. Stored before `apply`."""

    def apply(self, plan: Plan, approval: Approval) -> Mapping[str, Any]:
        """Do it. Raises Refused when the approval does not verify."""

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Measure whether it holds: {"holds": bool, ...counters}."""

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry out the stored inverse and check that it took: {"undone": bool, ...}. Idempotent."""


class LeaseDriver(Driver, Protocol):
    """A driver that the engine drives: fenced, so that of two engines the one that began later wins."""

    def token(self) -> int:
        """The next fencing token: greater than all before it, for a lease that begins now."""

    def at_least(self, token: int) -> None:
        """Tokens to come are greater than this one, which a receipt holds."""

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """Do it. Raises Refused when the approval does not verify, or the token is not newer than the newest that had
        an effect on the target, or was taken back (`undo` knows by the inverse's `target` and `token`). 0: it begins.
        """

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """Move its end, under a token of its own. Raises Refused as `apply` does, and when it is not in force."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A receipt that is to be written."""

    plan_id: str
    step: Step
    driver: str
    inverse: Mapping[str, Any]
    detail: Mapping[str, Any]


class ReceiptStore(Protocol):
    """Where receipts are kept. Adapters: SQLite with fsync, and in memory."""

    def append(
        self, plan_id: str, step: Step, driver: str, inverse: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> Receipt:
        """Durable when it returns."""

    def append_all(self, lines: Sequence[Line], *, ended_stays: bool = False) -> list[Receipt | None]:
        """All of them by one write, or none; durable when it returns. `ended_stays`: a line of a plan that is over
        already is left out, and None stands in its place."""

    def of(self, plan_id: str) -> list[Receipt]:
        """All receipts of a plan, oldest first."""

    def open_plans(self) -> Iterable[str]:
        """Plans with an intent or applied step and no final one: what a restart has to settle."""
