"""`loomidi playbook`: CACAO playbooks listed, checked, run, answered, taken back, exported; OpenC2 commands answered.

Called by `conductor.cli`. In: playbooks of the library or files. Out: text or JSON. Nothing is touched without
`--apply`. Exit code 0, 1 for what is not valid, was refused or failed, 2 usage or environment.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts import InputError, Mode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomidi.ionic.playbooks import Playbook, Report
    from loomidi.services.playing import PlayingSettings

_MODES = [mode.value for mode in Mode if mode is not Mode.SHADOW]
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("playbook")
def command() -> None:
    """Playbooks (OASIS CACAO 2.0): the library, files of others, incidents of ours; dry unless --apply is given."""


def _acting(function: "Callable[..., int]") -> "Callable[..., int]":
    """The options of what may act."""
    for option in (
        click.option("--interface", metavar="IFACE", default="", help="Act by the shield that is attached here."),
        click.option("--mode", type=click.Choice(_MODES), default="guarded", show_default=True, help="With --apply."),
        click.option("--protect", metavar="CIDR", multiple=True, help="Never touch these; may be repeated."),
        click.option("--capture", type=_FILE, help="What was seen lately, for the blast radius."),
        click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Receipts and runs."),
    ):
        function = option(function)
    return function


def _settings(context: click.Context, options: "Mapping[str, Any]", *, real: bool) -> "PlayingSettings":
    from loomidi.services.playing import PlayingSettings

    return PlayingSettings(
        state=options["state"] or context.obj.storage.state,
        mode=Mode(options["mode"]) if real else Mode.SHADOW,
        interface=options["interface"],
        protected=tuple(options["protect"]),
        capture=options["capture"],
    )


@command.command("list")
@click.option("--runs", "show_runs", is_flag=True, help="The runs for real instead, with their state.")
@click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def list_(context: click.Context, *, show_runs: bool, state: Path | None, as_json: bool) -> int:
    """The playbooks that ship with Loomidi."""
    if show_runs:
        return _list_runs(state or context.obj.storage.state, as_json=as_json)
    from loomidi.ionic.playbooks import library

    books = library()
    if as_json:
        told = [
            {"name": name, "id": book.id, "title": book.name, "version": book.version} for name, book in books.items()
        ]
        click.echo(json.dumps(told, indent=2))
        return 0
    for name, book in books.items():
        click.echo(f"{name:20}  {len(book.steps):3} steps  {book.name}")
    return 0


def _list_runs(state: Path, *, as_json: bool) -> int:
    from loomidi.ionic.playbooks import FILE_NAME, SqliteRuns, told

    runs = SqliteRuns(state / FILE_NAME, read_only=True)
    reports = [told(runs, run.id) for run in runs.all()]
    runs.close()
    if as_json:
        click.echo(json.dumps([_summary(report) for report in reports], indent=2))
        return 0
    for report in reports:
        click.echo(f"{report.run.id}  {report.state:9}  {report.run.playbook['name']}  {report.why}")
    return 0


@command.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def validate(files: tuple[Path, ...], *, as_json: bool) -> int:
    """Whether files are CACAO 2.0 playbooks: every problem, with its place, its section and what to do."""
    from loomidi.ionic.errors import BadPlaybook
    from loomidi.ionic.playbooks import load

    found: dict[str, list[Any]] = {}
    for path in files:
        try:
            load(path)
            found[str(path)] = []
        except BadPlaybook as error:
            found[str(path)] = list(error.problems)
    if as_json:
        named = ("pointer", "text", "section")
        told = {name: [{one: getattr(p, one) for one in named} for p in found[name]] for name in found}
        click.echo(json.dumps({"valid": not any(found.values()), "problems": told}, indent=2))
    else:
        for name, problems in found.items():
            verdict = f"{len(problems)} problems" if problems else "valid"
            click.echo("\n".join([f"{name}: {verdict}", *map(str, problems)]))
    return 1 if any(found.values()) else 0


@command.command("show")
@click.argument("name", metavar="PLAYBOOK|RUN")
@click.option("--state", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def show(context: click.Context, name: str, *, state: Path | None, as_json: bool) -> int:
    """The steps of a playbook (by its name, id or file), or what became of a run for real."""
    if name.startswith("run-"):
        from loomidi.ionic.playbooks import FILE_NAME, SqliteRuns, told

        runs = SqliteRuns((state or context.obj.storage.state) / FILE_NAME, read_only=True)
        report = told(runs, name)
        runs.close()
        return _tell(report, as_json=as_json)
    from loomidi.ionic.playbooks import written
    from loomidi.services.playing import playbook_of

    book = playbook_of(name)
    click.echo(written(book).rstrip("\n") if as_json else "\n".join(_drawn(book)))
    return 0


@command.command("run")
@click.argument("name", metavar="PLAYBOOK")
@click.option("--finding", "finding_file", metavar="FILE", type=_FILE, help="What it is about: JSON of a finding.")
@click.option("--finding-id", metavar="ID", default="", help="Which finding, where FILE holds several.")
@click.option("--set", "values", metavar="NAME=VALUE", multiple=True, help="An external variable; may be repeated.")
@click.option("--assume-failure", "assumed", metavar="STEP", multiple=True, help="Dry: as if this step failed.")
@click.option("--apply", "real", is_flag=True, help="For real: through guards, approval and engine.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@_acting
@click.pass_context
def run(context: click.Context, /, name: str, **options: Any) -> int:
    """Run PLAYBOOK. Dry unless --apply is given: every fold is planned and judged, and nothing is touched."""
    from loomidi.services.playing import finding_for, playbook_of, runner_for

    real = bool(options["real"])
    book = playbook_of(name)
    finding = finding_for(book, options["finding_file"], options["finding_id"])
    with runner_for(_settings(context, options, real=real), [book], real=real) as runner:
        report = runner.start(book, finding, _values(options["values"]), dry=not real, assumed=options["assumed"])
    return _tell(report, as_json=options["as_json"])


@command.command("resume")
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@_acting
@click.pass_context
def resume(context: click.Context, /, run_id: str, **options: Any) -> int:
    """Go on with a run that was broken off: what was done is not done again."""
    from loomidi.services.playing import runner_for

    with runner_for(_settings(context, options, real=True), real=True) as runner:
        return _tell(runner.resume(run_id), as_json=options["as_json"])


@command.command("answer")
@click.argument("run_id", metavar="RUN")
@click.argument("place", metavar="PLACE")
@click.option("--yes/--no", "yes", default=None, required=True, help="Done, or approved; or not.")
@click.option("--by", metavar="NAME", required=True, help="Who answers; it is kept with the run and the approval.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@_acting
@click.pass_context
def answer(context: click.Context, /, run_id: str, place: str, **options: Any) -> int:
    """Answer what a run waits for at PLACE (`show RUN` names it); then it goes on."""
    from loomidi.services.playing import runner_for

    with runner_for(_settings(context, options, real=True), real=True) as runner:
        report = runner.answer(run_id, place, options["by"], yes=options["yes"])
    return _tell(report, as_json=options["as_json"])


@command.command("undo")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--why", default="asked to", help="Kept with the receipts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@_acting
@click.pass_context
def undo(context: click.Context, /, run_id: str | None, **options: Any) -> int:
    """Take back everything that RUN did; without RUN, every run that was broken off."""
    from loomidi.services.playing import runner_for

    with runner_for(_settings(context, options, real=True), real=True) as runner:
        reports = [runner.take_back(run_id, options["why"])] if run_id else runner.recover()
    if not reports:
        click.echo("no run was broken off")
    return max((_tell(report, as_json=options["as_json"]) for report in reports), default=0)


@command.command("export")
@click.argument("finding_id", metavar="[FINDING]", required=False)
@click.option("--store", type=_FILE, help="Receipts to read; default the agent's and those of playbooks.")
@click.option("--finding", "finding_file", metavar="FILE", type=_FILE, help="Of a finding that nothing was done about.")
@click.option("--openc2", "as_openc2", is_flag=True, help="Its denies as OpenC2 messages instead, one a line.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Into a file instead of standard output.")
@click.pass_context
def export(context: click.Context, /, finding_id: str | None, **options: Any) -> int:
    """What was done about FINDING as a playbook; without FINDING, which incidents there are."""
    from loomidi.ionic.playbooks import commands_for, exported, written
    from loomidi.services import playing

    stores = (options["store"],) if options["store"] else playing.receipt_stores(context.obj.storage.state)
    if options["finding_file"] is not None:
        finding = playing.finding_in(options["finding_file"], finding_id or "")
        incident = playing.proposed_incident(finding, playing.PlayingSettings(state=context.obj.storage.state))
    elif not finding_id:
        for one in playing.incidents_in(stores):
            click.echo(
                f"{one.finding.id}  {one.finding.pattern:16}  {len(one.plans)} plans  {one.finding.entities[:1]}"
            )
        return 0
    else:
        incident = playing.incident_of(finding_id, stores)
    text = written(exported(incident))
    if options["as_openc2"]:
        messages, left = commands_for(incident)
        text = "".join(json.dumps(message) + "\n" for message in messages)
        for line in left:
            click.echo(f"left out: {line}", err=True)
    return _put(text, options["out"])


@command.command("openc2")
@click.argument("file", metavar="COMMAND.json", type=_FILE)
@click.option("--apply", "real", is_flag=True, help="For real: through guards, approval and engine.")
@_acting
@click.pass_context
def openc2(context: click.Context, /, file: Path, **options: Any) -> int:
    """Answer an OpenC2 command (packet filtering, SLPF 1.0) as this packet filter; prints the response."""
    from loomidi.services.playing import consumer_for, openc2_document

    document = openc2_document(file)
    with consumer_for(_settings(context, options, real=options["real"]), real=options["real"]) as consumer:
        response = consumer.answer(document)
    if response is not None:
        click.echo(json.dumps(response, indent=2))
        told = response.get("body", {}).get("openc2", {}).get("response", response)
        return 0 if told["status"] in (102, 200) else 1
    return 0


def _put(text: str, out: Path | None) -> int:
    if out is None:
        click.echo(text, nl=False)
        return 0
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; name a file that can be written") from error
    return 0


def _values(given: "Sequence[str]") -> dict[str, str]:
    values = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise UsageError(f"--set {each}: write NAME=VALUE, such as address=203.0.113.7")
        values[name if name.startswith("__") else f"__{name}__"] = value
    return values


def _summary(report: "Report") -> dict[str, Any]:
    """What a program may rely on."""
    return {
        "run": report.run.id,
        "playbook": report.run.playbook["id"],
        "dry": report.run.dry,
        "state": report.state,
        "why": report.why,
        "steps": [{"place": place, "ok": ok, "why": why} for place, ok, why in report.steps],
        "folds": list(report.folds),
        "allowed": [held for _, held in report.planned],
        "waits": [{"place": place, "why": why} for place, why in report.waits],
    }


def _tell(report: "Report", *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(_summary(report), indent=2))
    else:
        click.echo("\n".join(_lines(report)))
    return 1 if report.state in ("failed", "stuck") else 0


def _lines(report: "Report") -> list[str]:
    lines = [f"{report.run.playbook['name']}: {'dry run' if report.run.dry else report.run.id}, {report.state}"]
    if report.why:
        lines[0] += f" ({report.why})"
    for told in (entry.detail for entry in report.entries if entry.event == "left"):
        why = f": {told['why']}" if told["why"] else ""
        lines += [f"  {'ok  ' if told['ok'] else 'FAIL'}  {told['name']}{why}"]
    for fold, held in report.planned:
        lines += [f"  {'fold' if held else 'no fold'}  {fold['action']} {fold['target']} for {fold['ttl_s']:g} s"]
    return lines + [f"  waits at {place}: {why}" for place, why in report.waits]


def _drawn(book: "Playbook") -> list[str]:
    lines = [f"{book.name}  {book.id}  {book.version}", book.document.get("description", "")]
    for key, step in book.steps.items():
        lines.append(f"{key}  {step.get('name', '')}")
        lines += [f"    {each['type']}: {each.get('command', '')}" for each in step.get("commands", ())]
        ways = ("condition", "switch", "on_true", "on_false", "on_completion", "on_success", "on_failure")
        lines += [f"    {way}: {step[way]}" for way in ways if way in step]
        lines += [f"    case {case}: {target}" for case, target in step.get("cases", {}).items()]
        lines += [f"    branch: {target}" for target in step.get("next_steps", ())]
    return lines
