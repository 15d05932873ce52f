"""The verbs of `loomidi-lab` about scenarios: `scenarios`, `run`, `table`, `sweep`.

Called by `loomidi_lab.cli`. In: arguments. Out: lines for a person on standard error and output, JSON where asked for,
exit code 1 for a run that is void. The work is in `running`, `showing` and `results`.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi_lab.staging import drawing, loading
from loomidi_lab.staging.records import Drawn, Occurrence
from loomidi_lab.staging.stages import RunEnded

_NAME = click.option("--name", "lab_name", default="lab", show_default=True, metavar="LAB", help="Which lab.")
WATCH_LAG_S, PLAIN_LAG_S = 11.0, 3.0  # how long the meters of either way may hold a quiet flow back
SHOP_READY_S = 180.0  # a busy machine takes longer than the 40 s of a quiet one
_CONFIRMED = "confirmed"
_ROOT = Path(__file__).resolve().parents[2]


@click.command("scenarios")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.option("--category", type=click.Choice(["attack", "failure", "benign"]), help="Only these.")
@click.argument("name", required=False)
def scenarios(as_json: bool, category: str | None, name: str | None) -> int:
    """What can be run. With NAME: everything about one of them, as seed 0 draws it."""
    if name:
        click.echo(json.dumps(_everything(drawing.draw(loading.load(name), 0)), indent=1))
        return 0
    drawn, mistakes = [], list[str]()
    for each in loading.names():
        try:
            drawn.append(drawing.draw(loading.load(each), 0))
        except loading.BadScenario as error:
            mistakes += error.mistakes
    chosen = [one for one in drawn if category in (None, one.scenario.category)]
    if as_json:
        click.echo(json.dumps([_about(one) for one in chosen], indent=1))
    else:
        _draw_list(chosen)
    for line in mistakes:
        click.echo(line, err=True)
    return 2 if mistakes else 0


def _about(drawn: Drawn) -> dict[str, Any]:
    scenario = drawn.scenario
    return {
        "name": scenario.name,
        "category": scenario.category,
        "family": scenario.family,
        "technique": scenario.technique,
        "kind": scenario.kind,
        "title": scenario.title,
        "duration_s": drawn.duration_s,
        "needs": dict(scenario.needs),
    }


def _everything(drawn: Drawn) -> dict[str, Any]:
    about = {"title": drawn.scenario.title, "description": drawn.scenario.description}
    return about | drawn.planned() | {"phases": dict(drawn.phases), "symptoms": list(drawn.symptoms)}


def _draw_list(chosen: list[Drawn]) -> None:
    """Plain columns: a name that is cut cannot be typed, and a pipe has no width."""
    rows = [("scenario", "category", "family", "technique or kind", "takes", "needs")]
    for one in sorted(chosen, key=lambda one: (one.scenario.category, one.scenario.family, one.scenario.name)):
        about = one.scenario
        kind, takes = about.technique or about.kind, f"{one.duration_s:.0f} s"
        rows.append((about.name, about.category, about.family, kind, takes, _needs(about.needs)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _needs(needs: Any) -> str:
    words = [word for word in ("shop", "load") if needs.get(word)]
    words += [f"{needs['nodes']} nodes"] if needs.get("nodes", 1) > 1 else []
    return ", ".join([*words, *needs.get("network", [])])


@click.command("run")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--all", "everything", is_flag=True, help="Every scenario that the lab's network allows; brings the shop."
)
@click.option("--seed", default=0, show_default=True, help="Draws the parameters; the same seed, the same course.")
@click.option("--watch/--no-watch", "watched", default=True, help="Show it live through loomidi.  [watch]")
@click.option("--json", "as_json", is_flag=True, help="The occurrence as one JSON object; no live picture.")
@click.option("--check", "checked", metavar="FILE", type=click.Path(path_type=Path), help="Only check a scenario file.")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path), help="Where the line of this run goes.")
@_NAME
def run(names: tuple[str, ...], seed: int, checked: Path | None, everything: bool, **options: Any) -> int:
    """Run a scenario on a lab and confirm by its symptoms that it really happened.

    Several, or --all: one after the other, a line each, not watched; the shop is brought where one of them needs it.

    Exit code 0: all symptoms confirmed and everything taken back. 1: void. 2: it cannot be run as asked.
    """
    if checked is not None:
        return _check(checked)
    if not names and not everything:
        raise UsageError("name a scenario; `loomidi-lab scenarios` lists them")
    if everything or len(names) > 1:
        if options["as_json"]:
            raise UsageError(
                "--json tells of one scenario; the runs of several are lines of JSON in the --results file"
            )
        chosen = [drawing.draw(loading.load(name), seed) for name in names or loading.names()]
        with _interruptible() as ending:
            return _play_all(chosen, options["lab_name"], options["results"], ending)
    drawn = drawing.draw(loading.load(names[0]), seed)
    watched = options["watched"] and not options["as_json"]
    with _interruptible() as ending:
        occurrence, seen = _play(drawn, options["lab_name"], options["results"], ending, watched=watched)
    if options["as_json"]:
        click.echo(json.dumps(occurrence.as_dict(), indent=1))
    else:
        _tell(occurrence, seen)
    return 0 if occurrence.valid else 1


def _play_all(chosen: list[Drawn], lab_name: str, results: Path | None, ending: "Ending") -> int:
    """One after the other on one shop, a line each; a void one does not stop the others."""
    from loomidi_lab import shop
    from loomidi_lab.cluster import Lab

    lab = Lab.open(lab_name)
    for one in [one for one in chosen if lab.network not in one.scenario.needs.get("network", (lab.network,))]:
        click.echo(f"{one.scenario.name}: left out, it needs a lab with network {one.scenario.needs['network'][0]}")
        chosen.remove(one)
    if any(one.scenario.needs["shop"] for one in chosen):
        shop.deploy(lab, progress=lambda _: None).wait_ready(SHOP_READY_S)
    confirmed = 0
    for number, drawn in enumerate(chosen, 1):
        said = _outcome(drawn, lab_name, results, ending)
        confirmed += said == _CONFIRMED
        click.echo(f"[{number}/{len(chosen)}] {drawn.scenario.name}: {said}")
    click.echo(f"{confirmed} of {len(chosen)} scenarios confirmed")
    return 0 if confirmed == len(chosen) else 1


def _outcome(drawn: Drawn, lab_name: str, results: Path | None, ending: "Ending") -> str:
    """What became of one of several: one that the lab cannot run does not stop the others either."""
    try:
        occurrence, _ = _play(drawn, lab_name, results, ending, say=lambda _: None)
    except EnvironmentLacks as error:
        return f"not run: {error}"
    return _CONFIRMED if occurrence.valid else f"void: {occurrence.void_because}"


def _check(path: Path) -> int:
    from loomidi.contracts.errors import InputError

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        scenario = loading.parse(text, path.resolve())
    except loading.BadScenario as error:
        for line in error.mistakes:
            click.echo(line, err=True)
        return 2
    click.echo(f"{scenario.name}: good")
    return 0


def _play(
    drawn: Drawn,
    lab_name: str,
    results: Path | None,
    ending: "Ending",
    *,
    watched: bool = False,
    say: Callable[[str], object] | None = None,
) -> tuple[Occurrence, Any]:
    """Open the lab, meter its links, run, keep the line. Raises KeyboardInterrupt when it was ended."""
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging import running
    from loomidi_lab.staging.observing import Observer
    from loomidi_lab.staging.results import append, results_file

    lab = Lab.open(lab_name)
    running.check_needs(lab, drawn)
    say = say or _teller()
    observer = Observer(lab, lag_s=WATCH_LAG_S if watched else PLAIN_LAG_S)
    with ExitStack() as stack:
        seen = stack.enter_context(_metered(lab, observer, say, watched))
        with ending.heard():
            occurrence = running.run(lab, drawn, observer=observer, say=say, ending=ending.event)
    append(results or results_file(lab), occurrence)
    return occurrence, seen


@contextmanager
def _metered(lab: Any, observer: Any, say: Callable[[str], object], watched: bool) -> Iterator[Any]:
    """Flows for the observer, and a live picture where it is wanted."""
    if watched:
        from loomidi_lab.live.showing import watching

        with watching(lab, observer, say) as seen:
            yield seen
    else:
        from loomidi_lab.staging.observing import metering

        with metering(observer):
            yield None


def _teller() -> Callable[[str], object]:
    started = time.monotonic()
    return lambda text: click.echo(f"[{time.monotonic() - started:6.1f} s] {text}", err=True)


class Ending:
    """What Ctrl-C means: while a scenario runs, to take it back and end; at other times, and twice, to stop at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._runs = False

    def interrupt(self, *_: Any) -> None:
        """The handler of signals."""
        if not self._runs or self.event.is_set():
            raise KeyboardInterrupt
        self.event.set()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Around what looks at the event. Raises KeyboardInterrupt when it ended because of it."""
        self._runs = True
        try:
            yield
        except RunEnded as error:
            raise KeyboardInterrupt from error
        finally:
            self._runs = False


@contextmanager
def _interruptible() -> Iterator[Ending]:
    """Being terminated takes back like Ctrl-C does. Where Ctrl-C is ignored (a job in the background), it stays so."""
    ending = Ending()
    numbers = [signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, ending.interrupt) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(occurrence: Occurrence, seen: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if seen is not None:
        seen.tell(click.echo)
    table = Table(title="symptoms", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("", "symptom", "seen", "wanted"):
        table.add_column(heading)
    for one in occurrence.symptoms:
        mark = "[green]yes[/green]" if one.confirmed else "[red]no[/red]"
        value = f"{one.value:,.6g}" if isinstance(one.value, float) else one.value
        table.add_row(mark, one.name, value, one.wanted)
    console.print(table)
    took = (occurrence.end_ns - occurrence.start_ns) / 1e9
    name, jitter_ms = occurrence.drawn.scenario.name, occurrence.jitter_ns / 1e6
    console.print(f"{name}: {took:.1f} s, {occurrence.flows:,} flow records, started {jitter_ms:+.1f} ms off")
    console.print("valid: it really happened" if occurrence.valid else f"void: {occurrence.void_because}", markup=False)


@click.command("table")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path), help="Lines of runs.  [the labs' own file]")
@click.option("--into", metavar="PAGE", type=click.Path(path_type=Path), help="A page with the marks.  [docs/lab.md]")
@click.option("--print", "printed", is_flag=True, help="To standard output; change no page.")
@click.option("--check", "checked", is_flag=True, help="Only say how many have a valid run; exit code 1: not all.")
@click.option("--json", "counts", metavar="FILE", type=click.Path(path_type=Path), help="With --check: by category.")
def table(results: Path | None, into: Path | None, printed: bool, checked: bool, counts: Path | None) -> int:
    """Renew the table of docs/lab.md from what was run: the last valid run of each scenario."""
    from loomidi_lab.cluster.places import labs
    from loomidi_lab.staging import results as kept

    runs = kept.read(results or labs() / "results.jsonl")
    if checked:
        return _count(runs, counts)
    made = kept.table(runs, loading.names())
    if printed:
        click.echo(made, nl=False)
    else:
        page = into or _ROOT / "docs" / "lab.md"
        kept.put_into(page, made)
        click.echo(f"{page}: table renewed")
    return 0


def _count(runs: list[dict[str, Any]], file: Path | None) -> int:
    """How many scenarios have a valid run, in all and by category."""
    valid = {run["planned"]["scenario"] for run in runs if run["measured"]["valid"]}
    category = {name: loading.load(name).category for name in loading.names()}
    missing = sorted(set(category) - valid)
    kinds = dict.fromkeys(category.values())
    figures = {
        kind: {
            "scenarios": sum(each == kind for each in category.values()),
            "confirmed": sum(category[name] == kind for name in category if name in valid),
        }
        for kind in kinds
    }
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures | {"missing": missing}, indent=1))
    if missing:
        click.echo(f"without a valid run: {', '.join(missing)}")
    click.echo(f"{len(category) - len(missing)} of {len(category)} scenarios confirmed")
    return 1 if missing else 0


@click.command("sweep")
@_NAME
def sweep(lab_name: str) -> None:
    """Take back what runs left behind whose runner was killed (the next run does it as well)."""
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging.sweeping import sweep_all

    swept = sweep_all(Lab.open(lab_name))
    for line in swept or ["nothing left behind"]:
        click.echo(line)
