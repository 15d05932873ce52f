"""Asking a recording who owned an address at a moment.

Called by `loading` and `verifying`. In: the table `entities.parquet`. Out: an answer per address and time, or for whole
columns at once. Ranges (203.0.113.0/24) answer for addresses that nobody holds by themselves.
"""

import bisect
import dataclasses
import ipaddress
from typing import Any

import numpy as np
import pyarrow as pa

Row = dict[str, Any]
UNASSIGNED = "Unassigned"  # kind of an address inside the lab's own ranges that nobody had at that time
OWNER, LATE, RANGE, NOBODY = range(4)  # answers of `how_at`
_FOREVER = 1 << 62
LATE_NS = 60_000_000_000  # packets to somebody who is gone: retries and last acknowledgements


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Who it was, and how sure that is."""

    row: Row
    how: str  # owner; late: it had let go less than a minute before; range


class Lookup:
    """Built once per recording."""

    def __init__(self, table: pa.Table) -> None:
        self._rows: dict[str, list[Row]] = {}
        self._ranges: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Row]] = []
        for row in table.to_pylist():
            if "/" in row["address"]:
                self._ranges.append((ipaddress.ip_network(row["address"], strict=False), row))
            else:
                self._rows.setdefault(row["address"], []).append(row)
        self._ranges.sort(key=lambda pair: -pair[0].prefixlen)
        for rows in self._rows.values():
            rows.sort(key=lambda row: row["from_ns"])
        self._starts = {address: [row["from_ns"] for row in rows] for address, rows in self._rows.items()}
        self._within: dict[str, Row | None] = {}

    def at(self, address: str, at_ns: int) -> Answer | None:
        """None: nobody is known to have had it."""
        rows = self._rows.get(address, [])
        place = bisect.bisect_right(self._starts.get(address, []), at_ns) - 1
        if place >= 0:
            row = rows[place]
            if not row["to_ns"] or at_ns < row["to_ns"]:
                return Answer(row, "owner")
            if at_ns - row["to_ns"] < LATE_NS:
                return Answer(row, "late")
        found = self._range_of(address)
        return None if found is None else Answer(found, "range")

    def how_at(self, address: str, times_ns: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """For many times at once: OWNER, LATE, RANGE or NOBODY (nobody known, or a range of the lab's own)."""
        found = self._range_of(address)
        known = found is not None and found["kind"] != UNASSIGNED
        how = np.full(len(times_ns), RANGE if known else NOBODY)
        starts = self._starts.get(address, [])
        if starts:
            places = np.searchsorted(np.array(starts), times_ns, side="right") - 1
            ends = np.array([row["to_ns"] or _FOREVER for row in self._rows[address]])[np.maximum(places, 0)]
            held = (places >= 0) & (times_ns < ends)
            how[(places >= 0) & ~held & (times_ns - ends < LATE_NS)] = LATE
            how[held] = OWNER
        return how

    def _range_of(self, address: str) -> Row | None:
        if address not in self._within:
            if len(self._within) > 1 << 16:  # spoofed sources are many
                self._within.clear()
            self._within[address] = self._find(address)
        return self._within[address]

    def _find(self, address: str) -> Row | None:
        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return None
        return next((row for network, row in self._ranges if wanted in network), None)
