"""What a table remembers of the bus: how far it is, and which envelopes are in it.

Called by the committer, compaction and expiry. Kept as properties of each snapshot, so that rows and marks are
committed together or not at all. Which envelopes: intervals of seq for each run (producer and epoch), with their rows.
A run that was silent for long is forgotten; what is older than the newest thing forgotten and unknown is `too_old`:
nobody can tell whether it is in the table. Pure.
"""

import dataclasses
import json
from bisect import bisect_right, insort
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from loomidi.contracts.errors import InputError
from loomidi.contracts.streams import Envelope

MARKS = "loomidi.marks"
POSITION = "loomidi.position"
COMMIT = "loomidi.commit"
ROWS = "loomidi.rows"
WRITER = "loomidi.writer"
MOST_INTERVALS = 1024


class Held(NamedTuple):
    """What a table holds of one run of a producer."""

    rows: int
    batches: int


@dataclasses.dataclass(slots=True)
class Run:
    """One producer since one start."""

    intervals: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # first and last seq, in order
    rows: int = 0
    last_ns: int = 0  # when the lake last took something of it, by the lake's clock
    made_ns: int = 0  # the newest `created_ns`, by the producer's

    def holds(self, seq: int) -> bool:
        """Whether the envelope is in the table."""
        at = bisect_right(self.intervals, (seq, 1 << 63)) - 1
        return at >= 0 and self.intervals[at][1] >= seq

    def add(self, seq: int) -> int:
        """It is now. Returns how many ids were given up: of the oldest gap, when there are too many."""
        at = bisect_right(self.intervals, (seq, 1 << 63))
        before = self.intervals[at - 1] if at else None
        after = self.intervals[at] if at < len(self.intervals) else None
        first, last = seq, seq
        if after is not None and after[0] == seq + 1:
            last = after[1]
            self.intervals.pop(at)
        if before is not None and before[1] == seq - 1:
            first = before[0]
            self.intervals.pop(at - 1)
        insort(self.intervals, (first, last))
        return self._bounded()

    def _bounded(self) -> int:
        if len(self.intervals) <= MOST_INTERVALS:
            return 0
        (first, end), (begin, last) = self.intervals[:2]
        self.intervals[:2] = [(first, last)]
        return begin - end - 1

    @property
    def batches(self) -> int:
        """How many envelopes."""
        return sum(last - first + 1 for first, last in self.intervals)


@dataclasses.dataclass(slots=True)
class Marks:
    """Position and runs, as of one snapshot or with what is to be committed next."""

    position: dict[int, int] = dataclasses.field(default_factory=dict)
    runs: dict[tuple[str, int], Run] = dataclasses.field(default_factory=dict)
    lineage: str = ""  # of the bus's numbering that `position` belongs to; "": told by nobody
    forgotten_ns: int = -1  # nothing that was forgotten is younger

    def holds(self, envelope: Envelope) -> bool:
        """Whether it is in the table."""
        run = self.runs.get((envelope.producer, envelope.epoch))
        return run is not None and run.holds(envelope.seq)

    def too_old(self, envelope: Envelope) -> bool:
        """Whether it is of a run that may have been forgotten."""
        if (envelope.producer, envelope.epoch) in self.runs:
            return False
        return (envelope.created_ns or envelope.epoch) <= self.forgotten_ns

    def add(self, envelope: Envelope, rows: int, now_ns: int) -> int:
        """It is in the table with so many rows. Returns ids given up (see `Run.add`)."""
        run = self.runs.setdefault((envelope.producer, envelope.epoch), Run())
        run.rows += rows
        run.last_ns = max(run.last_ns, now_ns)
        run.made_ns = max(run.made_ns, envelope.created_ns or envelope.epoch)
        return run.add(envelope.seq)

    def follow(self, lineage: str) -> bool:
        """Positions are of this numbering from now on. False when they were of another and are void."""
        same = not self.lineage or not lineage or self.lineage == lineage
        if not same:
            self.position = {}
        self.lineage = lineage or self.lineage
        return same

    def passed(self, partition: int, offset: int) -> None:
        """All up to there is dealt with."""
        self.position[partition] = max(offset, self.position.get(partition, offset))

    def forget(self, before_ns: int) -> int:
        """Runs that were silent since; returns how many."""
        old = [key for key, run in self.runs.items() if run.last_ns < before_ns]
        for key in old:
            self.forgotten_ns = max(self.forgotten_ns, self.runs.pop(key).made_ns)
        return len(old)

    def holdings(self) -> dict[tuple[str, int], Held]:
        """(producer, epoch) -> rows and batches in the table."""
        return {key: Held(run.rows, run.batches) for key, run in self.runs.items()}

    def copy(self) -> Self:
        """Of its own."""
        return self.of(self.properties())

    def properties(self) -> dict[str, str]:
        """As a snapshot carries them."""
        runs: dict[str, dict[str, Any]] = {}
        for (producer, epoch), run in self.runs.items():
            spans = ",".join(f"{first}-{last}" for first, last in run.intervals)
            runs.setdefault(producer, {})[str(epoch)] = [run.rows, run.last_ns, run.made_ns, spans]
        position = {str(partition): offset for partition, offset in self.position.items()}
        kept = {"version": 1, "lineage": self.lineage, "forgotten_ns": self.forgotten_ns, "runs": runs}
        return {POSITION: json.dumps(position), MARKS: json.dumps(kept, separators=(",", ":"))}

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Self:
        """Read what `properties` gave. Raises InputError for what is not that."""
        try:
            kept = json.loads(properties[MARKS])
            if kept["version"] != 1:
                raise InputError(f"marks of version {kept['version']} in the lake; upgrade this program")
            runs = {
                (producer, int(epoch)): Run(_spans(spans), rows, last_ns, made_ns)
                for producer, epochs in kept["runs"].items()
                for epoch, (rows, last_ns, made_ns, spans) in epochs.items()
            }
            position = {int(partition): offset for partition, offset in json.loads(properties[POSITION]).items()}
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"the marks of the newest snapshot cannot be read: {error}") from error
        return cls(position, runs, kept.get("lineage", ""), kept["forgotten_ns"])


def _spans(text: str) -> list[tuple[int, int]]:
    pairs = (span.rpartition("-") for span in text.split(",") if span)
    return [(int(first), int(last)) for first, _, last in pairs]
