"""What may be chosen for one finding, and what was chosen.

Called by `choosing`, by `origami.gym` and by whoever has candidates from rules. In: plain arrays, a row for each
candidate. Out: `Candidates`, checked once, and `Choice`. Two candidates are always there: to do nothing, which is
always allowed, and to ask a human, who may have been asked already.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.contracts import FoldKind, UsageError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NO_ACTION, ASK_HUMAN = "NO_ACTION", "ASK_HUMAN"
ARMS: tuple[str, ...] = (NO_ACTION, ASK_HUMAN, *(kind.value for kind in FoldKind))
# What is learned about apart. New kinds of folds are appended by their enum, so a snapshot of fewer arms is refused.


@dataclasses.dataclass(frozen=True, slots=True)
class Candidates:
    """The choices of one decision, a row each. Raises UsageError where the rows do not fit together."""

    names: tuple[str, ...]  # what would be done, such as `ISOLATE_POD pod/shop/cart-0`; unique
    arms: I64  # index into ARMS
    features: F64  # (rows, features), of the finding and of the candidate, each about 0..1
    expected: F64  # 0..1, the reward that the rules expect: what is believed before anything was learned
    allowed: Mask  # by the guards; a row that is not allowed cannot be chosen
    safe: Mask  # may be tried although another looks better: gentle, reversible, within every limit

    def __post_init__(self) -> None:
        rows = len(self.names)
        columns = (self.arms, self.features, self.expected, self.allowed, self.safe)
        if any(len(column) != rows for column in columns) or self.features.ndim != 2:
            raise UsageError(f"{rows} candidates, but columns of {[len(column) for column in columns]} rows")
        if len(set(self.names)) != rows:
            raise UsageError("two candidates have one name; name what would be done and to whom")
        if not (np.all(self.arms >= 0) and np.all(self.arms < len(ARMS))):
            raise UsageError(f"an arm is not one of the {len(ARMS)} that are known")
        if not (np.all(np.isfinite(self.features)) and np.all(np.isfinite(self.expected))):
            raise UsageError("a feature of a candidate is not a finite number")
        if not np.any(self.arms == ARMS.index(ASK_HUMAN)):
            raise UsageError(f"{ASK_HUMAN} must be among the candidates")
        if not np.any(self.allowed & (self.arms == ARMS.index(NO_ACTION))):
            raise UsageError(f"{NO_ACTION} must be among the candidates, and allowed")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def explored(self) -> Mask:
        """Rows that may be drawn by lot: safe and allowed."""
        return self.safe & self.allowed


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One decision, complete: what is needed to learn from it, to judge another policy by it, and to repeat it."""

    decision: str  # id that outcomes are joined by
    number: int  # of this decision since the start; with the seed it fixes the lot
    index: int  # of the chosen row
    greedy: int  # of the row that looked best
    propensities: F64  # of every row: the probability with which it would have been chosen, sum 1
    candidates: Candidates

    @property
    def name(self) -> str:
        """Of the chosen row."""
        return self.candidates.names[self.index]

    @property
    def propensity(self) -> float:
        """Of the chosen row."""
        return float(self.propensities[self.index])
