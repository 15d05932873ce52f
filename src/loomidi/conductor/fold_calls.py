"""`loomidi fold radius|report|compare`, `loomidi policy promote`: what a fold would have cut, what a policy has led to.

Added to the verbs `fold` and `policy`. In: a Fold or a plan as a file, the lake; a cluster, records. Out: sentences or
JSON. Exit code 0 when it is known and spares the protected set, or the policy is ready; 1 when not; 2 for what cannot
be read.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError

if TYPE_CHECKING:
    from loomidi.contracts import FoldSpec
    from loomidi.fold.promoting import Report
    from loomidi.services.folds.promoting import Policies

F = TypeVar("F", bound=Callable[..., Any])
MODES = ("shadow", "suggest", "guarded", "autonomous")
_FILE = click.Path(path_type=Path, allow_dash=True)


def _lakeward(command: F) -> F:
    """The options of whoever asks the lake."""
    for option in (
        click.option("--config", metavar="FILE", help="Take [lake] of this configuration file."),
        click.option("--catalog", metavar="URL", help="As of `loomidi lake`."),
        click.option("--lake", "warehouse", metavar="FOLDER|URL", help="As of `loomidi lake`.  [the agent's own]"),
    ):
        command = option(command)
    return command


@click.command("radius")
@click.argument("file", type=_FILE, metavar="FILE")
@click.option("--last", default="1h", show_default=True, metavar="SPAN", help="How far back: 90s, 15m, 1h, 1d.")
@click.option("--protect", multiple=True, metavar="CIDR", help="Of the protected set; may be repeated.")
@_lakeward
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def radius(context: click.Context, /, file: Path, *, last: str, protect: tuple[str, ...], **options: Any) -> int:
    """Say whom the fold in FILE would have cut, had it been in force of late.

    FILE is a Fold (YAML or JSON) or a plan, - for standard input. Nothing is proposed and nothing is touched.
    """
    try:
        from loomidi.conductor.verbs.lake import moment, open_lake
        from loomidi.services.folds.looking_back import LookBackSettings, look_back
        from loomidi.services.folds.planning import check_protected
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    from loomidi.insight.explain import replay_told

    check_protected(protect)
    fold, now_ns = _fold(file), time.time_ns()
    last_s = (now_ns - moment(last, now_ns)) / 1e9
    if last_s <= 0:
        raise UsageError(f"--last {last}: give how far back, such as 15m")
    state = context.find_root().obj.storage.state
    with open_lake(state, options["warehouse"], options["catalog"], options["config"]) as lake:
        told = look_back(lake, fold, protect, LookBackSettings(last_s=last_s))
    if options["as_json"]:
        click.echo(json.dumps({"fold": fold.as_dict(), "replay": told.as_dict()}, indent=2))
    else:
        click.echo(f"{fold.kind.value} by {fold.action} on {fold.target}\n{replay_told(told)}")
    return int(not told.measured or bool(told.protected))


@click.command("compare")
@click.argument("name", metavar="NAMESPACE/NAME")
@_lakeward
@click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="Cluster.  [as kubectl]")
@click.option("--context", "named", default="", metavar="NAME", help="Of the kubeconfig.  [its current one]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def compare(context: click.Context, /, name: str, **options: Any) -> int:
    """Say what a Fold changed: its traffic before, during and after, and what would have come without it.

    From the flows in the lake, its probes and its end. Exit code 1 where it touched nothing, or the lake does not know.
    """
    try:
        from loomidi.conductor.verbs.lake import open_lake
        from loomidi.fold.comparing import compared, spans
        from loomidi.fold.resources.objects import fold_of
        from loomidi.services.folds.desk import at_desk
        from loomidi.services.folds.looking_back import look_back
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    from loomidi.insight.explain import comparison_told

    with at_desk(options["kubeconfig"], options["named"]) as desk:
        view = desk.fold(name, "default")
    times, fold = spans(view, time.time_ns()), fold_of(view.obj)
    state = context.find_root().obj.storage.state
    with open_lake(state, options["warehouse"], options["catalog"], options["config"]) as lake:
        seen = {which: look_back(lake, fold, span=span) for which, span in times.items()}
    told = compared(view, times, seen).as_dict()
    lines = [f"Fold {view.key}, {view.phase}", *comparison_told(told)]
    click.echo(json.dumps(told, indent=2) if options["as_json"] else "\n  ".join(lines))
    return int(told["kept_off_octets"] is None)


def _fold(file: Path) -> "FoldSpec":
    """Of a Fold, of a plan, or of a sample that holds one. Raises InputError."""
    import yaml

    from loomidi.fold.resources.objects import fold_of
    from loomidi.ionic.documents import read_plan

    try:
        document = yaml.safe_load(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a file with a Fold or a plan") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: neither YAML nor JSON: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise InputError(f"{file}: holds neither a Fold nor a plan")
    if document.get("kind") == "Fold" and isinstance(document.get("spec"), dict):
        return fold_of(document)
    return read_plan(document.get("plan", document)).fold


def _asking(command: F) -> F:
    """The options of whoever asks for a report."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
        click.option("--context", default="", metavar="NAME", help="Of the kubeconfig.  [its current one]"),
        click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="Cluster.  [as kubectl]"),
        click.option(
            "--records",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="folds.sqlite of an operator, for Folds that were removed; may be repeated.",
        ),
        click.option(
            "--days", type=click.FloatRange(0, min_open=True), default=7.0, show_default=True, help="How far back."
        ),
    ):
        command = option(command)
    return command


def _policies(kubeconfig: Path | None, context: str) -> "AbstractContextManager[Policies]":
    try:
        from loomidi.services.folds.promoting import at_policies
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    return at_policies(kubeconfig, context)


@click.command("report")
@click.option("--policy", required=True, metavar="NAME", help="The FoldPolicy.")
@_asking
def report(policy: str, days: float, records: tuple[Path, ...], kubeconfig: Path | None, **options: Any) -> int:
    """Say what a FoldPolicy has led to: how many Folds, on whom, what they cut or would have cut, who said no.

    Exit code 0 when it is ready for the next mode, 1 when it is not.
    """
    with _policies(kubeconfig, options["context"]) as policies:
        found = policies.report(policy, days, records)
    click.echo(json.dumps(found.as_dict(), indent=2) if options["as_json"] else _told(found))
    return int(not found.ready)


@click.command("promote")
@click.argument("policy", metavar="NAME")
@click.option("--to", required=True, type=click.Choice(MODES), help="The furthest that a Fold may go by it.")
@click.option("--override", default="", metavar="REASON", help="Although the report speaks against it; kept with it.")
@_asking
def promote(policy: str, to: str, days: float, records: tuple[Path, ...], **options: Any) -> int:
    """Set the mode of a FoldPolicy, a step at a time; further only where its report of seven days is ready.

    The report's hash, who did it and an override's reason are annotations of the policy. Less far is always possible.
    """
    from loomidi.contracts import Mode

    with _policies(options["kubeconfig"], options["context"]) as policies:
        found = policies.report(policy, days, records)
        if not options["as_json"]:
            click.echo(_told(found))
        done = policies.promote(found, Mode(to), options["override"])
    if options["as_json"]:
        click.echo(json.dumps({"promoted": done, "report": found.as_dict()}, indent=2))
    else:
        click.echo(f"FoldPolicy {policy}: {done}")
    return 0


def _told(found: "Report") -> str:
    """The report in lines."""
    listed = {"whom": found.targets, "by": found.kinds, "met besides": found.benign}
    lines = [f"  {name}: {_counted(table)}" for name, table in listed.items() if table]
    return "\n".join(
        [
            f"FoldPolicy {found.policy}, mode {found.mode}, there as it is for {found.days:g} days",
            f"  {found.judged} Folds: {found.would} would have acted, {found.acted} acted, {found.denied} a person "
            f"denied, {found.refused} guards refused, {found.held} a brake held, {found.undone} did not hold",
            *lines,
            f"  the most that one cuts: {found.peers} peers, {found.share_of_octets:.1%} of octets; "
            f"not known of {found.unknown}",
            f"  {found.with_users} would cut ways of users, {found.protected} meet the protected set",
            "  ready for the next mode" if found.ready else f"  not ready, because {'; '.join(found.reasons)}",
        ]
    )


def _counted(table: Mapping[str, int]) -> str:
    return ", ".join(f"{one} ({count})" for one, count in table.items())


COMMANDS = (radius, report, compare)
