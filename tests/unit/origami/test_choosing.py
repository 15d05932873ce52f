"""Which fold: the guards' mask holds before and after the lot, the lot is stated, what was learned can be repeated."""

import numpy as np
import pyarrow as pa
import pytest

from loomidi.contracts import Conflict, InputError, Refused, UsageError
from loomidi.origami.policy import (
    ARMS,
    ASK_HUMAN,
    NO_ACTION,
    Candidates,
    Chooser,
    ChooserSettings,
    DecisionLog,
    MaskedAction,
    Outcome,
    joined,
    read,
    replay,
)

KINDS = (NO_ACTION, ASK_HUMAN, "SCALE_OUT", "ISOLATE_POD", "ROLLBACK")
WIDTH = 3


def some(
    seed: int = 0, allowed: tuple[int, ...] = (1, 1, 1, 1, 1), safe: tuple[int, ...] = (1, 1, 1, 0, 0)
) -> Candidates:
    return Candidates(
        names=tuple(f"{kind} x" for kind in KINDS),
        arms=np.array([ARMS.index(kind) for kind in KINDS]),
        features=np.random.default_rng(seed).random((len(KINDS), WIDTH)),
        expected=np.array([0.4, 0.3, 0.6, 0.5, 0.2]),
        allowed=np.array(allowed, bool),
        safe=np.array(safe, bool),
    )


def used(decisions: int = 60, seed: int = 1) -> tuple[Chooser, DecisionLog]:
    """A chooser with a past in which outcomes come five decisions late, and its log."""
    settings = ChooserSettings(seed=seed)
    chooser, log = Chooser(WIDTH, settings), DecisionLog(settings, "test")
    for at in range(decisions):
        choice = chooser.choose(f"d{at}", some(at, allowed=(1, 1, at % 3 > 0, 1, at % 2)))
        log.decided(choice, at)
        if at >= 5:
            chooser.learn(f"d{at - 5}", (at % 7) / 7)
            log.came(Outcome(f"d{at - 5}", at, 60.0, (at % 7) / 7, "worked"))
    return chooser, log


def test_before_anything_is_learned_the_rules_decide() -> None:
    chooser = Chooser(WIDTH, ChooserSettings(optimism=0.0, caution=0.0))
    assert some().names[chooser.best(some())] == "SCALE_OUT x"


def test_a_masked_candidate_has_no_probability() -> None:
    chances, greedy = Chooser(WIDTH).propensities(some(allowed=(1, 1, 0, 0, 1)))
    assert (chances[2], chances[3]) == (0.0, 0.0)
    assert greedy not in (2, 3)


def test_a_masked_candidate_is_never_drawn_in_a_thousand_lots() -> None:
    chooser = Chooser(WIDTH, ChooserSettings(floor=0.1))
    of = some(allowed=(1, 1, 0, 1, 0))
    assert not {chooser.choose(f"d{at}", of).index for at in range(1000)} & {2, 4}


def test_only_what_is_safe_is_drawn_by_lot() -> None:
    chances, greedy = Chooser(WIDTH, ChooserSettings(floor=0.09)).propensities(some())
    by_lot = np.flatnonzero(np.delete(chances, greedy))
    assert chances[3] == chances[4] == 0.0
    assert len(by_lot) == 2
    assert chances.sum() == pytest.approx(1.0)


def test_the_share_by_lot_is_the_stated_floor() -> None:
    chooser = Chooser(WIDTH, ChooserSettings(floor=0.1))
    for at in range(3000):
        chooser.choose(f"d{at}", some())
    assert chooser.counts["by_lot"] / 3000 == pytest.approx(0.1 * 2 / 3, abs=0.015)  # a third of the lots is the best


@pytest.mark.parametrize("floor", [0.0, 0.04, 0.11])
def test_a_floor_outside_of_five_to_ten_percent_is_refused(floor: float) -> None:
    with pytest.raises(UsageError, match="floor"):
        ChooserSettings(floor=floor)


def test_a_guard_that_denies_after_the_lot_raises_and_is_counted_and_nothing_is_waited_for() -> None:
    chooser = Chooser(WIDTH)
    with pytest.raises(MaskedAction, match="a guard denies"):
        chooser.choose("d0", some(), allowed_now=lambda index: False)
    assert issubclass(MaskedAction, Refused)
    assert (chooser.counts["refused_after"], chooser.counts["chosen"]) == (1, 0)
    assert not chooser.learn("d0", 1.0)


def test_to_do_nothing_must_always_be_possible() -> None:
    with pytest.raises(UsageError, match=NO_ACTION):
        some(allowed=(0, 1, 1, 1, 1))


def test_outcomes_move_the_choice() -> None:
    chooser, of = Chooser(WIDTH, ChooserSettings(optimism=0.0)), some()
    for at in range(60):
        index = chooser.choose(f"d{at}", of).index
        chooser.learn(f"d{at}", 1.0 if index == 1 else 0.0)
    assert of.names[chooser.best(of)] == "ASK_HUMAN x"


def test_what_is_not_safe_must_be_known_to_be_better() -> None:
    of = some(safe=(1, 1, 1, 0, 0))
    level = Candidates(of.names, of.arms, of.features, np.full(5, 0.5), of.allowed, of.safe)
    assert level.safe[Chooser(WIDTH, ChooserSettings(optimism=0.0, caution=1.0)).best(level)]


def test_an_outcome_of_nobody_or_for_the_second_time_is_counted_and_learned_once() -> None:
    chooser = Chooser(WIDTH)
    chooser.choose("d0", some())
    assert chooser.learn("d0", 1.0)
    assert not chooser.learn("d0", 1.0)
    assert not chooser.learn("other", 1.0)
    assert (chooser.counts["learned"], chooser.counts["unknown"]) == (1, 2)


def test_the_oldest_decision_is_forgotten_when_too_many_are_waited_for() -> None:
    chooser = Chooser(WIDTH, ChooserSettings(pending=2))
    for at in range(3):
        chooser.choose(f"d{at}", some())
    assert chooser.counts["forgotten"] == 1
    assert not chooser.learn("d0", 1.0)
    assert chooser.learn("d2", 1.0)


def test_the_same_seed_makes_the_same_choices_and_another_one_others() -> None:
    one, again, other = (used(seed=seed)[1].decisions["chosen"].to_pylist() for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_restored_chooser_goes_on_to_the_bit() -> None:
    chooser, _ = used()
    other = Chooser(WIDTH, chooser.settings)
    other.restore(chooser.snapshot())
    assert other.snapshot() == chooser.snapshot()
    for at in range(60, 80):
        assert other.choose(f"d{at}", some(at)).index == chooser.choose(f"d{at}", some(at)).index
        assert other.learn(f"d{at - 5}", 0.7) is chooser.learn(f"d{at - 5}", 0.7) is True
    assert other.snapshot() == chooser.snapshot()


def test_a_snapshot_of_other_features_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        Chooser(WIDTH + 1).restore(used()[0].snapshot())


def test_the_log_replays_every_choice_and_ends_in_the_same_state() -> None:
    chooser, log = used()
    again = Chooser(WIDTH, chooser.settings)
    assert replay(log.decisions, log.outcomes, again) == []
    assert again.snapshot() == chooser.snapshot()


def test_a_replay_names_the_decision_that_was_changed() -> None:
    chooser, log = used()
    table = log.decisions
    chosen = table["chosen"].to_pylist()
    chosen[7] = (chosen[7] + 1) % 2
    changed = table.set_column(
        table.schema.get_field_index("chosen"), table.schema.field("chosen"), pa.array(chosen, pa.int32())
    )
    assert replay(changed, log.outcomes, Chooser(WIDTH, chooser.settings)) == ["d7"]


def test_the_logged_propensity_is_that_of_what_was_done() -> None:
    for row in used()[1].decisions.to_pylist():
        assert row["propensity"] == row["propensities"][row["chosen"]] > 0
        assert sum(row["propensities"]) == pytest.approx(1.0)
        assert row["allowed"][row["chosen"]]


def test_outcomes_are_joined_by_their_decision_and_what_has_no_partner_is_counted(tmp_path) -> None:
    _, log = used()
    log.came(Outcome("nobody", 99, 60.0, 0.5, "worked"))
    log.came(Outcome("d3", 99, 60.0, 0.9, "harmful"))
    table, counts = joined(log.decisions, log.outcomes)
    assert counts == {"joined": 55, "without_outcome": 5, "without_decision": 1, "again": 1}
    rewards = dict(zip(table["decision"].to_pylist(), table["reward"].to_pylist(), strict=True))
    assert rewards["d3"] == (8 % 7) / 7  # the first that came


def test_the_log_on_disk_is_appended_to_and_never_written_over(tmp_path) -> None:
    _, log = used(20)
    first = log.written(tmp_path)
    log.came(Outcome("d17", 99, 60.0, 0.5, "worked"))
    second = log.written(tmp_path)
    assert len(first) == 2
    assert len(second) == 1
    decisions, outcomes = read(tmp_path)
    assert decisions.equals(log.decisions)
    assert outcomes.equals(log.outcomes)
    with pytest.raises(Conflict, match="only appended"):
        used(20)[1].written(tmp_path)


def test_a_file_of_something_else_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "decisions-000000000001.arrow").write_bytes(b"nothing")
    with pytest.raises(InputError, match="decisions-000000000001"):
        read(tmp_path)
