"""The report as text for a terminal: headline, traffic, findings with their story, folds, balance.

Called by `loomidi analyze`. In: a `Report` and a rich console, which decides on colour and width. Everything that came
from a capture or a file name goes in as plain text, never as markup, and without control characters.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from loomidi.contracts.records import BlastRadius, Finding, Severity
from loomidi.insight import wording
from loomidi.insight.explain import phrase
from loomidi.insight.explain.telling import bystanders, remedy
from loomidi.insight.report.records import SEVERITIES, ProposedFold, Report
from loomidi.insight.report.stories import story

STYLES = {
    Severity.CRITICAL: "bold white on red",
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "bold yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}
TOLD_IN_FULL = 5  # findings; the others get one line each
ONE_LINERS = 40
_BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN_BARS = " .:-=+*#@"
_NARROW = 70  # columns; below this tables drop what the story repeats


def draw(report: Report, console: Console, *, in_full: int = TOLD_IN_FULL, manifests: bool = False) -> None:
    """Write the report. `in_full`: findings told with their story; `manifests`: add the Kubernetes objects as YAML."""
    sections: Iterable[RenderableType] = (
        _headline(report, console),
        _findings(report, console, in_full),
        _folds(report, console, manifests),
        _balance(report, console),
    )
    for section in sections:
        console.print(section)


def _headline(report: Report, console: Console) -> RenderableType:
    flows = report.flows
    rows: list[tuple[str, RenderableType]] = [
        ("captures", _text(wording.listing([read.path for read in report.captures], 4))),
        ("flows", Text(f"{wording.count(flows.count)} of {wording.plural(flows.packets, 'packet')}")),
        ("octets", Text(wording.octets_exactly(flows.octets))),
    ]
    if flows.count:
        rows.insert(1, ("time", Text(wording.period(flows.first_ns, flows.last_ns))))
        shares = (f"{name} {totals.packets / max(flows.packets, 1):.1%}" for name, totals in report.protocols.items())
        rows.append(("packets by", Text(", ".join(shares))))
        rows.append(("traffic", _traffic(report, console)))
    return Group(_verdict(report), Text(), _pairs(rows))


def _verdict(report: Report) -> Text:
    """The one line to read if only one is read."""
    counts = [
        Text(f"{sum(f.severity is severity for f in report.findings)} {severity.value}", STYLES[severity])
        for severity in SEVERITIES
        if any(finding.severity is severity for finding in report.findings)
    ]
    line = Text("Nothing above info was found." if not report.alarms else "", "bold green")
    if report.alarms:
        line = Text(f"{wording.plural(len(report.alarms), 'finding')} to look at", "bold")
    if counts:
        line.append("  (", "default").append_text(Text(", ").join(counts)).append(")", "default")
    return line


def _traffic(report: Report, console: Console) -> RenderableType:
    """Packets over time as bars, and below them where findings lie."""
    packets, series = report.series.packets_in_all, report.series
    width = max(10, min(72, console.width - 16))
    columns = _squeezed(packets, width)
    bars = _BARS if _unicode(console) else _PLAIN_BARS
    most = max(columns) or 1
    drawn = Text("".join(bars[-(-number * (len(bars) - 1) // most)] for number in columns), "cyan")
    column_ns = series.bin_ns * len(packets) / len(columns)
    peak = max(packets)
    peak_at = max(report.flows.first_ns, series.start_ns + packets.index(peak) * series.bin_ns)
    rate = wording.count(peak / (series.bin_ns / 1e9))
    caption = Text(f"peak {rate} packets/s at {wording.clock(peak_at)} UTC", "dim")
    marks = Text()
    for at in range(len(columns)):
        begin = series.start_ns + int(at * column_ns)
        there = [f for f in report.alarms if f.first_ns < begin + column_ns and f.last_ns >= begin]
        worst = min(there, key=lambda finding: SEVERITIES.index(finding.severity), default=None)
        marks.append("^" if worst else " ", STYLES[worst.severity].removesuffix(" on red") if worst else "")
    return Group(drawn, *([marks] if report.alarms else []), caption)


def _squeezed(values: Sequence[int], width: int) -> list[int]:
    """The series averaged over at most `width` columns of nearly equal length: packets per bin."""
    count = min(width, max(len(values), 1))
    edges = [len(values) * at // count for at in range(count + 1)]
    return [round(sum(values[low:high]) / (high - low)) for low, high in itertools.pairwise(edges)]


def _findings(report: Report, console: Console, in_full: int) -> RenderableType:
    parts: list[RenderableType] = []
    for finding in report.findings[:in_full]:
        parts += [Text(), _story(finding, report.proposals(finding), console)]
    rest = report.findings[in_full:]
    if rest:
        parts += [Text(), _rule(console, "further findings"), _one_liners(rest[:ONE_LINERS], console)]
    unsaid = len(rest[ONE_LINERS:])
    if unsaid:
        parts.append(Text(f"and {wording.plural(unsaid, 'finding')} more; --json has them all", "dim"))
    return Group(*parts)


def _story(finding: Finding, proposed: Sequence[ProposedFold], console: Console) -> RenderableType:
    head = Text.assemble(
        (f" {finding.severity.value.upper()} ", STYLES[finding.severity]),
        "  ",
        (phrase(finding.pattern).title, "bold"),
        f"  {_subject(finding)}",
    )
    told = story(finding, proposed)
    rows: list[tuple[str, RenderableType]] = [
        ("what was seen", Text(f"{phrase(finding.pattern).seen}.")),
        ("when", Text(f"{wording.moment(finding.first_ns)}, {wording.span(finding.first_ns, finding.last_ns)}")),
        ("confidence", Text(f"{finding.confidence:.0%}   {finding.id}")),
        ("evidence", _evidence(finding, console)),
    ]
    rows += [(_label(part.heading), _text(part.text)) for part in told if part.heading != "What was seen"]
    return Group(_rule(console), head, Padding(_pairs(rows, 20 if console.width >= _NARROW else 12), (0, 0, 0, 1)))


def _label(heading: str) -> str:
    return heading if heading.isupper() else heading[0].lower() + heading[1:]


def _evidence(finding: Finding, console: Console) -> Table:
    """Each measured value beside its limit."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="dim", pad_edge=False)
    table.add_column("measured")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    wide = console.width >= _NARROW
    if wide:
        table.add_column("meaning", style="dim")
    for item in finding.evidence:
        limit = "" if item.threshold is None else wording.value(item.threshold, item.unit)
        row = [_text(item.name.replace("_", " ")), _text(wording.value(item.value, item.unit)), _text(limit)]
        table.add_row(*row, *([_text(item.meaning)] if wide else []))
    return table


def _one_liners(findings: Sequence[Finding], console: Console) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    for finding in findings:
        row = [Text(finding.severity.value, STYLES[finding.severity]), Text(phrase(finding.pattern).title)]
        row.append(_text(_subject(finding)))
        if console.width >= _NARROW:
            row += [Text(f"{finding.confidence:.0%}"), Text(wording.clock(finding.first_ns), "dim")]
            row.append(Text(" ".join(finding.techniques), "dim"))
        table.add_row(*row)
    return table


def _folds(report: Report, console: Console, manifests: bool) -> RenderableType:
    if not report.folds:
        return Text()
    parts: list[RenderableType] = [Text(), _rule(console, "proposed folds, nothing was applied")]
    folds = report.distinct_folds
    shown = folds if manifests else folds[: 2 * TOLD_IN_FULL]
    for number, (proposed, findings) in enumerate(shown, 1):
        parts.append(_fold(number, proposed, findings))
        if manifests:
            parts.append(Padding(_text(yaml(proposed, max(40, console.width - 6))), (0, 0, 1, 4)))
    if len(folds) > len(shown):
        parts.append(Text(f"and {wording.plural(len(folds) - len(shown), 'fold')} more", "dim"))
    if not manifests:
        parts.append(Text("--manifests prints the Kubernetes object of each fold", "dim"))
    return Group(*parts)


def _fold(number: int, proposed: ProposedFold, findings: int) -> RenderableType:
    answer = Text("guards allow", "green") if proposed.allowed else Text("guards refuse", "red")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", width=3, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(str(number), Text.assemble((proposed.fold.kind.value, "bold"), "  ", _text(remedy(proposed.fold))))
    told = reach(proposed.plan.blast_radius) + (f"; answers {findings} findings" if findings > 1 else "")
    grid.add_row("", Text.assemble(answer, ("; " + told, "dim")))
    return grid


def reach(radius: BlastRadius) -> str:
    """The blast radius in one line."""
    if not radius.peers:
        return "cuts no traffic"
    told = f"touches {wording.plural(radius.peers, 'peer')}, {wording.plural(radius.flows, 'flow')}, "
    told += f"{wording.octets(radius.octets)} ({radius.share_of_octets:.1%} of all)"
    if radius.bystanders:
        told += f"; bystanders: {bystanders(radius)}"
    return told


def yaml(proposed: ProposedFold, width: int = 100) -> str:
    """The Kubernetes object of a fold as YAML, its long texts folded at `width`."""
    import yaml as library  # only when somebody asks for manifests

    dumper = getattr(library, "CSafeDumper", library.SafeDumper)
    return str(library.dump(proposed.fold.as_dict()["manifest"], Dumper=dumper, sort_keys=False, width=width)).rstrip()


def _balance(report: Report, console: Console) -> RenderableType:
    """Where every packet ended, in one sentence."""
    balance = report.balance
    terms = (f"{wording.count(p)} {name.replace('_', ' ')}" for name, (p, _) in balance.reasons.items() if p)
    told = f"{wording.plural(balance.received, 'packet')} read = {' + '.join(terms) or '0'}"
    end = Text("adds up", "green") if balance.adds_up else Text("does NOT add up, please report it", "bold red")
    lines: list[RenderableType] = [Text(), _rule(console), Text.assemble("balance   ", told, "  ", end)]
    lines += [Text(f"          {line}", "dim") for line in report.bounds]
    unread = sum(bool(read.problems) for read in report.captures)
    if unread:
        told = f"{wording.plural(unread, 'capture')} could not be read to the end; what was readable is above"
        lines.append(Text(f"          {told}", "bold yellow"))
    return Group(*lines)


def _pairs(rows: Sequence[tuple[str, RenderableType]], label_width: int = 10) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", width=label_width)
    grid.add_column(overflow="fold")
    for label, told in rows:
        grid.add_row(label, told)
    return grid


def _subject(finding: Finding) -> str:
    return wording.listing([wording.name(entity) for entity in finding.entities], 2)


def _text(text: str) -> Text:
    """Text that is never read as markup, line breaks kept, other control characters replaced."""
    return Text("\n".join(wording.printable(line) for line in text.split("\n")))


def _rule(console: Console, title: str = "") -> Rule:
    return Rule(title, style="dim", characters="\u2500" if _unicode(console) else "-")


def _unicode(console: Console) -> bool:
    encoding: Any = console.encoding
    return str(encoding).lower().replace("-", "").startswith("utf")
