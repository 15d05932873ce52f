"""`loomidi meter`: packets of captures or an interface to flow records.

Called by `conductor.cli`. In: sources and settings. Out: one file or JSON lines; a balance line, and a line for each
problem, on standard error. Leaves metering and writing to `loom.flows`.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.conductor.starting import import_arrow_alone, leave
from loomidi.contracts.errors import UsageError

if TYPE_CHECKING:
    from loomidi.loom.flows import FlowStream

_LONG = 64 << 20  # octets of captures from which a progress bar is worth its line


@click.command(name="meter")
@click.argument("sources", nargs=-1, required=True, metavar="CAPTURE|IFACE|-...")
@click.option("--output", "-o", default="-", metavar="FILE", help="Parquet, Arrow, CSV or JSON lines, by suffix. [-]")
@click.option("--active", "active_s", type=float, metavar="S", help="Cut flows that are longer.  [120]")
@click.option("--idle", "idle_s", type=float, metavar="S", help="Silence that ends a flow.  [60]")
@click.option("--max-flows", type=int, metavar="N", help="Open at once; beyond it the oldest is evicted.  [131072]")
@click.option("--inner/--no-inner", default=None, help="Look inside VXLAN and Geneve.  [inner]")
@click.option("--duration", default=0.0, metavar="S", help="Of metering an interface; else until Ctrl-C.")
def command(sources: tuple[str, ...], output: str, duration: float, **given: Any) -> int:
    """Turn packets into flow records.

    Reads pcap and pcapng (gzip too), an interface, or a capture on standard input (-). The columns are described in
    docs/flow-features.md. Without --output, JSON lines go to standard output.
    """
    import_arrow_alone()
    from loomidi.loom.flows import MeterSettings, meter
    from loomidi.loom.flows.writing import writing

    settings = MeterSettings(**{name: value for name, value in given.items() if value is not None})
    if not 0 <= duration < float("inf"):
        raise UsageError(f"duration {duration:g} s: use a number of seconds above 0")
    _keep_sources(sources, output)
    with meter(sources, settings, duration_s=duration) as stream:
        with _stopping(stream), _progress(stream), writing(output) as write:
            for batch in stream:
                write(batch)
        click.echo(_balance_line(stream), err=True)
        for problem in stream.problems:
            click.echo(f"loomidi: {problem.source}: {problem.message}", err=True)
    return leave(2 if stream.problems else 0)


def _keep_sources(sources: tuple[str, ...], output: str) -> None:
    """Refuse to write over what is read."""
    if output != "-" and any(Path(name).is_file() and _same(name, output) for name in sources):
        raise UsageError(f"{output} is also read from; choose another --output")


def _same(source: str, output: str) -> bool:
    return Path(output).exists() and Path(source).samefile(output)


def _balance_line(stream: "FlowStream") -> str:
    """Where every packet went; the parts add up to the first number."""
    counts = {reason: packets for reason, (packets, _) in stream.balance.items() if packets}
    accounted = counts.pop("accounted", 0)
    parts = [f"{accounted} accounted in {stream.flows} flows", *(f"{n} {reason}" for reason, n in counts.items())]
    line = f"loomidi: {accounted + sum(counts.values())} packets = {' + '.join(parts)}"
    return f"{line}; {stream.evicted} flows evicted, raise --max-flows" if stream.evicted else line


@contextlib.contextmanager
def _stopping(stream: "FlowStream") -> Iterator[None]:
    """On an interface Ctrl-C and TERM end the metering in good order; on captures they break it off."""
    if not stream.live:
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stream.stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress(stream: "FlowStream") -> Iterator[None]:
    """A bar over long captures, for a person only."""
    if not sys.stderr.isatty() or stream.bytes_total < _LONG:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("metering"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=stream.bytes_total)
        stream.on_breath = lambda: bar.update(task, completed=stream.bytes_read)
        yield
