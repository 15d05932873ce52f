"""The verbs `record`, `verify`, `compare` and `plans` of `loomidi-lab`.

Called by `lab/cli.py`, which adds them to its group. In: what a person typed. Out: lines, exit status 0 or 1. Errors
rise to the edge, which prints them.
"""

import signal
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from loomidi_lab.recording.verifying import Check


@click.command("record")
@click.option("--plan", default="smoke", show_default=True, help="smoke, standard, long, or a file ending in .yaml.")
@click.option("--seed", type=click.IntRange(0), required=True, help="The same seed gives the same schedule and truth.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--name", default="lab", show_default=True, help="Which lab.")
@click.option("--pcap", is_flag=True, help="Also every packet of every node's links (large).")
def record(plan: str, seed: int, out: Path, name: str, *, pcap: bool) -> None:
    """Run a schedule of scenarios over the shop and record all that can be seen."""
    from loomidi_lab.cluster import Lab
    from loomidi_lab.recording import recorder, verifying

    signal.signal(signal.SIGTERM, _interrupted)
    said = recorder.record(Lab.open(name), plan, seed, out, pcap=pcap, progress=lambda text: click.echo(text, err=True))
    _judge(verifying.verify(said))


def _judge(checks: "list[Check]") -> None:
    for check in checks:
        click.echo(str(check))
    failed = sum(not check.passed for check in checks)
    if failed:
        click.echo(f"{failed} of {len(checks)} checks failed")
        sys.exit(1)


def _interrupted(_number: int, _frame: types.FrameType | None) -> None:
    """SIGTERM ends a recording as Ctrl-C does: what runs is taken back first."""
    raise KeyboardInterrupt


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify(folder: Path) -> None:
    """Check a recording; exit 1 when a check fails."""
    from loomidi_lab.recording import verifying

    _judge(verifying.verify(folder))


@click.command("compare")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
def compare(one: Path, other: Path) -> None:
    """Whether two recordings of one plan and seed differ in measured values only; exit 1 when they differ in more."""
    from loomidi_lab.recording import comparing

    _judge(comparing.compare(one, other))


@click.command("plans")
@click.argument("plan", default="")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def plans(plan: str, seed: int) -> None:
    """List the plans, or show the schedule that a plan gives with a seed."""
    from loomidi_lab.recording.planning import load_plan, plan_names, schedule

    if not plan:
        for name in plan_names():
            found = load_plan(name)
            click.echo(f"{name:10} {found.length_s / 60:6.0f} min  {found.title}")
        return
    for item in schedule(load_plan(plan), seed).items:
        click.echo(f"{item.offset_s:8.1f} s  {item.duration_s:6.1f} s  {item.planned['category']:8} {item.scenario}")
