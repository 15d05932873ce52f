"""`loomidi analyze`: what captures show, explained, with the folds that would answer it.

Called by `conductor.cli`. In: captures and options. Out: a report for people on standard output, JSON and HTML where
asked for. Exit code 0 nothing above `info`, 1 something was found, 2 part of a capture could not be read. The work is
`services.analyzing`, the drawing `insight.report`; both are imported after the arguments have been read.
"""

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import UsageError

if TYPE_CHECKING:
    from loomidi.insight.report import Report

STANDARD_OUTPUT = "-"
_LONG_OCTETS = 64 << 20  # below this, reading is over before a progress bar could be read


@dataclasses.dataclass(frozen=True, slots=True)
class _Outputs:
    """Where the report goes."""

    json: str | None  # file, or `-` for standard output
    html: str | None
    in_full: int
    manifests: bool


@click.command("analyze")
@click.argument("captures", nargs=-1, metavar="CAPTURE...", type=click.Path(allow_dash=True))
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value=STANDARD_OUTPUT,
    metavar="[FILE.json]",
    help="One JSON document (docs/analyze.schema.json), on standard output or into FILE.json.",
)
@click.option("--html", "html_file", metavar="FILE", help="One self-contained page: timeline, graph, tables.")
@click.option("--active", type=float, metavar="SECONDS", help="Cut flows that last longer. [default: 120]")
@click.option("--idle", type=float, metavar="SECONDS", help="End flows that are silent for longer. [default: 60]")
@click.option("--inner/--no-inner", default=None, help="Look inside VXLAN and Geneve. [default: inner]")
@click.option("--max-flows", type=int, metavar="N", help="Flows kept at once, 0.8 KB each. [default: 131072]")
@click.option("--protect", multiple=True, metavar="CIDR", help="Never propose to touch these; may be repeated.")
@click.option("--full", type=click.IntRange(0), default=5, show_default=True, help="Findings told with their story.")
@click.option("--incidents", metavar="DIR", help="Keep each finding as a test: headers of its packets, a threshold.")
@click.option("--manifests", is_flag=True, help="Print the Kubernetes object of each proposed fold.")
def command(captures: tuple[str, ...], **options: Any) -> int:
    """Find attacks in captures (pcap, pcapng, also gzipped; `-` is standard input), explain them, propose folds.

    Nothing is applied. Exit codes: 0 nothing above `info` found, 1 something found, 2 a capture could not be read (to
    its end; what was readable is reported).
    """
    captures, json_file = _captures_and_json(captures, options["json_file"])
    outputs = _Outputs(json_file, options["html_file"], options["full"], options["manifests"])
    _check(captures, outputs)
    if options["incidents"] and STANDARD_OUTPUT in captures:
        raise UsageError("standard input cannot be read twice; name a file, for --incidents")

    from loomidi.services import analyzing

    settings = analyzing.AnalyzeSettings(meter=_meter_settings(options), protected=options["protect"])
    with _progress(captures) as progress:
        report = analyzing.analyze(captures, settings, progress=progress)
    _write(report, outputs)
    for problem in report.problems:
        click.echo(f"loomidi: {problem}", err=True)
    if options["incidents"]:
        _keep(report, captures, options["incidents"])
    return report.exit_code


def _keep(report: "Report", captures: tuple[str, ...], folder: str) -> None:
    """A folder for each finding, told one a line."""
    from loomidi.services.incidents import keeping

    for kept in keeping.keep(report.findings, captures, Path(folder)):
        click.echo(f"loomidi: incident {kept.name}: {kept.why}" if kept.name else f"loomidi: {kept.why}", err=True)


def _captures_and_json(captures: tuple[str, ...], json_file: str | None) -> tuple[tuple[str, ...], str | None]:
    """`--json FILE` takes only names that end in .json, so that `--json CAPTURE` cannot overwrite a capture."""
    if json_file in (None, STANDARD_OUTPUT) or json_file.endswith(".json") or json_file.startswith("/dev/"):
        return captures, json_file
    return (json_file, *captures), STANDARD_OUTPUT


def _check(captures: tuple[str, ...], outputs: _Outputs) -> None:
    """What can be known before an hour of reading."""
    if not captures:
        raise UsageError("nothing to read; name at least one capture: loomidi analyze CAPTURE...")
    for name in (outputs.json, outputs.html):
        if name in (None, STANDARD_OUTPUT):
            continue
        if Path(name).exists() and any(Path(capture).exists() and Path(capture).samefile(name) for capture in captures):
            raise UsageError(f"{name} is one of the captures; name another file for the report")
        folder = Path(name).parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)) or Path(name).is_dir():
            raise UsageError(f"{name} cannot be written; name a file in a folder that you may write to")
    if outputs.html == STANDARD_OUTPUT == outputs.json:
        raise UsageError("both --json and --html go to standard output; give one of them a file")


def _meter_settings(options: dict[str, Any]) -> Any:
    from loomidi.loom.flows import MeterSettings

    names = {"active": "active_s", "idle": "idle_s", "inner": "inner", "max_flows": "max_flows"}
    return MeterSettings(**{names[key]: options[key] for key in names if options[key] is not None})


@contextlib.contextmanager
def _progress(captures: tuple[str, ...]) -> Iterator[Callable[[int, int], object] | None]:
    """A bar on standard error for long captures, when somebody is there to see it."""
    if not sys.stderr.isatty() or sum(_octets(name) for name in captures) < _LONG_OCTETS:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _octets(name: str) -> int:
    return Path(name).stat().st_size if Path(name).is_file() else 0


def _write(report: "Report", outputs: _Outputs) -> None:
    """Each form where it was asked for; the text unless standard output carries another."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a file name that this terminal cannot show must not end the report
    if outputs.json is not None:
        from loomidi.insight.report.document import write

        with _opened(outputs.json) as file:
            write(report, file)
    if outputs.html is not None:
        from loomidi.insight.report.page import page

        with _opened(outputs.html) as file:
            file.write(page(report))
    if STANDARD_OUTPUT not in (outputs.json, outputs.html):
        from rich.console import Console

        from loomidi.insight.report.text import draw

        draw(report, Console(highlight=False), in_full=outputs.in_full, manifests=outputs.manifests)


def _opened(name: str) -> contextlib.AbstractContextManager[Any]:
    if name == STANDARD_OUTPUT:
        return contextlib.nullcontext(sys.stdout)
    return Path(name).open("w", encoding="utf-8")
