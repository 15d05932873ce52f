"""`loomidi policy check`: what the guards say about a plan, without doing anything.

Called by `conductor.cli`. In: a plan as JSON, alone or as a sample of rules/guardrails. Exit code 0 when every guard
allows, 1 when one does not.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts import InputError, Mode, UsageError, Verdict

if TYPE_CHECKING:
    from loomidi.contracts import Plan


@click.group("policy")
def command() -> None:
    """The guardrails that every plan must satisfy."""


@command.command("check")
@click.argument("plan_file", metavar="PLAN.json", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--mode", type=click.Choice([mode.value for mode in Mode]), help="Configured mode; default the plan's own."
)
@click.option(
    "--protect", metavar="CIDR", multiple=True, help="An address or CIDR of the protected set; may be repeated."
)
@click.option("--now", is_flag=True, help="Judge it as of now instead of as of when it was made.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def check(plan_file: Path, *, mode: str | None, protect: tuple[str, ...], now: bool, as_json: bool) -> int:
    """Judge PLAN.json (or - for standard input) by every guard."""
    from loomidi.ionic.documents import read_plan

    document = _read(plan_file)
    sample = document if isinstance(document, Mapping) and "plan" in document else {"plan": document}
    plan = read_plan(sample["plan"])
    verdicts = _judged(plan, sample.get("facts"), Mode(mode or plan.mode), protect, now=now)
    allowed = all(verdict.allow is True for verdict in verdicts)
    if as_json:
        told = {"plan": plan.id, "allowed": allowed, "verdicts": [verdict.as_dict() for verdict in verdicts]}
        click.echo(json.dumps(told, indent=2))
    else:
        _draw(plan.id, verdicts, allowed=allowed)
    return 0 if allowed else 1


def _read(path: Path) -> Any:
    """The JSON document of a file. Raises InputError."""
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a plan document") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _judged(plan: "Plan", facts: Any, mode: Mode, protect: Sequence[str], *, now: bool) -> tuple[Verdict, ...]:
    """Every guard's verdicts. `facts` of a sample replace those that deciding would gather."""
    from loomidi.ionic.decide import Decider, DeciderSettings, standard_guards
    from loomidi.kit.clock import ManualClock

    settings = DeciderSettings(mode=mode)
    try:
        guards = standard_guards(protect, settings)
    except ValueError as error:
        raise UsageError(f"{error}; give --protect an address or a CIDR") from error
    if isinstance(facts, Mapping):
        return tuple(verdict for guard in guards for verdict in guard.judge(plan, facts))
    clock = ManualClock(time.time_ns() if now else plan.created_ns)
    return Decider(guards, protect, settings, clock=clock).judge(plan)


def _draw(plan_id: str, verdicts: Sequence[Verdict], *, allowed: bool) -> None:
    """A line a verdict, those that do not allow last, and the outcome below."""
    words = {True: "allows", False: "denies", None: "silent"}
    for verdict in sorted(verdicts, key=lambda verdict: verdict.allow is not True):
        click.echo(f"{words[verdict.allow]}  {f'{verdict.guard}/{verdict.rule}':30}  {verdict.reason}")
    click.echo(f"{plan_id}: {'allowed' if allowed else 'refused'}")
