"""Which fold, in the environment: B7 whole episodes on held-out families, B8 two hundred folds one after the other.

B7: rules as they are, a playbook by hand, bandit, agent (MaskablePPO) and nobody play the same episodes; learned on
two thirds of the families, played on the last third, which changes with the seed. The verdict says whether the agent
may be promoted: it must be ahead of every other on the mean and on no seed behind bandit or rules, without a masked
action. B8: a bandit that begins as the rules decides, waits for outcomes, learns; first on half of the families, then
on the other half. Without sb3-contrib the agent is left out, and it is said. Exit 1 when a target is missed or a peer
is ahead. The environment is no cluster: docs/which-fold.md says what its figures rest on.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.folding_players import ByHand, Rules, expected, first_of, rules
from loomidi.contracts import EnvironmentLacks
from loomidi.origami.gym import (
    FEATURES,
    SCENARIOS,
    Bandit,
    Idle,
    Played,
    Player,
    Simulator,
    candidates,
    decide_once,
    episodes_of,
    parted,
    play,
)
from loomidi.origami.policy import METHODS, Candidates, Chooser, ChooserSettings, Estimate, Judged, estimate, modelled

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / ".work" / "bench" / "folding.json"
PARTS = 3  # of the families; one is held out
TRAIN_SEED, TEST_SEED = 500, 900  # seeds that no other part uses
FOLDS, DELAY = 200, 5  # of B8; decisions after which an outcome comes
GAIN, FORGETTING, OFF = 10.0, 2.0, 0.10  # targets of B8: points, points, part
Names = tuple[str, ...]
F64 = npt.NDArray[np.float64]


class Learner:
    """A bandit in the environment: decides, and learns what came of it `DELAY` decisions later."""

    def __init__(self, seed: int) -> None:
        self.chooser = Chooser(FEATURES, ChooserSettings(seed=seed))
        self.simulator = Simulator()
        self._due: list[tuple[str, float]] = []
        self._rows: list[tuple[Candidates, int, float, float]] = []

    def fold(self, scenario: str, seed: int, *, learn: bool = True) -> bool:
        """One decision; whether it worked. Without `learn` it is only logged."""
        self.simulator.reset(scenario, seed)
        of = candidates(self.simulator, expected(self.simulator))
        choice = self.chooser.choose(f"{scenario}-{seed}", of)
        came = decide_once(self.simulator, choice.index)
        self._rows.append((of, choice.index, came.reward, choice.propensity))
        if learn:
            self._due.append((choice.decision, came.reward))
        if len(self._due) > DELAY:
            self.chooser.learn(*self._due.pop(0))
        return came.worked

    def settle(self) -> None:
        """Every outcome has come."""
        while self._due:
            self.chooser.learn(*self._due.pop(0))

    def judged(self, last: int) -> Judged:
        """The last decisions of the log."""
        of, chosen, rewards, propensities = zip(*self._rows[-last:], strict=True)
        return Judged(of, np.array(chosen), np.array(rewards), np.array(propensities))


def firsts(names: Names, count: int, seed: int, choose: Any) -> tuple[float, float]:
    """Success in percent and mean reward of first folds; `choose` gives an action for a simulator."""
    simulator, came = Simulator(), []
    for scenario, number in episodes_of(names, count, seed):
        simulator.reset(scenario, number)
        action, screened = choose(simulator)
        came.append(decide_once(simulator, action, screened=screened))
    return 100.0 * float(np.mean([one.worked for one in came])), float(np.mean([one.reward for one in came]))


def by_rules(simulator: Simulator) -> tuple[int, bool]:
    """The first of the rules' folds that guards allow."""
    return first_of(simulator, rules(simulator)), False


def by(chooser: Chooser) -> Any:
    """What a bandit would do without its lots."""
    return lambda simulator: (chooser.best(candidates(simulator, expected(simulator))), True)


def b8(seed: int, count: int) -> dict[str, Any]:
    """One stream of folds. `count`: episodes of each evaluation."""
    old, new = parted(seed, 2)
    learner = Learner(seed)
    for episode in episodes_of(old, FOLDS // 2, TRAIN_SEED + seed):
        learner.fold(*episode)
    learner.settle()
    regression = TEST_SEED + 10 * seed
    earlier = learner.chooser.snapshot()
    before = firsts(old, count, regression, by(learner.chooser))[0]
    late = [learner.fold(*episode) for episode in episodes_of(new, FOLDS // 2, TRAIN_SEED + 100 + seed)]
    learner.settle()
    after = firsts(old, count, regression, by(learner.chooser))[0]
    every = tuple(SCENARIOS)
    mixed = regression + 1
    ours, theirs = firsts(every, count, mixed, by(learner.chooser)), firsts(every, count, mixed, by_rules)
    told = off_policy(learner, earlier, seed, 2 * count)
    return {
        "rules": theirs[0],
        "bandit": ours[0],
        "gain": ours[0] - theirs[0],
        "late": 100.0 * float(np.mean(late)),
        "late_rules": firsts(new, FOLDS // 2, TRAIN_SEED + 100 + seed, by_rules)[0],
        "forgetting": max(0.0, before - after),
        **told,
    }


def off_policy(learner: Learner, earlier: bytes, seed: int, count: int) -> dict[str, Any]:
    """What two other policies would earn by the log of the bandit, which stands still meanwhile, and what they do earn.

    The first is the bandit without its lots, the second what it was after half of the folds.
    """
    for episode in episodes_of(tuple(SCENARIOS), count, TRAIN_SEED + 200 + seed):
        learner.fold(*episode, learn=False)
    judged, found = learner.judged(count), {}
    for name, state in (("", learner.chooser.snapshot()), ("earlier_", earlier)):
        other = Chooser(FEATURES, ChooserSettings(seed=seed))
        other.restore(state)
        logged = modelled(judged, _greedy(other))
        told: dict[str, Estimate] = {method: estimate(method, logged) for method in METHODS}
        true = firsts(tuple(SCENARIOS), count, TEST_SEED + 10 * seed + 2, by(other))[1]
        found |= {f"{name}on_policy": true, f"{name}effective": told["dr"].effective}
        found |= {f"{name}conclusive": told["dr"].conclusive}
        found |= {f"{name}{method}": one.value for method, one in told.items()}
        found |= {f"{name}{method}_off": abs(one.value - true) / true for method, one in told.items()}
    return found


def _greedy(chooser: Chooser) -> Callable[[Candidates], F64]:
    """Probabilities of a bandit without its lots."""
    return lambda of: np.eye(len(of))[chooser.best(of)]


def trained(names: Names, seed: int, steps: int) -> Player | None:
    """The agent, where its libraries are."""
    try:
        from loomidi.origami.gym.agents import AgentSettings, train
    except EnvironmentLacks as lacking:
        print(f"no agent: {lacking}")
        return None
    return train(names, AgentSettings(seed=seed, steps=steps))


def b7(seed: int, count: int, training: int, steps: int) -> dict[str, dict[str, float]]:
    """Every player on the families that this seed holds out."""
    learn_on, held_out = parted(seed, PARTS)
    learner = Learner(seed)
    for episode in episodes_of(learn_on, training, TRAIN_SEED + 300 + seed):
        learner.fold(*episode)
    learner.settle()
    players: dict[str, Player | None] = {
        "nobody": Idle(),
        "rules": Rules(),
        "by hand": ByHand(),
        "bandit": Bandit(learner.chooser, expected),
        "agent": trained(learn_on, seed, steps) if steps else None,
    }
    episodes = episodes_of(held_out, count, TEST_SEED + 10 * seed + 3)
    found = {name: summed(play(player, episodes)) for name, player in players.items() if player}
    print(f"B7 seed {seed}: " + ", ".join(f"{name} {of['reward']:.3f}" for name, of in found.items()), flush=True)
    return found


def summed(played: list[Played]) -> dict[str, float]:
    """Means of an evaluation; masked actions are added up."""
    fields = ("reward", "slo_min", "progress", "downtime_min", "blast", "folds", "asked")
    means = {name: float(np.mean([getattr(one, name) for one in played])) for name in fields}
    return means | {
        "masked": float(sum(one.masked for one in played)),
        "over_budget": 100.0 * float(np.mean([not one.within for one in played])),
        "folded_benign": 100.0 * float(np.mean([one.folds > 0 for one in played if _benign(one)] or [0.0])),
    }


def _benign(one: Played) -> bool:
    return SCENARIOS[one.scenario].category == "benign"


def told(values: list[float]) -> dict[str, float]:
    """Over the seeds."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": deviation, "least": min(values), "most": max(values)}


def print_b7(runs: list[dict[str, dict[str, float]]]) -> None:
    """A table of means; rewards with deviation and worst seed."""
    print(f"\nB7 held-out families, {len(runs)} seeds; reward in minutes of the service level, 0 is perfect")
    print(
        f"{'':10}{'reward':>9}{'sd':>7}{'worst':>8}{'SLO min':>9}{'attack':>8}{'downtime':>10}{'blast':>7}{'folds':>7}"
        f"{'humans':>8}{'masked':>8}{'over budget':>13}{'folded benign':>15}"
    )
    for name in runs[0]:
        reward, of = told([run[name]["reward"] for run in runs]), {}
        for field in runs[0][name]:
            of[field] = float(np.mean([run[name][field] for run in runs]))
        masked = sum(run[name]["masked"] for run in runs)
        print(
            f"{name:10}{reward['mean']:9.3f}{reward['sd']:7.3f}{reward['least']:8.3f}{of['slo_min']:9.3f}"
            f"{of['progress']:8.3f}{of['downtime_min']:10.3f}{of['blast']:7.3f}{of['folds']:7.2f}{of['asked']:8.2f}"
            f"{masked:8.0f}{of['over_budget']:11.1f} %{of['folded_benign']:13.1f} %",
            flush=True,
        )


def verdict(runs: list[dict[str, dict[str, float]]]) -> tuple[bool, str]:
    """Whether the agent may be promoted, and why (not)."""
    if any("agent" not in run for run in runs):
        return False, "the agent was not trained here (it needs the environment of `make train-tools`)"
    ahead = [run["agent"]["reward"] - max(run[name]["reward"] for name in ("bandit", "rules")) for run in runs]
    behind = [name for name in runs[0] if name != "agent" and _mean(runs, name) >= _mean(runs, "agent")]
    doubts = [f"{name} is not worse" for name in behind]
    doubts += [f"behind bandit or rules on {sum(gap <= 0 for gap in ahead)} seeds"] * (min(ahead) <= 0)
    doubts += ["it tried what is masked"] * any(run["agent"]["masked"] for run in runs)
    doubts += ["it broke a budget"] * any(run["agent"]["over_budget"] > 0 for run in runs)
    return not doubts, "; ".join(doubts) or "ahead of every other, on every seed, within budgets, nothing masked"


def _mean(runs: list[dict[str, dict[str, float]]], name: str) -> float:
    return float(np.mean([run[name]["reward"] for run in runs]))


def print_b8(runs: list[dict[str, Any]]) -> None:
    """A line a figure."""
    print(f"\nB8 {FOLDS} folds, {len(runs)} seeds; success of the first fold in percent, gain and forgetting in points")
    print(f"{'':18}{'mean':>9}{'sd':>8}{'least':>8}{'most':>8}")
    for field in runs[0]:
        of = told([float(run[field]) for run in runs])
        print(f"{field:18}{of['mean']:9.3f}{of['sd']:8.3f}{of['least']:8.3f}{of['most']:8.3f}", flush=True)


def missed(sevens: list[dict[str, dict[str, float]]], eights: list[dict[str, Any]]) -> list[str]:
    """In words: the targets, and peers that are ahead of the bandit, which is what is proposed."""
    lines = []
    if sevens:
        lines += [
            f"B7: {name} is ahead of the bandit ({_mean(sevens, name):.3f} >= {_mean(sevens, 'bandit'):.3f})"
            for name in ("nobody", "rules", "by hand")
            if _mean(sevens, name) >= _mean(sevens, "bandit")
        ]
        ours = [name for name in ("bandit", "agent") if name in sevens[0]]
        lines += [f"B7: {name} tried what is masked" for name in ours if any(run[name]["masked"] for run in sevens)]
        lines += [f"B7: {name} broke a budget" for name in ours if any(run[name]["over_budget"] for run in sevens)]
    if eights:
        gain, forgetting, off = (told([run[key] for run in eights])["mean"] for key in ("gain", "forgetting", "dr_off"))
        lines += [f"B8: gain {gain:.1f} points < {GAIN:g}"] * (gain < GAIN)
        lines += [f"B8: forgetting {forgetting:.1f} points > {FORGETTING:g}"] * (forgetting > FORGETTING)
        lines += [f"B8: DR is off by {off:.1%} > {OFF:.0%}"] * (off > OFF)
        lines += ["B8: DR could not be said"] * any(not run["conclusive"] for run in eights)
    return lines


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=6, help="how many (6: each part is held out twice)")
    parser.add_argument("--first-seed", type=int, default=0, help="100 and on for development; the report has 0 and on")
    parser.add_argument("--episodes", type=int, default=300, help="of each evaluation")
    parser.add_argument("--training", type=int, default=1500, help="decisions that the bandit of B7 learns from")
    parser.add_argument("--steps", type=int, default=20_000, help="decisions that the agent is trained on; 0: no agent")
    parser.add_argument("--only", choices=("b7", "b8"), help="one of the two")
    parser.add_argument("--json", type=Path, default=RESULT, help="where the figures go")
    return parser.parse_args()


def main() -> int:
    given, started = arguments(), time.monotonic()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    eights = [] if given.only == "b7" else [b8(seed, given.episodes) for seed in seeds]
    if eights:
        print_b8(eights)
    sevens = [] if given.only == "b8" else [b7(seed, given.episodes, given.training, given.steps) for seed in seeds]
    if sevens:
        print_b7(sevens)
    promoted, why = verdict(sevens) if sevens else (False, "not asked")
    print(f"\nthe agent may {'' if promoted else 'not '}be promoted: {why}")
    lines = missed(sevens, eights)
    print("missed: " + "; ".join(lines) if lines else "all targets met, no peer ahead")
    print(f"{time.monotonic() - started:.0f} s")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(figures(sevens, eights, promoted)))
    return 1 if lines else 0


def figures(
    sevens: list[dict[str, dict[str, float]]], eights: list[dict[str, Any]], promoted: bool
) -> dict[str, float | bool]:
    """Flat, for the report."""
    flat: dict[str, float | bool] = {"b7_agent_promoted": promoted}
    for name in sevens[0] if sevens else ():
        for field in ("reward", "slo_min", "masked", "over_budget"):
            flat[f"b7_{name.replace(' ', '_')}_{field}"] = told([run[name][field] for run in sevens])["mean"]
    for field in eights[0] if eights else ():
        flat[f"b8_{field}"] = told([float(run[field]) for run in eights])["mean"]
    return flat


if __name__ == "__main__":
    sys.exit(main())
