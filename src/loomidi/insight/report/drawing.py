"""The two drawings of the page as inline SVG: traffic over time with findings below, and who talked to whom.

Called by `page`. In: a series, findings, a `Picture`. Out: SVG text. Colours come from classes of `page.css`, so that
dark and light follow the reader; no style attributes, which the page's content policy would refuse. All text that came
from outside is escaped here.
"""

import html
import math
from collections.abc import Sequence

from loomidi.contracts.records import Finding
from loomidi.insight import wording
from loomidi.insight.explain import phrase
from loomidi.insight.report.picture import Arc, Node, Picture
from loomidi.insight.report.records import SEVERITIES, Series

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 1000, 190, 64, 14, 12
_LANE, _LANES = 18, 14  # height of a finding's lane; findings drawn
_TICKS_NS = [factor * 10**power for power in range(3, 20) for factor in (1, 2, 5)]
_MOST_TICKS = 7


def timeline(series: Series, findings: Sequence[Finding]) -> str:
    """Stacked packets per second by protocol; below, one lane for each of the worst findings, worst first."""
    bins = len(series.octets)
    rates = series.packets_in_all
    peak = max(rates, default=0) or 1
    lanes = sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.first_ns, f.id))[:_LANES]
    height = _TOP + _HEIGHT + 26 + _LANE * len(lanes) + 6
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Packets per second over time">']
    parts += _levels(peak / (series.bin_ns / 1e9))
    parts += _moments(series, bins, height)
    parts += _areas(series, bins, peak)
    parts += [_lane(series, bins, finding, at) for at, finding in enumerate(lanes)]
    return "".join([*parts, "</svg>"])


def _areas(series: Series, bins: int, peak: int) -> list[str]:
    """One polygon for each protocol, stacked."""
    below = [0] * bins
    parts = []
    for name, values in series.packets.items():
        above = [low + value for low, value in zip(below, values, strict=True)]
        if any(values):
            points = [*_steps(above, bins, peak), *reversed(_steps(below, bins, peak))]
            text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            title = f"{name}: {wording.plural(sum(values), 'packet')}"
            parts.append(f'<polygon class="area {html.escape(name)}" points="{text}"><title>{title}</title></polygon>')
        below = above
    return parts


def _steps(values: Sequence[int], bins: int, peak: int) -> list[tuple[float, float]]:
    """The upper edge of bars as a line."""
    wide = (_WIDTH - _LEFT - _RIGHT) / max(bins, 1)
    points = []
    for at, value in enumerate(values):
        y = _TOP + _HEIGHT * (1 - value / peak)
        points += [(_LEFT + at * wide, y), (_LEFT + (at + 1) * wide, y)]
    return points


def _levels(peak_rate: float) -> list[str]:
    """Horizontal lines at 0, half and full height, labelled in packets per second."""
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _TOP + _HEIGHT * (1 - share)
        label = _short(peak_rate * share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{_TOP + 18}" text-anchor="end">pkt/s</text>')
    return parts


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _moments(series: Series, bins: int, height: int) -> list[str]:
    """Vertical lines at round times."""
    length = series.bin_ns * bins
    step = next(tick for tick in _TICKS_NS if length / tick <= _MOST_TICKS)
    parts = []
    at = -(-series.start_ns // step) * step
    while at <= series.start_ns + length:
        x = _x(series, bins, at)
        label = wording.clock(at)[: 12 if step < 10**9 else 8]
        anchor = "end" if x > _WIDTH - 40 else "middle"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - 6}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="{anchor}">{label}</text>')
        at += step
    return parts


def _x(series: Series, bins: int, at_ns: int) -> float:
    share = (at_ns - series.start_ns) / (series.bin_ns * max(bins, 1))
    return _LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - _RIGHT)


def _lane(series: Series, bins: int, finding: Finding, at: int) -> str:
    low, high = _x(series, bins, finding.first_ns), _x(series, bins, finding.last_ns)
    y = _TOP + _HEIGHT + 26 + at * _LANE
    width = max(4.0, high - low)
    title = phrase(finding.pattern).title
    who = wording.listing([wording.name(entity) for entity in finding.entities], 1)
    begins, inside = min(low, _WIDTH - _RIGHT - width), width > 8 * len(f"{title} {who}") * 0.8
    if inside:
        x, anchor, kind = begins + 6, "start", "inside"
    elif low < _WIDTH / 2:
        x, anchor, kind = begins + width + 5, "start", "beside"
    else:
        x, anchor, kind = begins - 5, "end", "beside"
    hint = f"{title}, {finding.severity.value}, {wording.moment(finding.first_ns)}, "
    hint += wording.span(finding.first_ns, finding.last_ns)
    return (
        f'<a href="#{html.escape(finding.id)}"><rect class="lane {finding.severity.value}" x="{begins:.1f}" y="{y}" '
        f'width="{width:.1f}" height="{_LANE - 4}" rx="3"/><title>{html.escape(hint)}</title>'
        f'<text class="lane-label {kind}" x="{x:.1f}" y="{y + 11}" text-anchor="{anchor}">'
        f"{html.escape(f'{title} {who}')}</text></a>"
    )


def graph(drawn: Picture) -> str:
    """Arcs first, so that nodes and names lie above them."""
    box = f"0 0 {drawn.width} {drawn.height}"
    parts = [f'<svg viewBox="{box}" role="img" aria-label="Who talked to whom; initiators left, responders right">']
    most = max((arc.octets for arc in drawn.arcs), default=1)
    parts += [_arc(arc, most) for arc in drawn.arcs]
    parts += [_node(node) for node in drawn.nodes]
    return "".join([*parts, "</svg>"])


def _arc(arc: Arc, most: int) -> str:
    width = 0.8 + 5 * math.log1p(arc.octets) / math.log1p(max(most, 1))
    a, b = arc.source, arc.target
    if a.column == b.column:  # both in the middle: a bow to the side
        bow = 60 + abs(a.y - b.y) / 4
        path = f"M{a.x:.1f} {a.y:.1f}C{a.x + bow:.1f} {a.y:.1f} {b.x + bow:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}"
    else:
        middle = (a.x + b.x) / 2
        path = f"M{a.x:.1f} {a.y:.1f}C{middle:.1f} {a.y:.1f} {middle:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}"
    least = "at least " if "heap" in (a.role, b.role) else ""  # of a heap only the busiest links are known here
    told = (
        f"{a.label} to {b.label}: {arc.label}, {least}{wording.plural(arc.flows, 'flow')}, {wording.octets(arc.octets)}"
    )
    title = html.escape(told)
    return f'<path class="arc {arc.role}" d="{path}" stroke-width="{width:.1f}"><title>{title}</title></path>'


def _node(node: Node) -> str:
    anchor = ("end", "middle", "start")[node.column]
    dx = (-node.radius - 6, 0, node.radius + 6)[node.column]
    dy = -node.radius - 4 if node.column == 1 else 4
    label, role = html.escape(node.label), html.escape(node.role)
    title = label if node.role == "heap" else html.escape(f"{node.label}: {wording.octets_exactly(node.octets)}")
    return (
        f'<g class="node {role}"><circle cx="{node.x:.1f}" cy="{node.y:.1f}" r="{node.radius:.1f}"/>'
        f'<text x="{node.x + dx:.1f}" y="{node.y + dy:.1f}" text-anchor="{anchor}">{label}</text>'
        f"<title>{title}</title></g>"
    )
