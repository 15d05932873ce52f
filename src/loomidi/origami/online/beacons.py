"""Beaconing: the same outside service called again and again at a steady beat.

Called by `flows`. In: `Rows`. Out: `Hit`s. The start of every answered conversation is kept by (source, destination,
port, protocol) and window of a day; a window is judged together with the one before it. The beat is measured by
quantiles, so that a missed or a doubled call does not hide it.
"""

from collections.abc import Mapping

import numpy as np

from loomidi.contracts import Evidence, Severity
from loomidi.garden.graph.columns import Shape, Table, joined, stacked, taken
from loomidi.garden.graph.names import host_id, service_id
from loomidi.origami.online.episodes import Hit
from loomidi.origami.online.pairs import inside
from loomidi.origami.online.reading import Mask, Rows
from loomidi.origami.online.rules import Rule
from loomidi.origami.online.windows import Windows

WIDTH_NS = 24 * 3600 * 1_000_000_000
_MOST_CALLS = 60_000
_SHAPE = Shape(
    keys=("window", "pair", "source", "destination", "port", "protocol", "start", "sent", "got"),
    highs=("last",),
)


class BeaconDetector:
    """Keeps the starts of conversations and looks for a beat."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rule = rules["beaconing"]
        self._quiet = np.array(sorted(self._rule.quiet_ports), np.int64)
        self.windows = Windows(_SHAPE, _MOST_CALLS, _regulars)

    def observe(self, rows: Rows) -> None:
        """Note the answered conversations of one batch."""
        limit = self._rule.thresholds["octets"]
        heard = (rows.protocol == 6) & (rows.flags["ack"] > 1)  # one side alone is seen: it acknowledged something
        chosen = ((rows.back_packets > 0) | heard) & ~np.isin(rows.port, self._quiet) & (rows.port > 0)
        chosen &= (rows.payload > 0) & (rows.payload <= limit) & (rows.back_payload <= limit)
        chosen &= (rows.protocol != 6) | (rows.flags["syn"] > 0)
        at = np.flatnonzero(chosen)
        window = rows.first[at] // WIDTH_NS
        pair = joined(rows.source_hash[at], rows.destination_hash[at], rows.port[at], rows.protocol[at])
        self.windows.add(
            {
                "key": joined(pair, window, rows.first[at]),
                "window": window,
                "pair": pair,
                "source": rows.source[at],
                "destination": rows.destination[at],
                "port": rows.port[at],
                "protocol": rows.protocol[at],
                "start": rows.first[at],
                "sent": rows.payload[at],
                "got": rows.back_payload[at],
                "last": rows.last[at],
            }
        )

    def judge(self, windows: list[int]) -> list[Hit]:
        """Hits of windows that are over, each seen together with the window before it."""
        hits: list[Hit] = []
        for window in sorted(windows):
            parts = [part for part in (self.windows.peek([window - 1]), self.windows.rows_of([window])) if part]
            if parts:
                hits += self._judge_window(stacked(parts))
        return hits

    def forget(self, keep: tuple[int, int]) -> None:
        """Drop windows outside keep[0]..keep[1]; one more is kept to be seen together with the next."""
        self.windows.forget((keep[0] - 1, keep[1]))

    def _judge_window(self, table: Table) -> list[Hit]:
        order = np.lexsort((table["start"], table["pair"]))
        table = taken(table, order)
        starts = np.flatnonzero(np.concatenate(([True], table["pair"][1:] != table["pair"][:-1])))
        ends = np.append(starts[1:], len(order))
        enough = (ends - starts) >= self._rule.thresholds["calls"]
        hits = [self._beat(taken(table, np.arange(a, b))) for a, b in zip(starts[enough], ends[enough], strict=True)]
        return [hit for hit in hits if hit is not None]

    def _beat(self, calls: Table) -> Hit | None:
        """The calls of one pair, in order of time."""
        rule = self._rule.thresholds
        count = len(calls["start"])
        gaps = np.diff(calls["start"]) / 1e9
        period = float(np.median(gaps))
        if period < rule["period_s"] or float(gaps.sum()) < rule["span_s"]:
            return None
        low, high = np.quantile(gaps, (0.2, 0.8))
        jitter = float(high - low) / period
        beats = np.maximum(np.round(gaps / period), 1.0)
        kept = float(np.mean(np.abs(gaps - beats * period) <= 0.4 * period))
        size = float(np.std(calls["sent"]) / max(float(np.mean(calls["sent"])), 1.0))
        loose = jitter > rule["jitter"]
        unsteady = loose and (jitter > rule["loose_jitter"] or count < rule["loose_calls"])
        if unsteady or kept < rule["kept_share"] or size > rule["size_jitter"]:
            return None
        evidence = (
            Evidence("calls", count, int(rule["calls"]), "", "conversations"),
            Evidence("period", round(period, 3), None, "s", "median time between two calls"),
            Evidence("jitter", round(jitter, 3), rule["loose_jitter" if loose else "jitter"], "", "spread of the gaps"),
            Evidence("kept_share", round(kept, 3), rule["kept_share"], "", "of the calls come on the beat"),
            Evidence("call_octets", round(float(np.mean(calls["sent"]))), None, "octets", "payload sent per call"),
        )
        return self._hit(calls, evidence, min(count / rule["calls"], rule["loose_jitter"] / max(jitter, 0.01)))

    def _hit(self, calls: Table, evidence: tuple[Evidence, ...], excess: float) -> Hit:
        source, destination = calls["source"][0].decode(), calls["destination"][0].decode()
        service = service_id(destination, int(calls["port"][0]), int(calls["protocol"][0]))
        local = inside(destination) or not inside(source)
        return Hit(
            "beaconing",
            f"{host_id(source)}|{service}",
            (host_id(source), service),
            int(calls["start"][0]),
            int(calls["last"].max()),
            evidence,
            max(excess, 1.0),
            base=0.55,
            severity=Severity.INFO if local else None,
            quiet_ns=2 * WIDTH_NS,
        )


def _regulars(table: Table) -> Mask:
    """When there is too much: pairs with the fewest calls go first, of the rest the oldest calls."""
    _, inverse, count = np.unique(table["pair"], return_inverse=True, return_counts=True)
    order = np.lexsort((-table["start"], -np.minimum(count[inverse], 64)))
    kept = np.zeros(len(order), bool)
    kept[order[: _MOST_CALLS // 2]] = True
    return kept
