"""`loomidi events`: what we found and did in the words of others, and the queue of what is told to them.

Called by `conductor.cli`. In: reports, receipts, the queue under the state folder. Out: a JSON line an event, tables,
or JSON for programs. Exit code 0, 1 when there are dead letters to be seen to, 2 for a file or a queue that cannot be
read. The work is `services.events`; sending is the part `events` of `loomidi run`.
"""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import InputError, UsageError

if TYPE_CHECKING:
    from loomidi.services.events.outbox import Outbox, Waiting

_FORMATS = click.Choice(["ocsf", "stix"])


@click.group(name="events")
def command() -> None:
    """Tell findings and receipts to others: OCSF, STIX; see the queue, and send dead letters again.

    Exit codes: 0 ok, 1 there are dead letters, 2 a file or the queue cannot be read.
    """


def _as_json(what: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(what)


@command.command("render")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "form", type=_FORMATS, default="ocsf", help="In whose words.  [ocsf]")
def render(file: Path, *, form: str) -> None:
    """Print the events of FILE, a line each: a report of `analyze --json`, `receipts --json`, or a receipt store.

    STIX knows findings alone; how much was left out is told on standard error.
    """
    from loomidi.loom.sinks import Format
    from loomidi.services.events.reading import read
    from loomidi.services.events.rendering import about, letter

    by, left_out = about(), 0
    for one in read(file):
        made = letter(one, Format(form), by)
        if made is None:
            left_out += 1
        else:
            click.echo(made.body)
    if left_out:
        click.echo(f"loomidi: {left_out} plans and receipts are not told: {form} has no words for them", err=True)


@command.command("send")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Of `loomidi run`: names the sinks.")
def send(file: Path, *, config: Path | None) -> None:
    """Put the events of FILE into the queues of all sinks that the configuration names; `loomidi run` sends them.

    Receipts that were put there before are left out, so that this may be called every so often.
    """
    from loomidi.conductor.verbs.run import settings_of
    from loomidi.contracts import Receipt
    from loomidi.services.events.outbox import FILE_NAME, Outbox
    from loomidi.services.events.reading import read
    from loomidi.services.events.rendering import about, letter, unsent

    settings = settings_of(config)
    chosen, by = settings.events.checked(), about(settings.node.name)
    if not chosen.sinks:
        raise UsageError("no sink is on; name one in the section [events] (docs/events.md)")
    found = read(file)
    path = settings.node.state.expanduser() / "events" / FILE_NAME
    outbox = Outbox(path, most_waiting=chosen.most_waiting, most_dead=chosen.most_dead)
    for sink in chosen.sinks:
        told = unsent(found, outbox.marked(sink, str(file.resolve())))
        made = [letter(one, getattr(chosen, sink).format, by) for one in told]
        letters = [one for one in made if one is not None]
        queued = outbox.offer(sink, letters)
        outbox.note(sink, "left_out", "format", len(made) - len(letters))
        receipts = [one.record.id for one in told if isinstance(one.record, Receipt)]
        if receipts:
            outbox.mark(sink, str(file.resolve()), receipts[-1])
        click.echo(f"{sink}: {queued} of {len(told)} queued")
    outbox.close()


@command.command("status")
@_as_json
@click.pass_context
def status(context: click.Context, /, *, as_json: bool) -> int:
    """Each sink's queue, and what has become of events so far, with reasons. Exit code 1 with dead letters."""
    outbox = _there(context)
    standing, counts = outbox.standing(), outbox.counts()
    outbox.close()
    for sink, (waiting, oldest_ns, dead) in sorted(standing.items()):
        told = {f"{what}:{reason}" if reason else what: n for (of, what, reason), n in counts.items() if of == sink}
        oldest = _clock(oldest_ns) if oldest_ns else None
        if as_json:
            line = {"sink": sink, "waiting": waiting, "oldest": oldest, "dead": dead, "counts": told}
            click.echo(json.dumps(line))
        else:
            click.echo(f"{sink:8}  waiting {waiting:,}  oldest {oldest or '-'}  dead {dead:,}")
            click.echo("          " + (", ".join(f"{name} {n:,}" for name, n in told.items()) or "nothing yet"))
    return int(any(dead for _, _, dead in standing.values()))


@command.command("dead")
@click.option("--sink", metavar="NAME", default="", help="Only those of this sink.")
@click.option("--most", type=click.IntRange(1), default=100, metavar="N", help="The oldest so many.  [100]")
@_as_json
@click.pass_context
def dead(context: click.Context, /, *, sink: str, most: int, as_json: bool) -> int:
    """Events that a sink refuses, or that nobody took in time. Exit code 1 when there are any."""
    outbox = _there(context)
    found = outbox.dead(sink, most)
    outbox.close()
    for line in _lines(found, as_json):
        click.echo(line)
    if not found and not as_json:
        click.echo("no dead letters")
    return int(bool(found))


@command.command("resend")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All of them, or all of --sink.")
@click.option("--sink", metavar="NAME", default="", help="Only those of this sink.")
@click.pass_context
def resend(context: click.Context, /, *, numbers: tuple[int, ...], everything: bool, sink: str) -> None:
    """Put dead letters back to the end of their queues; a running `loomidi run` sends them within a second or two."""
    if everything == bool(numbers):
        raise UsageError("say which: numbers as `loomidi events dead` tells them, or --all")
    outbox = _there(context)
    moved = outbox.resend(numbers or None, sink)
    outbox.close()
    click.echo(f"{moved} queued again")
    if numbers and moved < len(set(numbers)):
        raise UsageError(f"{len(set(numbers)) - moved} are no dead letters; see `loomidi events dead`")


def _there(context: click.Context) -> "Outbox":
    """The queue under the state folder. Raises InputError where none was ever made."""
    from loomidi.services.events.outbox import FILE_NAME, Outbox

    path: Path = context.obj.storage.state / "events" / FILE_NAME
    if not path.is_file():
        raise InputError(f"{path}: nothing was ever queued here; turn a sink on in [events] (docs/events.md)")
    return Outbox(path)


def _lines(found: "list[Waiting]", as_json: bool) -> Iterator[str]:
    """Letters as JSON with their events, or as lines of a table without."""
    for one in found:
        told = {"number": one.position, "sink": one.sink, "id": one.letter.id, "kind": one.letter.kind}
        told |= {"queued": _clock(one.queued_ns), "tries": one.tries, "reason": one.reason}
        if as_json:
            yield json.dumps(told | {"event": json.loads(one.letter.body)})
        else:
            yield f"{one.position:>8}  {told['queued']}  {one.sink:8}  {one.letter.id}  {one.reason}"


def _clock(at_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ns // 10**9, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
