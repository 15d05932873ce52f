"""Beaconing: the same outside service called again and again at a steady beat.

Called by `flows`. In: `Rows`. Out: `Hit`s. The start of every answered conversation is kept by (source, destination,
port, protocol) and window of a day; a window is judged together with the one before it. The beat is measured by
quantiles, so that a missed or a doubled call does not hide it. A few calls with an exact beat are told as `info`.
"""

from collections.abc import Mapping

import numpy as np

from loomidi.contracts import Evidence, Severity
from loomidi.garden.graph.columns import Column, Shape, Table, joined, stacked, taken
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
        table = taken(table, np.lexsort((table["start"], table["pair"])))
        begins = np.flatnonzero(np.concatenate(([True], table["pair"][1:] != table["pair"][:-1])))
        counts = np.diff(np.append(begins, len(table["pair"])))
        enough = counts >= self._rule.thresholds["early_calls"]
        if not enough.any():
            return []
        table, counts = taken(table, np.repeat(enough, counts)), counts[enough]
        beats = _beats(table, counts)
        steady, exact = self._steady(beats), self._exact(beats)
        calls = np.split(np.arange(len(table["pair"])), np.cumsum(counts)[:-1])
        hits = []
        for row in np.flatnonzero(steady | exact).tolist():
            beat = {name: float(column[row]) for name, column in beats.items()}
            hit = self._hit(taken(table, calls[row]), beat, bool(steady[row]))
            hits += [hit] if hit is not None else []
        return hits

    def _steady(self, beats: Table) -> Mask:
        """A beat through misses and jitter, over many calls."""
        rule = self._rule.thresholds
        lasting = (beats["count"] >= rule["calls"]) & (beats["span"] >= rule["span_s"])
        loose = beats["jitter"] > rule["jitter"]
        unsteady = loose & ((beats["jitter"] > rule["loose_jitter"]) | (beats["count"] < rule["loose_calls"]))
        mask: Mask = lasting & ~unsteady & (beats["period"] >= rule["period_s"])
        return mask & (beats["kept"] >= rule["kept_share"]) & (beats["size"] <= rule["size_jitter"])

    def _exact(self, beats: Table) -> Mask:
        """A few calls, each as large and as far from the next as the others: worth a line before there are many."""
        rule = self._rule.thresholds
        few = (beats["count"] >= rule["early_calls"]) & (beats["count"] < rule["calls"])
        mask: Mask = few & (beats["span"] >= rule["early_span_s"]) & (beats["period"] >= rule["period_s"])
        return mask & (beats["spread"] <= rule["early_jitter"]) & (beats["size"] <= rule["early_jitter"])

    def _hit(self, calls: Table, beat: dict[str, float], steady: bool) -> Hit | None:
        rule = self._rule.thresholds
        source, destination = calls["source"][0].decode(), calls["destination"][0].decode()
        local = inside(destination) or not inside(source)
        if local and not steady:
            return None
        count, jitter = len(calls["start"]), beat["jitter"]
        limit = rule["loose_jitter" if jitter > rule["jitter"] else "jitter"]
        kept = Evidence("kept_share", round(beat["kept"], 3), rule["kept_share"], "", "of the calls come on the beat")
        spread = Evidence("largest_spread", round(beat["spread"], 3), rule["early_jitter"], "",
                          "longest less shortest gap, by the median")  # fmt: skip
        evidence = (
            Evidence("calls", count, int(rule["calls" if steady else "early_calls"]), "", "conversations"),
            Evidence("period", round(beat["period"], 3), None, "s", "median time between two calls"),
            *((Evidence("jitter", round(jitter, 3), limit, "", "spread of the gaps"), kept) if steady else (spread,)),
            Evidence("call_octets", round(float(np.mean(calls["sent"]))), None, "octets", "payload sent per call"),
        )
        excess = min(count / rule["calls"], rule["loose_jitter"] / max(jitter, 0.01)) if steady else 1.0
        service = service_id(destination, int(calls["port"][0]), int(calls["protocol"][0]))
        return Hit(
            "beaconing",
            f"{host_id(source)}|{service}",
            (host_id(source), service),
            int(calls["start"][0]),
            int(calls["last"].max()),
            evidence,
            max(excess, 1.0),
            base=0.55 if steady else 0.4,
            severity=Severity.INFO if local or not steady else None,
            quiet_ns=2 * WIDTH_NS,
        )


def _beats(calls: Table, counts: Column) -> Table:
    """What the gaps of each pair are like, a row a pair. `calls`: in order of pair and time; times in s."""
    ends = np.cumsum(counts)
    within = np.ones(len(calls["start"]) - 1, bool)
    within[ends[:-1] - 1] = False  # from the last call of a pair to the first of the next
    gaps, number = (np.diff(calls["start"]) / 1e9)[within], counts - 1
    pair, begins = np.repeat(np.arange(len(counts)), number), np.cumsum(number) - number
    ordered = gaps[np.lexsort((gaps, pair))]

    def quantile(share: float) -> Column:
        """Between the two nearest of a pair's gaps, as numpy does it."""
        at = share * (number - 1)
        low = np.floor(at).astype(np.int64)
        below, above = ordered[begins + low], ordered[begins + np.minimum(low + 1, number - 1)]
        between: Column = below + (at - low) * (above - below)
        return between

    period = np.maximum(quantile(0.5), 1e-9)
    each = period[pair]
    on_beat = np.abs(gaps - np.maximum(np.round(gaps / each), 1.0) * each) <= 0.4 * each
    first, sent = ends - counts, calls["sent"].astype(np.float64)
    mean = np.add.reduceat(sent, first) / counts
    square = np.add.reduceat((sent - np.repeat(mean, counts)) ** 2, first) / counts
    return {
        "count": counts,
        "period": period,
        "span": np.add.reduceat(gaps, begins),
        "jitter": (quantile(0.8) - quantile(0.2)) / period,
        "spread": (quantile(1.0) - quantile(0.0)) / period,
        "kept": np.add.reduceat(on_beat.astype(np.int64), begins) / number,
        "size": np.sqrt(square) / np.maximum(mean, 1.0),
    }


def _regulars(table: Table) -> Mask:
    """When there is too much: pairs with the fewest calls go first, of the rest the oldest calls."""
    _, inverse, count = np.unique(table["pair"], return_inverse=True, return_counts=True)
    order = np.lexsort((-table["start"], -np.minimum(count[inverse], 64)))
    kept = np.zeros(len(order), bool)
    kept[order[: _MOST_CALLS // 2]] = True
    return kept
