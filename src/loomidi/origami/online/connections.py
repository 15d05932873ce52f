"""What patient attackers do with their connections: a row a connection and minute, judged with the minute before it.

Base of `guesses` and `stalls`. In: `Rows`. Out: `Hit`s. TCP towards the ports of one rule; what is counted of a
connection and what is made of two minutes is the detector's own.
"""

import abc

import numpy as np

from loomidi.garden.graph.columns import I64, Shape, Table, grouped, joined, stacked
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.reading import Rows
from loomidi.origami.online.rules import Rule
from loomidi.origami.online.windows import Windows, largest

WIDTH_NS = 60_000_000_000
TCP = 6
ENDS = ("source", "source_hash", "destination", "destination_hash", "port")
_MOST_CONNECTIONS = 60_000


class ConnectionDetector(abc.ABC):
    """Counts by connection and judges minutes that are over."""

    def __init__(self, rule: Rule, sums: tuple[str, ...], kept_by: str) -> None:
        """`sums`: counted of a connection. `kept_by`: the column whose largest are kept where there are too many."""
        self._rule = rule
        self._ports = np.array(sorted(rule.fast_ports), np.int64)
        self._shape = Shape(keys=("window", *ENDS, "connection"), sums=sums, lows=("first",), highs=("last",))
        self.windows = Windows(self._shape, _MOST_CONNECTIONS, largest(kept_by, _MOST_CONNECTIONS))

    @abc.abstractmethod
    def _counted(self, rows: Rows, at: I64) -> Table:
        """The sums of the rows at these places."""

    @abc.abstractmethod
    def _judge_window(self, table: Table) -> list[Hit]:
        """Hits of two minutes, a row a connection."""

    def observe(self, rows: Rows) -> None:
        """Count one batch."""
        at = np.flatnonzero((rows.protocol == TCP) & np.isin(rows.port, self._ports))
        ends = (rows.source_hash[at], rows.destination_hash[at], rows.port[at])
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
            "first": rows.first[at],
            "last": rows.last[at],
        }
        self.windows.add(table | self._counted(rows, at))

    def judge(self, windows: list[int]) -> list[Hit]:
        """Hits of minutes that are over, each seen together with the minute before it."""
        hits: list[Hit] = []
        for window in sorted(windows):
            parts = [part for part in (self.windows.peek([window - 1]), self.windows.rows_of([window])) if part]
            if parts:
                table = stacked(parts)
                hits += self._judge_window(grouped(table | {"key": table["connection"]}, self._shape))
        return hits

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop windows outside keep[0]..keep[1]; one more is kept to be seen together with the next."""
        self.windows.forget((keep[0] - 1, keep[1]))
