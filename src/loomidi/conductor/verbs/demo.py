"""`loomidi demo`: attack a small network of namespaces and watch it being defended.

Called by `conductor.cli`. In: how many trials. Out: lines while it runs, a table, the explanation of one block; with
`--json` the same figures. Exit code 0 only when everything it claims held. Leaves the story to `services.demo`.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomidi.contracts.errors import EnvironmentLacks, InputError

if TYPE_CHECKING:
    from loomidi.services.demo.showing import Lines
    from loomidi.services.demo.story import Outcome

TRIALS, QUICK = 100, 20


@click.command(name="demo")
@click.option("--json", "file", type=click.Path(dir_okay=False), metavar="FILE", help="Write the figures as JSON.")
@click.option("--trials", default=TRIALS, show_default=True, type=click.IntRange(1, 10_000), help="Timed short floods.")
@click.option("--quick", is_flag=True, help=f"Only {QUICK} trials.")
@click.option("--twin", is_flag=True, help="In user space on a generated capture, as without root.")
@click.option("--keep", is_flag=True, help="Keep the rooms until Enter is pressed, to look around.")
def command(file: str | None, trials: int, quick: bool, twin: bool, keep: bool) -> int:
    """Attack a small network of namespaces and watch it being defended.

    As root it builds network namespaces (attacker, clients, two services), attaches the real XDP program, runs real
    traffic and real attacks, and removes everything at the end. Without root or XDP it tells the same story in user
    space. Exit code 0: everything held. 1: something did not, and is named.
    """
    from rich.console import Console

    from loomidi.services.demo.showing import Lines, summary

    if file and not Path(file).absolute().parent.is_dir():
        raise InputError(f"{file}: no such folder; create it first")
    console = Console()
    outcome = _play(Lines(console), QUICK if quick else trials, twin, keep)
    console.print()
    if outcome.explanation:
        console.print(f"One block, explained:\n{outcome.explanation}\n", highlight=False)
    console.print(summary(outcome))
    if file:
        Path(file).write_text(json.dumps(outcome.as_dict(), indent=2) + "\n", encoding="utf-8")
    for failure in outcome.failures:
        click.echo(f"loomidi: demo: {failure}", err=True)
    return 1 if outcome.failures else 0


def _play(lines: "Lines", trials: int, twin: bool, keep: bool) -> "Outcome":
    """Live where that is possible, else on the twin, saying why."""
    from loomidi.services.demo.replay import replayed
    from loomidi.services.demo.story import live

    if not twin:
        why = _why_not_live()
        try:
            if not why:
                return live(lines, trials, _wait_for_enter if keep else None)
        except EnvironmentLacks as error:
            why = str(error)
        lines.line(f"not live: {why}")
        lines.line("the same story in user space, on a generated capture (rung twin)")
    return replayed(lines, trials)


def _why_not_live() -> str:
    return "" if os.geteuid() == 0 else "it takes root to build network namespaces; run: sudo loomidi demo"


def _wait_for_enter(hint: str) -> None:
    click.echo(f"kept; look around with: {hint}")
    click.pause("press Enter to remove everything ")
