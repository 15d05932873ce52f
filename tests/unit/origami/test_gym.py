"""The environment of the system graph: the lab's truth, the guards of the house, and nothing masked is ever done."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from loomidi.contracts import UsageError
from loomidi.ionic.decide import FINAL, Limits
from loomidi.origami.gym import (
    ACTIONS,
    FAMILIES,
    FEATURES,
    FIRST_FOLD,
    HUMAN,
    KINDS,
    NOTHING,
    OBSERVED,
    SCENARIOS,
    Idle,
    Simulator,
    action_of,
    candidates,
    decide_once,
    episodes_of,
    observation,
    parted,
    play,
)
from loomidi.origami.gym.actions import KIND_NAMES
from loomidi.origami.policy import MaskedAction

ROOT = Path(__file__).resolve().parents[3]
LAB = {
    path.parent.name: yaml.safe_load(path.read_text())
    for path in (ROOT / "src/loomidi_lab/scenarios").glob("*/scenario.yaml")
}
SAID = {"CORDON_NODE": "CORDON", "DRAIN_NODE": "CORDON", "DELETE": "EVICT"}  # the lab's words for our kinds
OURS = {*KIND_NAMES, *SAID}


def lot(simulator: Simulator, seed: int) -> list[float]:
    """An episode of allowed actions by lot; its rewards."""
    rng, rewards = np.random.default_rng(seed), []
    while not simulator.done:
        rewards.append(simulator.step(int(rng.choice(np.flatnonzero(simulator.mask())))))
    return rewards


def test_scenarios_are_those_of_the_lab() -> None:
    assert {name: (one.category, one.family) for name, one in SCENARIOS.items()} == {
        name: (lab["category"], lab["family"]) for name, lab in LAB.items()
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_the_lab_holds_to_be_right_cures_and_what_it_holds_harmful_does_not(name: str) -> None:
    cures = {(cure.kind, cure.role != "victim") for cure in SCENARIOS[name].cures}
    fold = LAB[name]["truth"]["fold"]
    right = {SAID.get(one["kind"], one["kind"]) for one in fold["right"] if one["kind"] in OURS}
    assert right <= {kind for kind, _ in cures} or SCENARIOS[name].protected
    own = {one.get("target", {}).get("name") for one in LAB[name]["truth"]["victims"]}
    worst = {one["kind"] for one in fold["harmful"] if one["target"]["name"] in own and one["kind"] in OURS}
    assert not {kind for kind, elsewhere in cures if not elsewhere} & (worst - right)


@pytest.mark.parametrize(
    "name", ["scan-services", "beacon-jittered", "bad-rollout-config", "queue-growth", "slow-loris", "disk-fill"]
)
def test_a_cure_does_better_than_doing_nothing(name: str) -> None:
    simulator = Simulator()
    cure = SCENARIOS[name].cures[0]
    gained = []
    for seed in range(12):
        simulator.reset(name, seed)
        roles = [entity.role for entity in simulator.trouble.suspects]
        if cure.role in roles and simulator.mask()[action := action_of(cure.kind, roles.index(cure.role))]:
            cured = decide_once(simulator, action)
            simulator.reset(name, seed)
            gained.append(cured.reward - decide_once(simulator, NOTHING).reward)
    assert len(gained) >= 4
    assert np.mean(gained) > 0.1


def test_isolating_a_look_alike_never_counts_as_a_success() -> None:
    simulator, tried = Simulator(), 0
    for seed in range(20):
        simulator.reset("monitoring-scrape", seed)
        if simulator.mask()[action := action_of("ISOLATE_POD", 0)]:
            tried += 1
            assert not decide_once(simulator, action).worked
    assert tried


def test_confidences_and_what_has_no_way_back_are_those_of_the_house() -> None:
    said = {
        "SCALE_OUT": "scale",
        "RESIZE": "resize",
        "CORDON": "cordon",
        "RECONFIGURE_NETWORK": "drop",
        "ROLLBACK": "rollback",
    }
    said |= {"RESTART": "restart", "ISOLATE_POD": "isolate", "EVICT": "evict"}
    for traits in KINDS:
        assert traits.confidence == Limits().min_confidence[said[traits.kind.value]]
        assert traits.ttl_s <= Limits().max_ttl_s
        assert not (traits.undoable and traits.kind in FINAL)
    settings = Simulator().settings.guards
    assert (settings.sure, settings.max_share) == (Limits().sure, Limits().max_share)
    assert settings.max_active_per_target == Limits().max_active_per_target


@pytest.mark.parametrize("action", range(FIRST_FOLD, len(ACTIONS)))
def test_a_masked_action_raises_is_counted_and_changes_nothing(action: int) -> None:
    simulator = Simulator()
    masked = 0
    for seed in range(3):
        for name in ("dns-failure", "scan-services", "node-down", "syn-flood", "privileged-pod"):
            simulator.reset(name, seed)
            if not simulator.mask()[action]:
                masked += 1
                with pytest.raises(MaskedAction, match="nothing was done"):
                    simulator.step(action)
                assert (simulator.tally.masked, simulator.tally.folds, simulator.folds) == (1, 0, [])
    assert masked


def test_no_fold_touches_who_is_protected() -> None:
    simulator = Simulator()
    for seed in range(20):
        simulator.reset("dns-failure", seed)
        for slot, entity in enumerate(simulator.trouble.suspects):
            if entity.protected:
                assert not any(simulator.mask(screened=False)[action_of(kind, slot)] for kind in KIND_NAMES)


def test_allowed_actions_by_lot_stay_within_the_budgets_that_screen_them() -> None:
    simulator = Simulator()
    for at, name in enumerate(SCENARIOS):
        simulator.reset(name, at)
        lot(simulator, at)
        assert simulator.tally.blast <= simulator.settings.budgets.blast + 1e-9
        assert simulator.tally.downtime_min <= simulator.settings.budgets.downtime_min + 1e-9
        assert simulator.tally.masked == 0


def test_the_same_seed_is_the_same_episode_and_another_one_is_not() -> None:
    simulator, runs = Simulator(), []
    for seed in (3, 3, 4):
        simulator.reset("http-flood", seed)
        runs.append((simulator.trouble.signals.tolist(), lot(simulator, 1)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_what_is_seen_does_not_depend_on_what_is_done_but_by_its_effect() -> None:
    simulator, seen = Simulator(), []
    for action in (NOTHING, HUMAN):
        simulator.reset("arp-spoofing", 5)
        simulator.step(action)
        seen.append(simulator.signals)
    np.testing.assert_array_equal(*seen)


def test_a_fold_that_does_not_help_is_taken_back_after_the_time_to_verify() -> None:
    simulator = Simulator()
    for seed in range(40):
        simulator.reset("arp-spoofing", seed)
        wrong = next(slot for slot, entity in enumerate(simulator.trouble.suspects) if entity.role != "source")
        if simulator.mask()[action := action_of("ISOLATE_POD", wrong)]:
            simulator.step(action)
            for _ in range(8):
                simulator.step(NOTHING)
            fold = simulator.folds[0]
            assert fold.from_s + 60 <= fold.until_s <= fold.from_s + 70.0 + 1e-6
            return
    pytest.fail("no episode in which the wrong suspect may be isolated")


def test_a_restart_of_what_leaks_helps_for_a_while_only() -> None:
    simulator = Simulator()
    for seed in range(40):
        simulator.reset("fd-leak", seed, lasts_s=280.0)
        if simulator.trouble.suspects[0].role == "victim" and simulator.mask()[action := action_of("RESTART", 0)]:
            simulator.step(action)
            alarms = []
            while not simulator.done:
                simulator.step(NOTHING)
                alarms.append(simulator.alarm)
            first = alarms.index(False)
            assert any(alarms[first:])
            return
    pytest.fail("no episode in which the victim may be restarted")


def test_a_human_costs_and_ends_what_no_fold_can_end() -> None:
    simulator = Simulator()
    simulator.reset("certificate-expired", 1, lasts_s=280.0)
    rewards = [simulator.step(HUMAN)]
    while not simulator.done:
        rewards.append(simulator.step(NOTHING))
    assert not simulator.alarm
    assert simulator.tally.asked == 1
    assert not simulator.mask()[HUMAN]


def test_the_observation_has_its_size_and_bounds_whatever_is_done() -> None:
    simulator = Simulator()
    for at, name in enumerate(SCENARIOS):
        simulator.reset(name, at)
        lot(simulator, at)
        seen = observation(simulator)
        assert seen.shape == (OBSERVED,)
        assert seen.dtype == np.float32
        assert np.all(np.abs(seen) <= 1.0)


def test_candidates_are_the_actions_with_the_guards_mask() -> None:
    simulator = Simulator()
    simulator.reset("brute-force-ssh", 2)
    of = candidates(simulator)
    assert of.names == ACTIONS
    assert of.features.shape == (len(ACTIONS), FEATURES)
    np.testing.assert_array_equal(of.allowed, simulator.mask())
    assert not of.safe[action_of("ISOLATE_POD", 0)]
    assert of.safe[action_of("SCALE_OUT", 0)]


@pytest.mark.parametrize("part", range(3))
def test_no_family_is_both_learned_and_held_out(part: int) -> None:
    learned, held = parted(part, 3)
    family = lambda names: {(SCENARIOS[name].category, SCENARIOS[name].family) for name in names}  # noqa: E731
    assert not family(learned) & family(held)
    assert family(learned) | family(held) == set(FAMILIES)
    assert {category for category, _ in family(held)} == {"attack", "failure", "benign"}


def test_every_family_is_held_out_by_one_part() -> None:
    held = [name for part in range(3) for name in parted(part, 3)[1]]
    assert sorted(held) == sorted(SCENARIOS)


def test_episodes_have_the_share_of_look_alikes_that_was_asked_for() -> None:
    drawn = episodes_of(tuple(SCENARIOS), 1000, 1)
    benign = np.mean([SCENARIOS[name].category == "benign" for name, _ in drawn])
    assert benign == pytest.approx(0.3, abs=0.05)
    assert len({seed for _, seed in drawn}) == 1000


def test_who_does_nothing_pays_nothing_for_folds() -> None:
    for one in play(Idle(), episodes_of(tuple(SCENARIOS), 20, 2)):
        assert (one.folds, one.downtime_min, one.blast, one.masked, one.first) == (0, 0.0, 0.0, 0, "")
        assert one.within


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="scan-services"):
        Simulator().reset("meteorite", 0)
    simulator = Simulator()
    simulator.reset("scan-services", 0)
    with pytest.raises(UsageError, match="18"):
        simulator.step(18)
