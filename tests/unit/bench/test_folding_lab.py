"""What the bench of folds on the lab counts, and when it misses."""

import dataclasses
from pathlib import Path

import numpy as np

from bench.folding_lab import FOLDS, RUNS, done, figures, masked, missed, work
from loomidi.origami.policy import Candidates, Chooser, DecisionLog
from loomidi_lab.drills.records import Drilled
from loomidi_lab.healing.troubles import TROUBLES

RUN = Drilled("scan-services", "attack", 1, "bridge", True, True, "", applied=2, right=2, undone=2)


def test_every_fault_is_run_once_before_any_is_run_again() -> None:
    first = [name for name, _ in list(work())[: len(TROUBLES)]]
    assert first == list(TROUBLES)
    assert len({*work()}) == len(list(work()))


def test_both_numbers_must_be_reached() -> None:
    assert done([RUN] * RUNS)
    assert not done([RUN] * (RUNS - 1))
    assert not done([dataclasses.replace(RUN, applied=1)] * (FOLDS - 1))


def test_a_wrong_fold_makes_its_run_wrong_and_what_was_left_or_denied_is_counted() -> None:
    wrong = dataclasses.replace(RUN, right=1, harmful=1, undone=1, folds=("EVICT pod/a/b Denied: no", "x Released"))
    idle = dataclasses.replace(RUN, applied=0, right=0, undone=0)
    found = figures([RUN, wrong, idle, RUN])
    assert (found["runs"], found["folds"], found["nothing_done"]) == (4, 6, 1)
    assert found["right"] == 66.7
    assert (found["harmful"], found["left"], found["denied"]) == (1, 1, 1)


def test_what_is_short_masked_or_harmful_is_a_miss() -> None:
    good = figures([RUN] * RUNS)
    assert missed(good, 40, 0) == []
    assert len(missed(good | {"harmful": 1, "left": 1}, 40, 2)) == 3
    assert len(missed(figures([]), 0, 0)) == 3


def test_masked_choices_are_read_from_the_log_of_the_bandit(tmp_path: Path) -> None:
    chooser = Chooser(1)
    log = DecisionLog(chooser.settings, "bandit")
    allowed = np.array([True, False])
    row = np.zeros(2)
    options = Candidates(("a", "b"), np.array([0, 1]), row.reshape(2, 1), row, allowed, allowed)
    choice = chooser.choose("one", options)
    log.decided(choice, 1)
    log.decided(dataclasses.replace(choice, decision="two", index=1), 2)
    log.written(tmp_path / "log-1")
    assert masked(tmp_path) == (2, 1)
    assert masked(tmp_path / "nowhere") == (0, 0)
