"""The verb `drill`: many scenarios, without Loomidi and with it, a line each; goes on where it was ended.

Called by `loomidi_lab.cli`. In: names, seeds. Out: lines of JSON in a file, the table between the marks of a page.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomidi.contracts.errors import EnvironmentLacks, LoomidiError, UsageError
from loomidi_lab.drills.records import Drilled
from loomidi_lab.drills.tables import BEGIN, END, ending, latest, lines
from loomidi_lab.staging.pages import put_between

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.drills.scenes import Scene

_USERS = 1  # their seed
_QUIET_S = 30.0  # without an alert, and an incident is over: before the next scenario begins

Turn = tuple[str, int]  # scenario, seed


@click.command("drill")
@click.argument("names", nargs=-1, metavar="[SCENARIO]...")
@click.option("--category", type=click.Choice(["attack", "failure", "benign"]), multiple=True, help="Only these.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), show_default=True, help="One or more.")
@click.option("--name", "lab_name", default="lab", show_default=True, metavar="LAB", help="Which lab.")
@click.option("--only", type=click.Choice(["with", "without"]), help="One of the two ways.")
@click.option("--learn", type=float, default=8.0, show_default=True, metavar="M", help="Minutes before; 0: no model.")
@click.option("--again", is_flag=True, help="Also what lies in the results already.")
@click.option("--minutes", type=float, metavar="M", help="Begin no run after so long; the next call goes on there.")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path), help="Where the lines go.  [the labs' own]")
@click.option("--into", metavar="PAGE", type=click.Path(path_type=Path), help="Renew the tables of this page.")
def command(
    names: tuple[str, ...],
    category: tuple[str, ...],
    seeds: tuple[int, ...],
    lab_name: str,
    only: str | None,
    learn: float,
    again: bool,
    minutes: float | None,
    results: Path | None,
    into: Path | None,
) -> int:
    """Run every attack, failure and look-alike on a lab with the shop, without Loomidi and with it acting by itself.

    Users come all the time. Loomidi first learns what is usual (`--learn`), for
    minutes instead of the day that it takes elsewhere. What lies in the results
    is not run again, so that a long drill can be done in stages. Exit code 1: an
    attack or a failure that was not detected, a harmful fold, one that was not
    taken back, or runs that are left.
    """
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging import loading

    lab = Lab.open(lab_name)
    file = results or lab.folder.parent / "drills.jsonl"
    chosen = [loading.load(name) for name in names or loading.names()]
    scenarios = [one.name for one in chosen if not category or one.category in category]
    if not scenarios:
        raise UsageError("no scenario is left; see `loomidi-lab scenarios`")
    ways = {"with": (True,), "without": (False,), None: (False, True)}[only]
    drill = _Drill(lab, file, learn, time.monotonic() + 60 * minutes if minutes else None)
    turns = [(name, seed) for seed in seeds for name in scenarios]
    for way in ways:
        drill.run(turns if again else drill.left(turns, way), way)
    runs = latest(read(file))
    if into:
        put(into, runs)
    click.echo(ending(runs))
    left = sum(len(drill.left(turns, way)) for way in ways)
    if left:
        click.echo(f"{left} of {len(turns) * len(ways)} runs are left; the same call goes on there")
    return 0 if not left and all(map(_well, runs)) else 1


class _Drill:
    """Runs and their file."""

    def __init__(self, lab: "Lab", file: Path, learn: float, until: float | None) -> None:
        self._lab, self._file, self._learn, self._until = lab, file, learn, until
        self._started = time.monotonic()
        self.known = {run.key for run in read(file)}

    def left(self, turns: list[Turn], with_loomidi: bool) -> list[Turn]:
        """Those that no line of the file is about."""
        network = self._lab.network
        return [turn for turn in turns if (*turn, network, with_loomidi) not in self.known]

    def run(self, turns: list[Turn], with_loomidi: bool) -> None:
        """These, one after the other, under one defence that learns once; one that breaks is put up anew."""
        waiting = list(turns)
        while waiting and not self._late():
            try:
                self._under_one(waiting, with_loomidi)
            except EnvironmentLacks as error:
                self._say(f"begun anew: {error}")

    def _under_one(self, waiting: list[Turn], with_loomidi: bool) -> None:
        """Takes from `waiting` for as long as the defence lasts."""
        with self._scene(with_loomidi) as scene:
            while waiting and not self._late():
                self._one(*waiting.pop(0), scene)

    def _one(self, name: str, seed: int, scene: "Scene") -> None:
        from loomidi_lab.drills.playing import play

        self._say(f"{name}, seed {seed}, {'with' if scene.defence else 'without'} Loomidi")
        try:
            run = play(scene, name, seed, self._say)
        except EnvironmentLacks as error:
            self._say(f"left out: {error}")
            if scene.defence is not None:
                raise
            return
        except LoomidiError as error:
            self._say(f"void: {error}")
            return
        with self._file.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(run.as_dict()) + "\n")
        self.known.add(run.key)
        click.echo(_told(run))

    @contextlib.contextmanager
    def _scene(self, with_loomidi: bool) -> "Iterator[Scene]":
        from loomidi_lab.drills.scenes import Learner, guarded, learning, users_only

        with users_only(self._lab, _USERS) as scene:
            if not with_loomidi:
                yield scene
                return
            learner = Learner(learning(self._learn, quiet_s=_QUIET_S)) if self._learn else None
            with guarded(scene, self._say, learner) as held:
                yield held

    def _late(self) -> bool:
        return self._until is not None and time.monotonic() > self._until

    def _say(self, text: str) -> None:
        click.echo(f"[{time.monotonic() - self._started:6.1f} s] {text}", err=True)


def read(file: Path) -> list[Drilled]:
    """Runs of a file, in their order; none where there is no file."""
    if not file.exists():
        return []
    return [Drilled.of(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def put(page: Path, runs: list[Drilled]) -> None:
    """Renew the tables between the marks. Raises UsageError for a page without them."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UsageError(f"{page}: no place for the tables; it needs the lines {BEGIN} and {END}")
    put_between(page, BEGIN, END, "\n".join(lines(runs)) + "\n")


def _well(run: Drilled) -> bool:
    """Nothing harmful, everything taken back, and what took hold was found."""
    found = run.detected_s is not None or run.category == "benign" or not run.confirmed
    return not run.defended or (found and not run.harmful and run.applied == run.undone)


def _told(run: Drilled) -> str:
    way = "with" if run.defended else "off"
    found = f"{run.pattern} after {run.detected_s:.1f} s" if run.detected_s is not None else "nothing found"
    over = f"over after {run.over_s:.1f} s" if run.over_s is not None else "no trouble seen"
    said = f"{found}, {len(run.folds)} folds ({run.right} right, {run.harmful} harmful), " if run.defended else ""
    void = f"; void: {run.void_because[:120]}" if run.void_because else ""
    return f"{run.scenario} {run.seed} {way}: {said}{over}, {run.errors} of {run.requests} requests failed{void}"
