"""The bandit as the ranking of folds: masked by guards, asked again, on disk, learning from what came of them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loomidi.contracts import Mode, Plan
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import moment
from loomidi.insight.report import ProposedFold
from loomidi.ionic.documents import plan_id
from loomidi.origami.policy import ARMS, ASK_HUMAN, NO_ACTION, Chooser, read
from loomidi.services.folds.ranking import CHOICE, FEATURES, Bandit, asking, by_rules, candidates
from tests.unit.ionic.making import NOW_NS, a_finding, a_fold, a_plan

FINDING = a_finding()


def proposed(action: str = "rate", *, allowed: bool = True) -> ProposedFold:
    return ProposedFold(a_fold(action), a_plan(action), (), allowed)


class Fixed(Chooser):
    """A chooser whose lot is known: this row."""

    def __init__(self, row: int) -> None:
        super().__init__(FEATURES)
        self.row = row

    def propensities(self, candidates: Any) -> tuple[Any, int]:
        chances = np.zeros(len(candidates))
        chances[self.row] = 1.0
        return chances, self.row


def bandit(folder: Path, row: int | None = None, judge: Callable[[Plan], bool] = lambda _: True) -> Bandit:
    return Bandit(folder, judge, NOW_NS, Fixed(row) if row is not None else None)


def over(plan: Plan, note: str, phase: str = "Released") -> dict[str, Any]:
    """The Fold of a choice, over a minute after it was applied."""
    obj = fold_object(plan, "default")
    receipt = {"id": "r", "step": "applied", "atTime": moment(NOW_NS)}
    status = {"phase": phase, "since": moment(NOW_NS + 60 * 10**9), "receipts": [receipt]}
    return obj | {"metadata": obj["metadata"] | {"annotations": {CHOICE: note}}, "status": status}


def test_by_the_rules_the_gentlest_comes_first() -> None:
    assert by_rules(FINDING, [proposed("rate"), proposed("drop")], NOW_NS).fold == proposed("rate")


def test_what_a_guard_denies_is_masked_and_only_the_gentle_is_tried_by_lot() -> None:
    of = candidates(FINDING, [proposed("rate"), proposed("drop", allowed=False)])
    assert [ARMS[arm] for arm in of.arms[:2]] == [NO_ACTION, ASK_HUMAN]
    assert of.allowed.tolist() == [True, True, True, False]
    assert of.safe.tolist() == [True, True, True, False]
    assert int(np.argmax(of.expected)) == 2


def test_before_anything_was_learned_it_ranks_like_the_rules() -> None:
    of = candidates(FINDING, [proposed("rate"), proposed("drop")])
    chances, greedy = Chooser(FEATURES).propensities(of)
    assert greedy == 2
    assert chances[2] == pytest.approx(0.92 + 0.08 / 3)


def test_a_choice_is_on_disk_with_its_propensity_and_on_the_fold(tmp_path: Path) -> None:
    told = bandit(tmp_path, 3).rank(FINDING, [proposed("rate"), proposed("drop")], NOW_NS)
    assert told.fold == proposed("drop")
    assert told.notes[CHOICE].startswith(f"{proposed('rate').plan.id} propensity=1 chosen=RECONFIGURE_NETWORK drop")
    decisions, _ = read(next(tmp_path.glob("log-*")))
    assert decisions.column("propensity").to_pylist() == [1.0]


@pytest.mark.parametrize(("row", "acts", "ask"), [(0, False, False), (1, True, True), (2, True, False)])
def test_nothing_a_person_or_a_fold_follows(tmp_path: Path, row: int, acts: bool, ask: bool) -> None:
    told = bandit(tmp_path, row).rank(FINDING, [proposed()], NOW_NS)
    assert (told.fold is not None, told.ask) == (acts, ask)


def test_guards_are_asked_again_about_what_was_drawn(tmp_path: Path) -> None:
    one = bandit(tmp_path, 2, judge=lambda _: False)
    assert one.rank(FINDING, [proposed()], NOW_NS).fold is None
    assert one.counts["masked_after"] == 1


def test_who_is_asked_is_asked_whatever_the_mode_and_shadow_stays_shadow() -> None:
    plan = a_plan("drop", Mode.AUTONOMOUS)
    asked = asking(plan)
    assert (asked.mode, asked.id) == (Mode.SUGGEST, plan_id(dataclasses.replace(asked, id="")))
    assert asking(a_plan("drop", Mode.SHADOW)).mode is Mode.SHADOW


@pytest.mark.parametrize(("phase", "learned"), [("Released", 1), ("RolledBack", 1), ("Denied", 0)])
def test_it_learns_once_from_folds_that_acted_and_are_over(tmp_path: Path, phase: str, learned: int) -> None:
    one = bandit(tmp_path, 2)
    told = one.rank(FINDING, [proposed()], NOW_NS)
    fold = over(proposed().plan, told.notes[CHOICE], phase)
    assert [one.learn([fold]), one.learn([fold])] == [learned, 0]


def test_what_was_learned_outlives_a_restart_and_what_does_not_fit_is_told(tmp_path: Path) -> None:
    one = bandit(tmp_path)
    told = one.rank(FINDING, [proposed()], NOW_NS)
    again = Bandit(tmp_path, lambda _: True, NOW_NS + 1)
    assert again.chooser.counts["chosen"] == 1
    assert told is not None
    (tmp_path / "state.bin").write_bytes(b"something else")
    assert Bandit(tmp_path, lambda _: True, NOW_NS + 2).counts["state_refused"] == 1


def test_the_same_plan_again_is_not_decided_twice(tmp_path: Path) -> None:
    one = bandit(tmp_path, 2)
    assert isinstance(one.chooser, Chooser)
    one.rank(FINDING, [proposed()], NOW_NS)
    assert one.rank(FINDING, [proposed()], NOW_NS).fold == proposed()
    assert one.counts["by_rules"] == 1
