"""Scores of root cause analysis over cases, for any method.

Called by `conductor.verbs.bench` and by bench/causes.py, which puts peers through the same cases. In: cases and a
method, from case and observations to scores of entities. Out: `Score`. Ties count against the method: the place of the
truth is behind everything that scores as high. An entity that is not ranked stands behind all.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from loomidi.origami.causes import Observed, rank
from loomidi.services.benching.cases import Case

Method = Callable[[Case, Observed], Mapping[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One case as it was answered."""

    case: Case
    place: int  # of the truth, from 1; 0 where nothing is wrong
    named: int  # entities that the method named
    entities: int  # that it could have named
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """All cases of one method on one data set."""

    answers: tuple[Answer, ...]

    def at(self, most: int, **only: str) -> float:
        """Share of the cases whose truth is among the first `most`; of a `kind` or a `group` alone when named."""
        of = [answer for answer in self.answers if all(getattr(answer.case, key) == only[key] for key in only)]
        return sum(answer.place <= most for answer in of) / len(of) if of else 0.0

    def chance(self, most: int) -> float:
        """What drawing lots would get."""
        return statistics.fmean(min(1.0, most / answer.entities) for answer in self.answers)

    def by(self, key: str) -> dict[str, dict[str, float]]:
        """Cases, first and first three of each `kind` or `group`."""
        names = sorted({getattr(answer.case, key) for answer in self.answers})
        count = {name: sum(getattr(answer.case, key) == name for answer in self.answers) for name in names}
        return {
            name: {"cases": count[name], "first": self.at(1, **{key: name}), "first3": self.at(3, **{key: name})}
            for name in names
        }

    def seconds(self) -> tuple[float, float]:
        """Mean and longest."""
        took = [answer.seconds for answer in self.answers]
        return statistics.fmean(took), max(took)


def ours(case: Case, observed: Observed) -> dict[str, float]:
    """The product's own answer."""
    return {cause.entity: cause.score for cause in rank(observed, case.window, case.symptom)}


def score(cases: Iterable[Case], method: Method = ours) -> Score:
    """Answer every case. The time of a case includes reading and summing what is new in it."""
    return Score(tuple(_answer(case, method) for case in cases))


def silent(cases: Iterable[Case], method: Method = ours) -> tuple[float, int]:
    """Specificity: the share of windows without a fault in which the method names nobody, and how many there were."""
    named: Sequence[bool] = [not method(case, case.observe()) for case in cases]
    return (sum(named) / len(named) if named else 0.0), len(named)


def place_of(truth: str, scores: Mapping[str, float], entities: int) -> int:
    """Behind everything that scores as high; behind all when not named."""
    if truth not in scores:
        return max(entities, len(scores) + 1)
    return sum(other >= scores[truth] for other in scores.values())


def table(result: Score, first: str, first3: str) -> dict[str, Any]:
    """For `--json`, under the names that the data set's papers use."""
    mean, longest = result.seconds()
    renamed = {"cases": "cases", "first": first, "first3": first3}
    parts = {
        f"by_{key}": {name: {renamed[of]: part[of] for of in part} for name, part in result.by(key).items()}
        for key in ("kind", "group")
    }
    chance = {first: result.chance(1), first3: result.chance(3)}
    head = {"cases": len(result.answers), first: result.at(1), first3: result.at(3), "chance": chance}
    return head | parts | {"seconds_per_case": mean, "seconds_longest": longest}


def _answer(case: Case, method: Method) -> Answer:
    began = time.perf_counter()
    observed = case.observe()
    scores = method(case, observed)
    took = time.perf_counter() - began
    entities = len(set(observed.signals["entity"].unique().to_pylist()))
    return Answer(case, place_of(case.truth, scores, entities), len(scores), entities, took)
