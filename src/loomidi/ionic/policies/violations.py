"""What policies have refused or reported, added up: one entry for each kind of violation, never more than a limit.

Called by `reports` and `decisions`. In: single violations. Out: for each policy its entries and how many found no room.
Lives in memory, bounded whatever comes: kinds are capped for each policy and texts are cut.
"""

import dataclasses
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

MOST_KINDS = 1000  # of a policy; an entry takes about half a KiB
MOST_POLICIES = 1000  # that are kept apart
MOST_IN_ALL = 50_000  # kinds of all policies; with the longest texts some 70 MiB
_TEXT = 300  # characters of a rule, a resource, a message
_BEYOND = f"more than {MOST_KINDS} kinds of a policy, or {MOST_IN_ALL} of all; these are counted only"


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """One that was seen, or several of a kind that were."""

    policy: str
    rule: str
    resource: str  # kind namespace/name, or what else was judged
    message: str
    source: str  # opa, gatekeeper, or who wrote the report
    at_ns: int  # when it was seen last
    count: int = 1


@dataclasses.dataclass(slots=True)
class _Entry:
    count: int
    first_ns: int
    last_ns: int


class _OfPolicy:
    """The kinds of one policy."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str, str, str], _Entry] = {}
        self.beyond = 0

    def add(self, key: tuple[str, str, str, str], found: Violation, *, room: bool) -> bool:
        """Whether it is a new kind."""
        entry = self.entries.get(key)
        if entry is not None:
            entry.count += found.count
            entry.first_ns = min(entry.first_ns, found.at_ns)
            entry.last_ns = max(entry.last_ns, found.at_ns)
        elif room and len(self.entries) < MOST_KINDS:
            self.entries[key] = _Entry(found.count, found.at_ns, found.at_ns)
            return True
        else:
            self.beyond += found.count
        return False


class Tally:
    """Sums of violations. May be used by several threads."""

    def __init__(self) -> None:
        self._policies: dict[str, _OfPolicy] = {}
        self._lock = threading.Lock()
        self._kinds = 0
        self.strangers = 0  # of policies for which there was no room

    def add(self, found: Iterable[Violation]) -> int:
        """Add them. Returns how many."""
        count = 0
        for one in found:
            count += one.count
            with self._lock:
                self._add(one)
        return count

    def _add(self, one: Violation) -> None:
        held = self._policies.get(one.policy)
        if held is None:
            if len(self._policies) >= MOST_POLICIES:
                self.strangers += one.count
                return
            held = self._policies[one.policy] = _OfPolicy()
        key = (one.rule[:_TEXT], one.resource[:_TEXT], one.message[:_TEXT], one.source[:_TEXT])
        self._kinds += held.add(key, one, room=self._kinds < MOST_IN_ALL)

    def of(self, policy: str) -> tuple[list[dict[str, Any]], int]:
        """The entries of a policy, the newest first, and how many violations had no room."""
        with self._lock:
            held = self._policies.get(policy)
            if held is None:
                return [], 0
            rows = sorted(held.entries.items(), key=lambda row: -row[1].last_ns)
            return [_told(key, entry) for key, entry in rows], held.beyond


def _told(key: tuple[str, str, str, str], entry: _Entry) -> dict[str, Any]:
    rule, resource, message, source = key
    told = {"rule": rule, "resource": resource, "message": message, "source": source, "count": entry.count}
    return told | {"first_seen": moment(entry.first_ns), "last_seen": moment(entry.last_ns)}


def moment(at_ns: int) -> str:
    """RFC 3339, to the millisecond."""
    at = datetime.fromtimestamp(at_ns / 1e9, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary(tallies: Iterable[Tally], policy: str) -> dict[str, Any]:
    """What several tallies hold of a policy, as the API tells it; together no more than one may hold."""
    found: list[dict[str, Any]] = []
    beyond = 0
    for tally in tallies:
        entries, more = tally.of(policy)
        found, beyond = found + entries, beyond + more
    found.sort(key=lambda entry: str(entry["last_seen"]), reverse=True)
    beyond += sum(entry["count"] for entry in found[MOST_KINDS:])
    told: dict[str, Any] = {"violations": found[:MOST_KINDS]}
    if beyond:
        told["violations_beyond"] = {"count": beyond, "reason": _BEYOND}
    return told
