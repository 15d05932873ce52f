"""Charts as inline SVG: lines, bars with whiskers, dots, on linear or logarithmic axes.

Called by `model_page`. In: numbers and labels. Out: SVG text. Colours come from classes of the page's style, so that
dark and light follow the reader; no style attributes, which the page's content policy would refuse.
"""

import dataclasses
import html
import math
from collections.abc import Iterable, Sequence

_WIDTH, _HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 14, 40
_ROW, _LABEL, _FIGURE = 22, 170, 150  # of a chart of bars

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """Of one direction."""

    low: float
    high: float
    label: str
    log: bool = False

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one; what lies beyond is at the end."""
        if not math.isfinite(value):
            return 0.0
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))

    def ticks(self) -> list[float]:
        """Powers of ten, or five of equal distance."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        return [self.low + (self.high - self.low) * at / 4 for at in range(5)]


class Chart:
    """One drawing; add to it, then `svg`."""

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self._title, self._x, self._y = title, x, y
        self._parts = [*self._grid()]

    def line(self, points: Iterable[Point], kind: str, title: str = "") -> None:
        """Through the points."""
        placed = " ".join(f"{self._at_x(x):.1f},{self._at_y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{kind}" points="{placed}">{_hint(title)}</polyline>')

    def dots(self, points: Iterable[tuple[float, float, str]], kind: str) -> None:
        """A dot each, with what it says when pointed at."""
        self._parts += [
            f'<circle class="{kind}" cx="{self._at_x(x):.1f}" cy="{self._at_y(y):.1f}" r="4">{_hint(title)}</circle>'
            for x, y, title in points
        ]

    def whiskers(self, spans: Iterable[tuple[float, float, float]]) -> None:
        """Vertical intervals: x, low, high."""
        for x, low, high in spans:
            at, a, b = self._at_x(x), self._at_y(low), self._at_y(high)
            self._parts.append(f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{a:.1f}" y2="{b:.1f}"/>')

    def columns(self, values: Sequence[tuple[float, float, str]], width: float, kind: str) -> None:
        """Bars from the floor: left edge in x, height in y, hint."""
        for x, y, title in values:
            left, right = self._at_x(x), self._at_x(x + width)
            top = self._at_y(y)
            high = max(self._at_y(self._y.low) - top, 0.0)
            self._parts.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 1, 1):.1f}" '
                f'height="{high:.1f}">{_hint(title)}</rect>'
            )

    def svg(self) -> str:
        """The whole of it."""
        box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(self._title)}"'
        return f"<svg {box}>{''.join(self._parts)}</svg>"

    def _at_x(self, value: float) -> float:
        return _LEFT + self._x.share(value) * (_WIDTH - _LEFT - _RIGHT)

    def _at_y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self._y.share(value) * (_HEIGHT - _TOP - _BOTTOM)

    def _grid(self) -> Iterable[str]:
        floor = _HEIGHT - _BOTTOM
        for value in self._x.ticks():
            x = self._at_x(value)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"/>'
            yield f'<text class="tick" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{_short(value)}</text>'
        for value in self._y.ticks():
            y = self._at_y(value)
            yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        middle, below = (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6
        yield f'<text class="tick" x="{middle:.0f}" y="{below}" text-anchor="middle">{_text(self._x.label)}</text>'
        yield f'<text class="tick" x="{_LEFT}" y="{_TOP - 4}" text-anchor="start">{_text(self._y.label)}</text>'


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart of bars."""

    label: str
    value: float
    shown: str
    low: float | None = None
    high: float | None = None


def bars(title: str, rows: Sequence[Bar], most: float, limit: float | None = None) -> str:
    """Horizontal bars from 0 to `most`, with whiskers where there are intervals, and a line at a limit."""
    wide = _WIDTH - _LABEL - _FIGURE
    height = _ROW * len(rows) + 8
    box = f'viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(title)}"'
    parts = [_bar(row, at, wide, most) for at, row in enumerate(rows)]
    if limit is not None:
        x = _LABEL + _clamped(limit / most) * wide
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
    return f"<svg {box}>{''.join(parts)}</svg>"


def _bar(row: Bar, at: int, wide: float, most: float) -> str:
    y, length = at * _ROW + 4, _clamped(row.value / most) * wide
    drawn = (
        f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{_text(row.label[:26])}{_hint(row.label)}</text>'
        f'<rect class="track" x="{_LABEL}" y="{y + 2}" width="{wide}" height="{_ROW - 9}"/>'
        f'<rect class="bar" x="{_LABEL}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 9}"/>'
        f'<text class="tick" x="{_LABEL + wide + 8}" y="{y + 13}">{_text(row.shown)}</text>'
    )
    if row.low is None or row.high is None:
        return drawn
    a, b = (_LABEL + _clamped(end / most) * wide for end in (row.low, row.high))
    return f'{drawn}<line class="whisker" x1="{a:.1f}" x2="{b:.1f}" y1="{y + 8.5}" y2="{y + 8.5}"/>'


def _clamped(share: float) -> float:
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0


def _short(value: float) -> str:
    if value and (abs(value) >= 1e4 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}"


def _hint(title: str) -> str:
    return f"<title>{_text(title)}</title>" if title else ""


def _text(plain: str) -> str:
    return html.escape("".join(letter if letter.isprintable() else "?" for letter in plain), quote=True)
