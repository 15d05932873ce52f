"""Which fold, on the lab itself: B7 twenty runs of the bandit, which won in the environment, B8 forty folds of it.

In: a lab (its own is brought up where none of the name is), the five faults whose end the lab can measure. The bandit
begins as the rules decide, acts through the operator, hears what came of its folds, and goes on from seed to seed until
both numbers are reached; what it learned and each run lie in a folder, so that the bench can be done in stages. Out:
how often the folds were what the scenario calls right, beside the rules where `--rules` was run too; what was masked
and yet chosen, denied, harmful, not taken back. Exit 1 where a number is not reached, something masked was chosen, or
a fold was harmful or left. That a Fold held to its end is all that the bandit is told of an outcome.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loomidi.contracts import LoomidiError
from loomidi.origami.policy import read as read_log
from loomidi_lab.drills.commands import read
from loomidi_lab.drills.records import Drilled
from loomidi_lab.healing.troubles import TROUBLES

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".work" / "bench" / "folding_lab"
RUNS, FOLDS = 20, 40  # of the bandit: B7, B8
USERS = 1  # their seed
MOST_SEEDS = 20  # where folds stay away it ends, and misses


def work() -> Iterator[tuple[str, int]]:
    """Scenario and seed: every fault once before any comes again."""
    return ((name, seed) for seed in range(1, MOST_SEEDS + 1) for name in TROUBLES)


def done(runs: Sequence[Drilled]) -> bool:
    """Whether both numbers are reached."""
    return len(runs) >= RUNS and sum(run.applied for run in runs) >= FOLDS


def masked(choices: Path) -> tuple[int, int]:
    """Decisions of the bandit, and those that chose what the guards had denied."""
    tables = [read_log(folder)[0] for folder in sorted(choices.glob("log-*"))]
    rows = [row for table in tables for row in table.select(["chosen", "allowed"]).to_pylist()]
    return len(rows), sum(not row["allowed"][row["chosen"]] for row in rows)


def figures(runs: Sequence[Drilled]) -> dict[str, float]:
    """Of one ranking. Shares are percent of the runs with an effect, right where every fold with one was."""
    folded = [run for run in runs if run.applied]
    half = len(folded) // 2
    return {
        "runs": len(runs),
        "void": sum(not run.confirmed and not run.applied for run in runs),
        "folds": sum(run.applied for run in runs),
        "right": _percent([run.right == run.applied for run in folded]),
        "right_early": _percent([run.right == run.applied for run in folded[:half]]),
        "right_late": _percent([run.right == run.applied for run in folded[half:]]),
        "nothing_done": len(runs) - len(folded),
        "denied": sum(" Denied" in fold for run in runs for fold in run.folds),
        "harmful": sum(run.harmful for run in runs),
        "left": sum(run.applied - run.undone for run in runs),
    }


def missed(found: dict[str, float], decisions: int, against: int) -> list[str]:
    """In words."""
    lines = [f"B7: {found['runs']:.0f} runs < {RUNS}"] * (found["runs"] < RUNS)
    lines += [f"B8: {found['folds']:.0f} folds < {FOLDS}"] * (found["folds"] < FOLDS)
    lines += ["B7: the bandit decided nothing"] * (not decisions)
    lines += [f"B7: {against} masked actions were chosen"] * bool(against)
    lines += [f"B7: {found['harmful']:.0f} folds were harmful"] * bool(found["harmful"])
    lines += [f"B7: {found['left']:.0f} folds were not taken back"] * bool(found["left"])
    return lines


def _percent(values: Sequence[bool]) -> float:
    return round(100.0 * sum(values) / len(values), 1) if values else 0.0


def stage(lab: "Lab", folder: Path, until: float, *, rules: bool) -> None:
    """Runs that are still wanted, each a line, until the time is over."""
    from loomidi_lab.drills.playing import play
    from loomidi_lab.drills.scenes import users_only
    from loomidi_lab.healing.defending import defended

    file, choices = folder / ("rules.jsonl" if rules else "bandit.jsonl"), folder / "choices"
    choices.mkdir(parents=True, exist_ok=True)
    known = {(run.scenario, run.seed) for run in read(file)}
    with users_only(lab, USERS) as users, defended(lab, say, bandit=None if rules else choices) as defence:
        scene = dataclasses.replace(users, defence=defence)
        for name, seed in work():
            runs = read(file)
            if done(runs) or (rules and len(runs) >= RUNS) or time.monotonic() > until:
                return
            if (name, seed) in known:
                continue
            run = play(scene, name, seed, say)
            with file.open("a", encoding="utf-8") as kept:
                kept.write(json.dumps(run.as_dict()) + "\n")
            print(f"{name} {seed}: {run.applied} folds, {run.right} right, {run.harmful} harmful", flush=True)


@contextlib.contextmanager
def lab_with_shop(name: str) -> Iterator["Lab"]:
    """The lab of that name; one that is brought up for this goes again."""
    from loomidi_lab import shop
    from loomidi_lab.cluster import Lab, UpSettings, down, up

    try:
        lab, ours = Lab.open(name), False
    except LoomidiError:
        up(UpSettings(name=name))
        lab, ours = Lab.open(name), True
    try:
        shop.deploy(lab, progress=lambda _: None).wait_ready(180)
        yield lab
    finally:
        lab.close()
        if ours:
            down(name)


def say(text: str) -> None:
    """What goes on, for a person."""
    print(f"  {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--name", default="folding", help="which lab")
    parser.add_argument("--minutes", type=float, default=300.0, help="begin no run after so long; goes on next time")
    parser.add_argument("--rules", action="store_true", help="run the rules on the same faults instead, to compare")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where runs and what was learned lie")
    parser.add_argument("--json", type=Path, default=FOLDER.parent / "folding_lab.json", help="where the figures go")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if given.rules or not done(read(given.folder / "bandit.jsonl")):
        with lab_with_shop(given.name) as lab:
            stage(lab, given.folder, time.monotonic() + 60 * given.minutes, rules=given.rules)
    by: dict[str, dict[str, Any]] = {
        who: figures(read(given.folder / f"{who}.jsonl"))
        for who in ("bandit", "rules")
        if (given.folder / f"{who}.jsonl").exists()
    }
    for who, found in by.items():
        print(f"{who}: " + ", ".join(f"{name} {value:g}" for name, value in found.items()))
    decisions, against = masked(given.folder / "choices")
    lines = missed(by.get("bandit", figures([])), decisions, against)
    print(f"the bandit decided {decisions} times, {against} times what was masked")
    print("missed: " + "; ".join(lines) if lines else f"{RUNS} runs, {FOLDS} folds, no masked action")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    flat = {f"{who}_{name}": value for who, found in by.items() for name, value in found.items()}
    given.json.write_text(json.dumps(flat | {"decisions": decisions, "masked": against}))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
