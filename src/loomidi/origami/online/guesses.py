"""Patient guessing: few conversations with a login service in a minute, one after the other, each with several tries.

Called by `flows`. In: `Rows`. Out: `Hit`s. One row a connection and minute; a minute is judged together with the one
before it. Who guesses fast is told by `pairs`, by the number of conversations. Here it is how they are spent: a program
that logs in is done in a moment, a person's sessions differ, and neither ends one to begin the next, minute after
minute. Where a record ends is no matter, so it is the connection that counts.
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

_COUNTS = ("begun", "ended", "sent", "got")
_GUESSERS = Shape(keys=ENDS, sums=("talks", "sent", "sent_square", "got", "busy"), lows=("first",), highs=("last",))


class GuessDetector(ConnectionDetector):
    """How the connections of a source with a login service are spent."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__(rules["brute_force"], _COUNTS, "last")

    def _counted(self, rows: Rows, at: I64) -> Table:
        closing = rows.flags["fin"] + rows.flags["rst"] + rows.flags["back_rst"]
        return {
            "begun": (rows.flags["syn"][at] > 0).astype(np.int64),
            "ended": (closing[at] > 0).astype(np.int64),
            "sent": rows.payload[at],
            "got": rows.back_payload[at],
        }

    def _judge_window(self, table: Table) -> list[Hit]:
        whole = taken(table, (table["begun"] > 0) & (table["ended"] > 0) & (table["sent"] > 0))
        if not len(whole["key"]):
            return []
        busy = whole["last"] - whole["first"]
        more = {
            "key": joined(whole["source_hash"], whole["destination_hash"], whole["port"]),
            "talks": np.ones(len(busy), np.int64),
            "sent_square": whole["sent"].astype(np.float64) ** 2,
            "busy": busy,
        }
        guessers = grouped(whole | more, _GUESSERS)
        found = np.flatnonzero(self._patient(guessers)).tolist()
        return [self._hit(taken(guessers, np.array([row]))) for row in found]

    def _patient(self, table: Table) -> Mask:
        """Several tries in each conversation, one conversation after the other, all of one size."""
        rule, talks, busy = self._rule.thresholds, table["talks"], table["busy"]
        span = np.maximum(table["last"] - table["first"], 1)
        most = np.array([self._rule.services[port][2] for port in table["port"].tolist()])
        enough = (talks >= rule["patient_talks"]) & (talks * 60e9 >= rule["patient_rate"] * span)
        lasting = (busy >= rule["patient_s"] * 1e9 * talks) & (busy <= rule["duration_s"] * 1e9 * talks)
        in_turn = (busy >= rule["patient_share"] * span) & (busy <= 1.2 * span)
        small = (table["sent"] <= rule["patient_octets"] * talks) & (table["got"] <= most * talks)
        mask: Mask = enough & lasting & in_turn & small & (_unlike(table) <= rule["patient_alike"])
        return mask

    def _hit(self, row: Table) -> Hit:
        rule, port = self._rule.thresholds, int(row["port"][0])
        source, victim = row["source"][0].decode(), service_id(row["destination"][0].decode(), port, TCP)
        talks, times = int(row["talks"][0]), (int(row["first"][0]), int(row["last"][0]))
        minutes, busy_s = max(times[1] - times[0], 1) / 60e9, int(row["busy"][0]) / 1e9
        name = self._rule.services[port][0]
        evidence = (
            Evidence("conversations", talks, int(rule["patient_talks"]), "", f"{name} conversations, one by one"),
            Evidence("per_minute", round(talks / minutes, 1), rule["patient_rate"], "1/min", "new conversations"),
            Evidence("alike", round(float(_unlike(row)[0]), 3), rule["patient_alike"], "",
                     "deviation of what was sent by its mean"),
            Evidence("conversation", round(busy_s / talks, 1), rule["patient_s"], "s", "mean length: several tries"),
            Evidence("share_of_time", round(busy_s / minutes / 60, 2), rule["patient_share"], "",
                     "of the time spent in one of them"),
        )  # fmt: skip
        entities = (host_id(source), victim)
        excess = talks / rule["patient_talks"]
        return Hit("brute_force", "|".join(entities), entities, *times, evidence, excess, 0.7, quiet_ns=20 * WIDTH_NS)


def _unlike(table: Table) -> Column:
    """Standard deviation of the octets sent by their mean, from the sums of squares."""
    mean = table["sent"] / table["talks"]
    unlike: Column = np.sqrt(np.maximum(table["sent_square"] / table["talks"] - mean**2, 0.0)) / np.maximum(mean, 1.0)
    return unlike
