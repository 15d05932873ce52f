"""The report as one HTML page that needs nothing else: no network, no other file.

Called by `loomidi analyze --html`. In: a `Report`. Out: the page's text. Everything that came from a capture, a rule or
a file name is escaped where it is put in; beside that the content policy lets run only the style and the script that
are in this package (by their hash), so that text which slipped through would still be dead.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from loomidi.contracts.records import Finding
from loomidi.insight import wording
from loomidi.insight.explain import phrase, technique
from loomidi.insight.explain.telling import remedy
from loomidi.insight.report import drawing
from loomidi.insight.report.marking import Cell, content_hash, table, text
from loomidi.insight.report.picture import picture
from loomidi.insight.report.records import SEVERITIES, FlowTotals, ProposedFold, Report
from loomidi.insight.report.stories import story
from loomidi.insight.report.text import reach, yaml

_HERE = Path(__file__).parent
MOST_ROWS = 200  # of any table; the rest is counted
_OPEN = 3  # findings whose story is open when the page is


def page(report: Report) -> str:
    """The whole document."""
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{content_hash(style)}'; script-src '{content_hash(script)}'; img-src data:"
    )
    sections: tuple[tuple[str, Callable[[Report], str]], ...] = (
        ("Traffic", _traffic),
        ("Findings", _findings),
        ("Who talked to whom", _graph),
        ("Proposed folds", _folds),
        ("Top talkers", _talkers),
        ("Balance", _balance),
    )
    body = "".join(f"<section><h2>{title}</h2>{draw(report)}</section>" for title, draw in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Loomidi report: {_captures(report)}</title><style>{style}</style></head><body>"
        f"{_head(report)}<main>{body}</main>{_foot(report)}<script>{script}</script></body></html>\n"
    )


def _captures(report: Report) -> str:
    return text(wording.listing([read.path for read in report.captures], 3))


def _head(report: Report) -> str:
    flows = report.flows
    counts = [
        f'<span class="badge {severity.value}">{sum(f.severity is severity for f in report.findings)} {severity.value}'
        "</span>"
        for severity in SEVERITIES
        if any(finding.severity is severity for finding in report.findings)
    ]
    verdict = "Nothing above info was found"
    if report.alarms:
        verdict = f"{wording.plural(len(report.alarms), 'finding')} to look at"
    tiles = (
        ("packets", wording.count(flows.packets), ""),
        ("flows", wording.count(flows.count), ""),
        ("octets", wording.octets(flows.octets), wording.count(flows.octets)),
        ("duration", wording.span(flows.first_ns, flows.last_ns), f"from {wording.moment(flows.first_ns)}"),
        ("entities", wording.count(report.entity_count), ""),
    )
    drawn = "".join(
        f'<div class="tile"><b>{text(value)}</b><span>{name}</span><small>{text(more)}</small></div>'
        for name, value, more in tiles
    )
    problems = "".join(f'<p class="problem">Not read: {text(problem)}</p>' for problem in report.problems)
    return (
        f'<header><p class="brand">loomidi analyze<button id="theme" type="button">dark / light</button></p>'
        f"<h1>{verdict} {''.join(counts)}</h1><p>{_captures(report)}</p>{problems}"
        f'<div class="tiles">{drawn}</div></header>'
    )


def _traffic(report: Report) -> str:
    if not report.flows.count:
        return "<p>No flow was read.</p>"
    legend = "".join(f'<span class="key {text(name)}">{text(name)}</span>' for name in report.protocols)
    shares = ", ".join(_share(name, totals, report.flows) for name, totals in report.protocols.items())
    drawn = drawing.timeline(report.series, report.alarms or report.findings)
    legend += f'<span class="dim">{text(shares)}; times in UTC</span>'
    return f'<p class="legend">{legend}</p><div class="scroll">{drawn}</div>'


def _share(name: str, totals: FlowTotals, all_flows: FlowTotals) -> str:
    return f"{name} {totals.packets / max(all_flows.packets, 1):.1%} of packets"


def _findings(report: Report) -> str:
    if not report.findings:
        return "<p>No detector had anything to say.</p>"
    rows: list[list[Cell]] = [
        [
            (f'<span class="badge {f.severity.value}">{f.severity.value}</span>', -SEVERITIES.index(f.severity)),
            (f'<a href="#{text(f.id)}">{text(phrase(f.pattern).title)}</a>', f.pattern),
            (text(_who(f)), _who(f)),
            (text(" ".join(f.techniques)), " ".join(f.techniques)),
            (f"{f.confidence:.0%}", f.confidence),
            (text(wording.moment(f.first_ns).split(".")[0]), f.first_ns),
            (text(wording.span(f.first_ns, f.last_ns)), f.last_ns - f.first_ns),
        ]
        for f in report.findings[:MOST_ROWS]
    ]
    heads = ("severity", "pattern", "involved", "ATT&CK", "confidence", "first seen (UTC)", "lasted")
    stories = "".join(_story(f, report.proposals(f), at < _OPEN) for at, f in enumerate(report.findings[:MOST_ROWS]))
    unsaid = len(report.findings[MOST_ROWS:])
    more = f"<p>And {wording.plural(unsaid, 'finding')} more that this page does not list.</p>" if unsaid else ""
    return table(heads, rows, right={4, 6}) + more + stories


def _story(finding: Finding, proposed: Sequence[ProposedFold], is_open: bool) -> str:
    told = story(finding, proposed)
    parts = "".join(f"<dt>{text(part.heading)}</dt><dd>{text(part.text)}</dd>" for part in told)
    rows: list[list[Cell]] = [
        [
            (text(item.name.replace("_", " ")), item.name),
            (text(wording.value(item.value, item.unit)), _order(item.value)),
            ("" if item.threshold is None else text(wording.value(item.threshold, item.unit)), _order(item.threshold)),
            (text(item.meaning), item.meaning),
        ]
        for item in finding.evidence
    ]
    evidence = table(("measured", "value", "limit", "meaning"), rows, right={1, 2})
    names = "; ".join(technique(name) for name in finding.techniques)
    return (
        f'<details id="{text(finding.id)}"{" open" if is_open else ""}><summary><span class="badge '
        f'{finding.severity.value}">{finding.severity.value}</span> {text(phrase(finding.pattern).title)} '
        f'<span class="dim">{text(_who(finding))} - {text(names)}</span></summary>'
        f"{evidence}<dl>{parts}</dl></details>"
    )


def _graph(report: Report) -> str:
    if not report.links:
        return "<p>No host was seen.</p>"
    drawn = drawing.graph(picture(report.links, report.alarms, report.hosts_not_shown))
    legend = (
        '<p class="legend"><span class="key first">to act on first</span><span class="key involved">involved</span>'
        '<span class="key host">other host</span><span class="key heap">many hosts as one</span>'
        '<span class="dim">initiators left, responders right, both in between; width: octets</span></p>'
    )
    return f'{legend}<div class="scroll">{drawn}</div>'


def _folds(report: Report) -> str:
    if not report.folds:
        return "<p>Nothing is proposed.</p>"
    parts = ['<p class="dim">Nothing was applied: an analysis runs in shadow mode.</p>']
    folds = report.distinct_folds
    for proposed, findings in folds[:MOST_ROWS]:
        fold, radius = proposed.fold, proposed.plan.blast_radius
        answer = '<span class="badge ok">guards allow</span>'
        answer = answer if proposed.allowed else '<span class="badge high">guards refuse</span>'
        more = f" and {wording.plural(findings - 1, 'further finding')}" if findings > 1 else ""
        against = [v for v in proposed.verdicts if v.allow is not True]
        reasons = "".join(f"<li>{text(f'{v.guard}/{v.rule}: {v.reason}')}</li>" for v in against)
        parts.append(
            f"<details><summary><b>{text(fold.kind.value)}</b> {text(remedy(fold))} {answer}</summary><dl>"
            f'<dt>because</dt><dd><a href="#{text(fold.because)}">{text(fold.because)}</a>{more}</dd>'
            f"<dt>blast radius</dt><dd>{text(reach(radius))}</dd>"
            f"<dt>how it is undone</dt><dd>{text(fold.undo)}</dd></dl>"
            f"{f'<ul>{reasons}</ul>' if reasons else ''}<pre>{text(yaml(proposed))}</pre></details>"
        )
    if len(folds) > MOST_ROWS:
        parts.append(f"<p>And {wording.plural(len(folds) - MOST_ROWS, 'fold')} more.</p>")
    return "".join(parts)


def _talkers(report: Report) -> str:
    rows: list[list[Cell]] = [
        [
            (text(wording.name(talker.entity)), talker.entity),
            *(
                (wording.count(number), number)
                for number in (talker.flows, talker.opened, talker.peers, talker.packets)
            ),
            (text(wording.octets(talker.octets)), talker.octets),
            (wording.count(talker.octets), talker.octets),
        ]
        for talker in report.talkers
    ]
    heads = ("host", "flows", "opened by it", "peers", "packets", "octets", "exactly")
    return table(heads, rows, right={1, 2, 3, 4, 5, 6})


def _balance(report: Report) -> str:
    balance = report.balance
    rows: list[list[Cell]] = [
        [(text(name.replace("_", " ")), name), (wording.count(packets), packets), (wording.count(octets), octets)]
        for name, (packets, octets) in balance.reasons.items()
    ]
    end = '<span class="badge ok">adds up</span>' if balance.adds_up else '<span class="badge critical">does not</span>'
    bounds = "".join(f'<p class="dim">{text(line)}</p>' for line in report.bounds)
    ended = table(("where packets ended", "packets", "octets"), rows, right={1, 2})
    return f"<p>{wording.plural(balance.received, 'packet')} read {end}</p>{ended}{bounds}"


def _foot(report: Report) -> str:
    return f"<footer>Loomidi {text(report.version)}. Made from the captures alone; nothing was changed.</footer>"


def _who(finding: Finding) -> str:
    return wording.listing([wording.name(entity) for entity in finding.entities], 2)


def _order(value: float | int | str | None) -> str | float:
    return "" if value is None else value
