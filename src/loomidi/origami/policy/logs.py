"""The log of decisions and of what came of them: Arrow batches, only ever appended to.

Called by whoever runs a `Chooser`, and by what judges policies. In: `Choice`s, outcomes. Out: batches of DECISIONS and
OUTCOMES, files that are never written twice, and `replay`, which makes every choice again from the log and says
whether it is the same. A decision holds all its candidates, so any other policy can be judged by it later.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi.contracts import Conflict, InputError
from loomidi.origami.policy.candidates import Candidates, Choice
from loomidi.origami.policy.choosing import Chooser, ChooserSettings

DECISIONS = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),  # place in the log, over decisions and outcomes alike
        pa.field("decision", pa.utf8(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),  # since the epoch
        pa.field("policy", pa.utf8(), nullable=False),  # who chose: name or hash of a model
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),  # with the seed it fixes the lot
        pa.field("floor", pa.float64(), nullable=False),  # share of decisions by lot
        pa.field("chosen", pa.int32(), nullable=False),  # row of the candidates
        pa.field("greedy", pa.int32(), nullable=False),  # row that looked best
        pa.field("propensity", pa.float64(), nullable=False),  # of the chosen row
        pa.field("names", pa.list_(pa.utf8()), nullable=False),
        pa.field("arms", pa.list_(pa.int64()), nullable=False),  # index into candidates.ARMS
        pa.field("features", pa.list_(pa.float64()), nullable=False),  # row by row
        pa.field("expected", pa.list_(pa.float64()), nullable=False),
        pa.field("allowed", pa.list_(pa.bool_()), nullable=False),
        pa.field("safe", pa.list_(pa.bool_()), nullable=False),
        pa.field("propensities", pa.list_(pa.float64()), nullable=False),
    ]
)
OUTCOMES = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("decision", pa.utf8(), nullable=False),
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("horizon_s", pa.float64(), nullable=False),  # after the decision
        pa.field("reward", pa.float64(), nullable=False),  # 0..1
        pa.field("label", pa.utf8(), nullable=False),  # worked, no_effect, harmful, expired, undone
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a decision."""

    decision: str
    at_ns: int
    horizon_s: float
    reward: float
    label: str


class DecisionLog:
    """Grows in memory; `written` puts what came since into a new file of a folder."""

    def __init__(self, settings: ChooserSettings, policy: str) -> None:
        self._settings, self._policy = settings, policy
        self._decisions: list[pa.RecordBatch] = []
        self._outcomes: list[pa.RecordBatch] = []
        self._written = [0, 0]
        self._sequence = 0

    def __len__(self) -> int:
        return self._sequence

    def decided(self, choice: Choice, at_ns: int) -> None:
        """Append a decision."""
        of, settings = choice.candidates, self._settings
        one = {
            "sequence": self._next(), "decision": choice.decision, "at_ns": at_ns, "policy": self._policy,
            "seed": settings.seed, "number": choice.number, "floor": settings.floor, "chosen": choice.index,
            "greedy": choice.greedy, "propensity": choice.propensity, "names": list(of.names), "arms": of.arms.tolist(),
            "features": of.features.ravel().tolist(), "expected": of.expected.tolist(),
            "allowed": of.allowed.tolist(), "safe": of.safe.tolist(), "propensities": choice.propensities.tolist(),
        }  # fmt: skip
        self._decisions.append(pa.RecordBatch.from_pylist([one], DECISIONS))

    def came(self, outcome: Outcome) -> None:
        """Append an outcome; it may come long after its decision, and in any order."""
        one = {"sequence": self._next(), **dataclasses.asdict(outcome)}
        self._outcomes.append(pa.RecordBatch.from_pylist([one], OUTCOMES))

    @property
    def decisions(self) -> pa.Table:
        """All decisions."""
        return pa.Table.from_batches(self._decisions, DECISIONS)

    @property
    def outcomes(self) -> pa.Table:
        """All outcomes."""
        return pa.Table.from_batches(self._outcomes, OUTCOMES)

    def written(self, folder: Path) -> list[Path]:
        """Files with what was appended since the last call. Raises Conflict where one is there already."""
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        parts = (("decisions", self._decisions, DECISIONS), ("outcomes", self._outcomes, OUTCOMES))
        for at, (name, batches, schema) in enumerate(parts):
            if fresh := batches[self._written[at] :]:
                files.append(_put(folder / f"{name}-{self._sequence:012d}.arrow", pa.Table.from_batches(fresh, schema)))
                self._written[at] = len(batches)
        return files

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1


def read(folder: Path) -> tuple[pa.Table, pa.Table]:
    """All decisions and outcomes of a folder, in their order. Raises InputError for a file of another kind."""
    found = []
    for name, schema in (("decisions", DECISIONS), ("outcomes", OUTCOMES)):
        tables = [_got(path, schema) for path in sorted(folder.glob(f"{name}-*.arrow"))]
        found.append(pa.concat_tables(tables) if tables else schema.empty_table())
    return found[0], found[1]


def joined(decisions: pa.Table, outcomes: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Decisions with `reward` and `label` of their first outcome; what found no partner or came again is counted."""
    first = outcomes.group_by("decision").aggregate([("sequence", "min")])
    kept = outcomes.filter(pc.is_in(outcomes["sequence"], first["sequence_min"].combine_chunks()))
    place = pc.index_in(decisions["decision"], kept["decision"].combine_chunks())
    table = decisions.filter(pc.is_valid(place))
    rows = kept.take(pc.drop_null(place))
    table = table.append_column("reward", rows["reward"]).append_column("label", rows["label"])
    counts = {
        "joined": len(table),
        "without_outcome": len(decisions) - len(table),
        "without_decision": len(kept) - len(pc.unique(rows["decision"])),
        "again": len(outcomes) - len(kept),
    }
    return table, counts


def candidates_of(table: pa.Table) -> Iterator[Candidates]:
    """The candidates of every decision, in the order of the table."""
    for row in table.select(["names", "arms", "features", "expected", "allowed", "safe"]).to_pylist():
        names = tuple(row["names"])
        yield Candidates(
            names,
            np.array(row["arms"], np.int64),
            np.array(row["features"], np.float64).reshape(len(names), -1),
            np.array(row["expected"], np.float64),
            np.array(row["allowed"], np.bool_),
            np.array(row["safe"], np.bool_),
        )


def replay(decisions: pa.Table, outcomes: pa.Table, chooser: Chooser) -> list[str]:
    """Make every decision again, learning each outcome at its place in the log; ids of those that came out otherwise.

    `chooser` is as it was at the beginning of the log; afterwards it is as it was at the end, to the bit, but for its
    count of what was refused after the lot: that is no decision.
    """
    rows = decisions.select(["sequence", "decision", "chosen", "propensity"]).to_pylist()
    choices = [(row["sequence"], (row, of)) for row, of in zip(rows, candidates_of(decisions), strict=True)]
    came = [(row["sequence"], (row, None)) for row in outcomes.to_pylist()]
    other = []
    for _, (row, candidates) in sorted([*choices, *came], key=lambda event: int(event[0])):
        if candidates is None:
            chooser.learn(row["decision"], row["reward"])
            continue
        again = chooser.choose(row["decision"], candidates)
        if (again.index, again.propensity) != (row["chosen"], row["propensity"]):
            other.append(str(row["decision"]))
    return other


def _put(path: Path, table: pa.Table) -> Path:
    """Whole or not at all, and never over another file."""
    if path.exists():
        raise Conflict(f"{path} is there already; a log is only appended to, give it a folder of its own")
    part = path.with_suffix(".part")
    with part.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.rename(path)
    return path


def _got(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is no Arrow file; the log goes on without it once it is moved away") from error
    if not table.schema.equals(schema):
        raise InputError(f"{path} is of another version of the log; read it with the version that wrote it")
    return table
