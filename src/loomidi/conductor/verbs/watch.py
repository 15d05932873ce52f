"""`loomidi watch`: live links, findings as they happen, with names and the folds that would answer them.

Called by `conductor.cli`. In: links, namespaces, an address book's file. Out: lines for people or JSON lines on
standard output, the last one the balance. Exit code 0 nothing above `info`, 1 something was found, 2 not everything
could be accounted for. The work is `services.watching`; nothing is applied.
"""

import contextlib
import itertools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from loomidi.insight.report import ProposedFold
    from loomidi.services.sightings import Balanced, Event, FlowsSeen, Sighting
    from loomidi.services.watching import Watch

_INFO = "info"
_RECENT = 16_384  # frames of each link, 2.4 MB


@click.command("watch")
@click.argument("links", nargs=-1, required=True, metavar="LINK...")
@click.option("--netns", multiple=True, metavar="NAME", help="Look for the links in this namespace; may be repeated.")
@click.option("--entities", metavar="FILE", help="Names of addresses over time, JSON lines; may grow (docs/watch.md).")
@click.option("--duration", default=0.0, metavar="SECONDS", help="End after this long; else with Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: flow, finding, problem, balance.")
@click.option("--manifests", is_flag=True, help="Print the Kubernetes object of each proposed fold.")
@click.option("--protect", multiple=True, metavar="CIDR", help="Never propose to touch these; may be repeated.")
@click.option(
    "--flows", "flows_file", metavar="FILE", help="Write each flow: Parquet, Arrow, CSV, JSON lines, by suffix."
)
@click.option("--every", default=10.0, metavar="SECONDS", help="Between two sums of the flows; 0: none.  [10]")
@click.option("--active", "active_s", type=float, metavar="SECONDS", help="Cut flows that last longer.  [5]")
@click.option("--idle", "idle_s", type=float, metavar="SECONDS", help="Silence that ends a flow.  [10]")
@click.option("--incidents", metavar="DIR", help="Keep what is found as tests: headers of packets, a threshold.")
@click.option("--ring", "ring_mib", type=int, metavar="MIB", help="Of each link's socket.  [4]")
def command(links: tuple[str, ...], netns: tuple[str, ...], **options: Any) -> int:
    """Watch live links (globs such as 'veth*') of one or more network namespaces until Ctrl-C.

    Findings are told once, when they are found, with the folds that would answer them; what grows is counted. Nothing
    is applied. Exit codes: 0 nothing above `info` found, 1 something found, 2 packets are unaccounted for.
    """
    from loomidi.services.watching import Watch

    filters = list(itertools.product(netns or ("",), links))
    shown = _as_json if options["as_json"] else _as_text(options["manifests"])
    found, adds_up = False, True
    with Watch(filters, _settings(options), entities=options["entities"]) as watch:
        _tell_missing(options["entities"])
        with _stopping(watch), _flows_to(options["flows_file"], watch), _incidents_to(options["incidents"], watch):
            for event in watch:
                shown(event)
                told = event.as_dict()
                found |= told["type"] == "finding" and told["finding"]["severity"] != _INFO
                adds_up &= bool(told.get("adds_up", True))
    return int(found) if adds_up else 2


def _settings(options: dict[str, Any]) -> Any:
    import dataclasses

    from loomidi.loom.flows.links import LIVE
    from loomidi.services.watching import WatchSettings

    given = {name: options[name] for name in ("active_s", "idle_s", "ring_mib") if options[name] is not None}
    return WatchSettings(
        meter=dataclasses.replace(LIVE, **given),
        protected=options["protect"],
        summary_s=options["every"],
        duration_s=options["duration"],
        recent=_RECENT if options["incidents"] else 0,
    )


def _tell_missing(entities: str | None) -> None:
    if entities and not Path(entities).exists():
        click.echo(f"loomidi: {entities} is not there yet; names are told once it is", err=True)


@contextlib.contextmanager
def _stopping(watch: "Watch") -> Iterator[None]:
    """Ctrl-C and TERM end it in good order; a second one at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        watch.stop()

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextlib.contextmanager
def _flows_to(name: str | None, watch: "Watch") -> Iterator[None]:
    if name is None:
        yield
        return
    from loomidi.loom.flows.writing import writing
    from loomidi.services.naming import NAMED_FLOWS, with_names

    with writing(name, NAMED_FLOWS) as write:
        watch.on_flows = lambda batch: write(with_names(batch, watch.book))
        yield


@contextlib.contextmanager
def _incidents_to(name: str | None, watch: "Watch") -> Iterator[None]:
    """Packets are put aside when something is found; at the end they become incidents."""
    if name is None:
        yield
        return
    from loomidi.services.incidents.recording import Recorder

    with Recorder(Path(name), watch.recent) as recorder:
        watch.on_found = recorder.found
        yield
        for kept in recorder.finish():
            click.echo(f"loomidi: incident {kept.name}: {kept.why}" if kept.name else f"loomidi: {kept.why}", err=True)


def _as_json(event: "Event") -> None:
    sys.stdout.write(json.dumps(event.as_dict(), separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _as_text(manifests: bool) -> Callable[["Event"], None]:
    """A function that prints one event."""
    from loomidi.services import sightings

    def show(event: "Event") -> None:
        if isinstance(event, sightings.Trouble):
            click.echo(f"loomidi: {event.message}", err=True)
            return
        if isinstance(event, sightings.Sighting):
            lines = list(_sighting(event, manifests))
        else:
            lines = list(flow_lines(event)) if isinstance(event, sightings.FlowsSeen) else [_balance(event)]
        for line in lines:
            click.echo(line)

    return show


def _sighting(event: "Sighting", manifests: bool) -> Iterator[str]:
    """The finding in one line, then what would be done, one line a fold; nothing for `info` and for what is over."""
    from loomidi.insight import wording
    from loomidi.insight.explain import phrase
    from loomidi.insight.explain.telling import fact
    from loomidi.services.sightings import OVER

    finding, named = event.named.finding, event.named
    if finding.severity.value == _INFO or event.state == OVER:
        return
    who = [wording.printable(named.called(entity)) for entity in finding.entities]
    head = f"{wording.clock(event.at_ns)} {event.state:5} {finding.severity.value.upper():8}"
    subject = who[0] + (f" -> {wording.listing(who[1:], 3)}" if who[1:] else "")
    facts = "; ".join(fact(item) for item in finding.evidence[:2])
    ids = " ".join(finding.techniques)
    yield f"{head} {phrase(finding.pattern).title}: {subject}  {ids}  {facts}  {finding.confidence:.0%}  {finding.id}"
    for proposed in event.folds:
        yield from _fold(event.in_names(proposed), manifests)


def _fold(proposed: "ProposedFold", manifests: bool) -> Iterator[str]:
    from loomidi.insight import wording
    from loomidi.insight.explain.telling import remedy
    from loomidi.insight.report.text import reach, yaml

    against = ", ".join(f"{v.guard}/{v.rule}" for v in proposed.verdicts if v.allow is not True)
    answer = "guards allow" if proposed.allowed else f"guards refuse: {against}"
    cut = reach(proposed.plan.blast_radius)
    yield f"{'':19}would {proposed.fold.kind.value}: {remedy(proposed.fold)} {answer}; {wording.printable(cut)}"
    if manifests and proposed.fold.manifest:
        yield from (f"{'':21}{line}" for line in yaml(proposed).splitlines())


def flow_lines(event: "FlowsSeen") -> Iterator[str]:
    """One line for the interval, one for each of its busiest talkers."""
    from loomidi.insight import wording

    sums = f"{wording.plural(event.flows, 'flow')}, {wording.plural(event.packets, 'packet')}, "
    sums += (
        f"{wording.octets(event.octets)} in {wording.seconds(event.seconds)} on {wording.plural(event.links, 'link')}"
    )
    yield f"{wording.clock(event.at_ns)} flow  {sums}"
    for talk in event.talks:
        ends = [_end(talk.source, talk.source_name), _end(talk.target, talk.target_name)]
        told = f"{wording.plural(talk.flows, 'flow')}, {wording.octets(talk.octets)}"
        more = f" and {talk.service_count - 1} more" if talk.service_count > 1 else ""
        yield f"{'':19}{' -> '.join(ends)}  {' '.join(talk.services[:1])}{more}  {told}"


def _end(entity: str, name: str) -> str:
    from loomidi.insight import wording

    address = wording.name(entity)
    return f"{wording.printable(name)} ({address})" if name else address


def _balance(event: "Balanced") -> str:
    """Where every packet went; the parts add up to the first number."""
    parts = [f"{packets} {name}" for name, packets in event.packets.items() if packets and name != "received"]
    counts = event.counts
    end = "adds up" if event.adds_up else "does NOT add up, please report it"
    return (
        f"loomidi: {event.packets.get('received', 0)} packets on {counts['links']} links = {' + '.join(parts) or '0'}, "
        f"{end}; {counts['flows']} flows, {counts['again']} more seen on a second link; {counts['findings']} findings, "
        f"{counts['updates']} updates; {counts['folds']} folds proposed, none applied"
    )
