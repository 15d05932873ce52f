"""Slow requests: one source holds many connections of a web service and finishes none of them.

Called by `flows`. In: `Rows`. Out: `Hit`s. One row a connection and minute; a minute is judged together with the one
before it. Seen from one side only, a request that nobody could answer yet looks like this: segments with a little data
each, and none without data but the handshake's, because there was nothing to acknowledge. Who reads slowly what was
answered is not told from a slow line, and not looked for.
"""

from collections.abc import Mapping

import numpy as np

from loomidi.contracts import Evidence
from loomidi.garden.graph.columns import Shape, Table, grouped, joined, stacked, taken
from loomidi.garden.graph.names import host_id, service_id
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.reading import Mask, Rows
from loomidi.origami.online.rules import Rule
from loomidi.origami.online.windows import Windows, largest

WIDTH_NS = 60_000_000_000
_TCP = 6
_MOST_CONNECTIONS = 60_000
_ENDS = ("source", "source_hash", "destination", "destination_hash", "port")
_COUNTS = ("data", "bare", "sent", "got")
_SHAPE = Shape(keys=("window", *_ENDS, "connection"), sums=(*_COUNTS, "span"), lows=("first",), highs=("last",))
_HOLDERS = Shape(keys=_ENDS, sums=("held", "sent", "data"), lows=("first",), highs=("last",))


class StallDetector:
    """Counts by connection and judges minutes that are over."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rule = rules["slow_requests"]
        self._ports = np.array(sorted(self._rule.fast_ports), np.int64)
        self.windows = Windows(_SHAPE, _MOST_CONNECTIONS, largest("span", _MOST_CONNECTIONS))

    def observe(self, rows: Rows) -> None:
        """Count one batch."""
        at = np.flatnonzero((rows.protocol == _TCP) & np.isin(rows.port, self._ports))
        ends = (rows.source_hash[at], rows.destination_hash[at], rows.port[at])
        flags = {name: rows.flags[name][at] for name in ("syn", "psh", "fin", "rst")}
        window, connection = rows.first[at] // WIDTH_NS, joined(*ends, rows.source_port[at])
        table: Table = {
            "key": joined(window, connection),
            "window": window,
            "source": rows.source[at],
            "source_hash": ends[0],
            "destination": rows.destination[at],
            "destination_hash": ends[1],
            "port": ends[2],
            "connection": connection,
            "data": flags["psh"],
            "bare": rows.packets[at] - sum(flags.values()),
            "sent": rows.payload[at],
            "got": rows.back_payload[at],
            "span": rows.last[at] - rows.first[at],
            "first": rows.first[at],
            "last": rows.last[at],
        }
        self.windows.add(table)

    def judge(self, windows: list[int]) -> list[Hit]:
        """Hits of minutes that are over, each seen together with the minute before it."""
        hits: list[Hit] = []
        for window in sorted(windows):
            parts = [part for part in (self.windows.peek([window - 1]), self.windows.rows_of([window])) if part]
            if parts:
                table = stacked(parts)
                hits += self._judge_window(grouped(table | {"key": table["connection"]}, _SHAPE))
        return hits

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop windows outside keep[0]..keep[1]; one more is kept to be seen together with the next."""
        self.windows.forget((keep[0] - 1, keep[1]))

    def _judge_window(self, table: Table) -> list[Hit]:
        held = taken(table, self._stalled(table))
        if not len(held["key"]):
            return []
        more = {"key": joined(held["source_hash"], held["destination_hash"], held["port"])}
        holders = grouped(held | more | {"held": np.ones(len(held["key"]), np.int64)}, _HOLDERS)
        many = np.flatnonzero(holders["held"] >= self._rule.thresholds["connections"])
        return [self._hit(taken(holders, np.array([row]))) for row in many.tolist()]

    def _stalled(self, table: Table) -> Mask:
        """Connections on which a request trickles in and nothing was answered."""
        rule = self._rule.thresholds
        trickles = (table["data"] >= rule["pieces"]) & (table["sent"] <= rule["piece_octets"] * table["data"])
        unanswered = (table["got"] == 0) & (table["bare"] <= rule["acknowledgements"])
        lasting = table["last"] - table["first"] >= rule["held_s"] * 1e9
        mask: Mask = trickles & unanswered & lasting
        return mask

    def _hit(self, holder: Table) -> Hit:
        rule = self._rule.thresholds
        source, destination = holder["source"][0].decode(), holder["destination"][0].decode()
        held, data = int(holder["held"][0]), max(int(holder["data"][0]), 1)
        service = service_id(destination, int(holder["port"][0]), _TCP)
        evidence = (
            Evidence("connections", held, int(rule["connections"]), "", "with a request that does not end"),
            Evidence("piece_octets", round(int(holder["sent"][0]) / data), rule["piece_octets"], "octets", "a segment"),
            Evidence("pieces", round(data / held, 1), rule["pieces"], "", "segments with data on each of them"),
        )
        entities = (host_id(source), service)
        times = int(holder["first"][0]), int(holder["last"][0])
        excess = held / rule["connections"]
        return Hit("slow_requests", "|".join(entities), entities, *times, evidence, excess, 0.8, quiet_ns=2 * WIDTH_NS)
