"""Slow requests: one source holds many connections of a web service and finishes none of them.

Called by `flows`. In: `Rows`. Out: `Hit`s. One row a connection and minute; a minute is judged together with the one
before it. Seen from one side only, a request that nobody could answer yet looks like this: segments with a little data
each, and none without data but the handshake's, because there was nothing to acknowledge. Who reads slowly what was
answered keeps its receive window shut: a slow line has few octets a second as well, but room for many. The window is
known of the first packet of each flow record.
"""

from collections.abc import Mapping

import numpy as np

from loomidi.contracts import Evidence
from loomidi.garden.graph.columns import I64, Column, Shape, Table, grouped, joined, taken
from loomidi.garden.graph.names import host_id, service_id
from loomidi.origami.online.connections import ENDS, TCP, WIDTH_NS, ConnectionDetector
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.reading import Mask, Rows
from loomidi.origami.online.rules import Rule

_COUNTS = ("data", "bare", "sent", "got", "shut")
_HOLDERS = Shape(keys=ENDS, sums=("held", "sent", "got", "data", "span"), lows=("first",), highs=("last",))


class StallDetector(ConnectionDetector):
    """Which connections of a source with a web service do not come to their end."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__(rules["slow_requests"], (*_COUNTS, "span"), "span")

    def _counted(self, rows: Rows, at: I64) -> Table:
        flags = {name: rows.flags[name][at] for name in ("syn", "psh", "fin", "rst")}
        return {
            "data": flags["psh"],
            "bare": rows.packets[at] - sum(flags.values()),
            "sent": rows.payload[at],
            "got": rows.back_payload[at],
            "shut": self._shut(rows)[at].astype(np.int64),
            "span": rows.last[at] - rows.first[at],
        }

    def _judge_window(self, table: Table) -> list[Hit]:
        seconds = (table["last"] - table["first"]) / 1e9
        asking, reading = self._asked_slowly(table, seconds), self._read_slowly(table, seconds)
        hits = [self._hit(holder, self._asking(holder)) for holder in self._holders(taken(table, asking))]
        return hits + [self._hit(holder, self._reading(holder)) for holder in self._holders(taken(table, reading))]

    def _holders(self, held: Table) -> list[Table]:
        """Who holds many of these connections at one service, one row each."""
        if not len(held["key"]):
            return []
        more = {"key": joined(held["source_hash"], held["destination_hash"], held["port"])}
        more |= {"held": np.ones(len(held["key"]), np.int64), "span": held["last"] - held["first"]}
        holders = grouped(held | more, _HOLDERS)
        many = np.flatnonzero(holders["held"] >= self._rule.thresholds["connections"])
        return [taken(holders, np.array([row])) for row in many.tolist()]

    def _shut(self, rows: Rows) -> Mask:
        """Rows that begin with a window for less than a segment. It is scaled but in a SYN, so elsewhere 0 alone is
        sure; a reset has none to speak of, and where no flag is known it was cut off."""
        flags = rows.flags
        room = np.where(flags["syn"] > 0, self._rule.thresholds["room_octets"], 0)
        shut: Mask = (rows.window >= 0) & (rows.window <= room) & (flags["rst"] == 0)
        return shut & (flags["syn"] + flags["ack"] > 0)

    def _asked_slowly(self, table: Table, seconds: Column) -> Mask:
        """Connections on which a request trickles in and nothing was answered."""
        rule = self._rule.thresholds
        trickles = (table["data"] >= rule["pieces"]) & (table["sent"] <= rule["piece_octets"] * table["data"])
        unanswered = (table["got"] == 0) & (table["bare"] <= rule["acknowledgements"])
        mask: Mask = trickles & unanswered & (seconds >= rule["held_s"])
        return mask

    def _read_slowly(self, table: Table, seconds: Column) -> Mask:
        """Connections that asked, whose answer finds no room. Next to nothing of it arrives: few octets where it is
        seen, else few acknowledgements (a film that is played from a full buffer shuts its window, too)."""
        rule = self._rule.thresholds
        little = (table["got"] <= rule["read_octets"] * seconds) & (table["bare"] <= rule["read_acks"] * seconds)
        mask: Mask = (table["shut"] > 0) & (table["sent"] > 0) & little & (seconds >= rule["read_s"])
        return mask

    def _asking(self, holder: Table) -> tuple[Evidence, ...]:
        rule = self._rule.thresholds
        held, data = int(holder["held"][0]), max(int(holder["data"][0]), 1)
        return (
            Evidence("connections", held, int(rule["connections"]), "", "with a request that does not end"),
            Evidence("piece_octets", round(int(holder["sent"][0]) / data), rule["piece_octets"], "octets", "a segment"),
            Evidence("pieces", round(data / held, 1), rule["pieces"], "", "segments with data on each of them"),
        )

    def _reading(self, holder: Table) -> tuple[Evidence, ...]:
        rule = self._rule.thresholds
        held, seconds = int(holder["held"][0]), int(holder["span"][0]) / 1e9
        meaning = "with a receive window for less than one segment, and an answer that does not end"
        return (
            Evidence("connections", held, int(rule["connections"]), "", meaning),
            Evidence("held", round(seconds / held, 1), rule["read_s"], "s", "mean time that they stayed open"),
            Evidence("read_rate", round(int(holder["got"][0]) / seconds, 1), rule["read_octets"], "octets/s",
                     "read on each of them, where answers are heard"),
        )  # fmt: skip

    def _hit(self, holder: Table, evidence: tuple[Evidence, ...]) -> Hit:
        source, destination = holder["source"][0].decode(), holder["destination"][0].decode()
        entities = (host_id(source), service_id(destination, int(holder["port"][0]), TCP))
        times = int(holder["first"][0]), int(holder["last"][0])
        excess = int(holder["held"][0]) / self._rule.thresholds["connections"]
        return Hit("slow_requests", "|".join(entities), entities, *times, evidence, excess, 0.8, quiet_ns=2 * WIDTH_NS)
