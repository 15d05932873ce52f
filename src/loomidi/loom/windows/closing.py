"""From closed pieces of time to windows: what both runners do once nothing more can come for a piece.

Called by the runners, in time order. In: the parts of each piece (`base_s` long), SAMPLES of HTTP servers, the time up
to which all is closed. Out: `Closed` windows, in a fixed order. Keeps the panes that longer windows still need, the
memory of peers and the last values of series: bounded, and as bytes for a checkpoint.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from loomidi.contracts.streams import Stream
from loomidi.loom.windows import panes, requests
from loomidi.loom.windows.features import Window, edge_windows, entity_windows
from loomidi.loom.windows.panes import Pane
from loomidi.loom.windows.parts import NO_PARTS, Parts, frame_from, frame_to, merged
from loomidi.loom.windows.peers import NO_PEERS, remembered
from loomidi.loom.windows.specifications import PANE_S, SECOND_NS, WindowSettings, WindowSpec

PANE_NS = PANE_S * SECOND_NS
PartsByStart = dict[int, list[Parts]]
SamplesByStart = dict[int, list[pa.RecordBatch]]


class Closed(NamedTuple):
    """Windows that are final: of one size, one beginning, one stream."""

    spec: WindowSpec
    stream: Stream  # EDGE_WINDOWS or ENTITY_WINDOWS
    rows: pa.RecordBatch


class Closer:
    """Makes windows of what is closed; `close` must be called with growing times."""

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self.closed_ns: int | None = None  # all before it is closed; None: nothing yet
        self.panes_closed = 0  # since it was made: its state is another when this grows
        self.counters = {"edges_collapsed": 0, "peers_forgotten": 0}
        self._next_ns: int | None = None  # beginning of the pane to close next
        self._peers, self._series = NO_PEERS, requests.NO_SERIES
        self._small = sorted(spec for spec in settings.specs if spec.size_s < PANE_S)
        self._large = sorted(spec for spec in settings.specs if spec.size_s >= PANE_S)
        self._held: dict[int, dict[int, Pane]] = {
            width: {} for width in sorted({PANE_S, *(spec.every_s for spec in self._large)})
        }  # width in s -> start in ns -> what longer windows still need

    def close(self, parts: PartsByStart, samples: SamplesByStart, to_ns: int) -> list[Closed]:
        """Close all up to `to_ns`; takes the panes that it closes out of `parts` and `samples`."""
        closed = list[Closed]()
        while (start := self._next_pane(parts, samples)) is not None and start < to_ns:
            inside = {at: parts[at] for at in sorted(parts) if start <= at < start + PANE_NS}
            for spec in self._small:
                closed += self._short_windows(spec, inside, to_ns)
            if start + PANE_NS > to_ns:
                break
            closed += self._close_pane(start, [one for some in inside.values() for one in some], samples.get(start, []))
            self._next_ns, self.panes_closed = start + PANE_NS, self.panes_closed + 1
            samples.pop(start, None)
            for at in inside:
                del parts[at]
        self.closed_ns = to_ns if self.closed_ns is None else max(to_ns, self.closed_ns)
        return closed

    def peek(self, parts: PartsByStart, size_s: int, starts: set[int]) -> Iterator[pa.RecordBatch]:
        """EDGE_WINDOWS of open windows of one size, as far as they have come; nothing here is changed by it.

        `starts`: of the pieces that are asked for. Windows longer than a pane are put together of more than is held.
        """
        if size_s > PANE_S:
            return
        width = size_s * SECOND_NS
        for start in sorted({at // width * width for at in starts}):
            window = Window(start, size_s)
            some = [one for at in sorted(parts) if start <= at < window.end_ns for one in parts[at]]
            if some and (self.closed_ns is None or window.end_ns > self.closed_ns):
                yield edge_windows(panes.sealed(merged(some, self.settings.max_edges), start), self._peers, window)

    def _next_pane(self, parts: PartsByStart, samples: SamplesByStart) -> int | None:
        """The pane to close next: one after the other while longer windows still hold something, else the next met."""
        if self._next_ns is not None and any(self._held.values()):
            return self._next_ns
        earliest = min([*parts, *samples], default=None)
        return None if earliest is None else earliest // PANE_NS * PANE_NS

    def _short_windows(self, spec: WindowSpec, inside: Mapping[int, list[Parts]], to_ns: int) -> Iterator[Closed]:
        """Windows within a pane that end after what was closed before; their parts stay, for the pane."""
        for start in sorted({at // spec.size_ns * spec.size_ns for at in inside}):
            window = Window(start, spec.size_s)
            if window.end_ns <= to_ns and (self.closed_ns is None or window.end_ns > self.closed_ns):
                some = [one for at, found in inside.items() if start <= at < window.end_ns for one in found]
                pane = panes.sealed(merged(some, self.settings.max_edges), start)
                yield from self._finished(spec, pane, window)

    def _close_pane(self, start: int, parts: Sequence[Parts], samples: Sequence[pa.RecordBatch]) -> Iterator[Closed]:
        """The pane, then every window that ends with it."""
        end = start + PANE_NS
        if parts or samples:
            pane = panes.sealed(merged([NO_PARTS, *parts], self.settings.max_edges), start)
            counts, self._series = requests.grown(requests.rows(samples), self._series, self.settings.max_series)
            self._held[PANE_S][start] = pane = pane.with_requests(counts)
            self._peers, forgotten = remembered(self._peers, pane.edges, start, self.settings)
            self.counters["peers_forgotten"] += forgotten
            self.counters["edges_collapsed"] += pane.collapsed
        for width, held in self._held.items():
            if end % (width * SECOND_NS):
                continue
            if width > PANE_S and (whole := self._span(PANE_S, end, width)) is not None:
                held[end - width * SECOND_NS] = whole
            for spec in self._large:
                if spec.every_s == width and (found := self._span(width, end, spec.size_s)) is not None:
                    yield from self._finished(spec, found, Window(end - spec.size_ns, spec.size_s))
        self._let_go(end)

    def _span(self, width: int, end: int, size_s: int) -> Pane | None:
        """The held panes of one width that lie in the `size_s` before `end`, as one."""
        held = self._held[width]
        inside = [held[at] for at in sorted(held) if end - size_s * SECOND_NS <= at < end]
        return panes.combined(inside, self.settings.max_edges) if inside else None

    def _let_go(self, end: int) -> None:
        """Forget the panes that no later window needs."""
        for width, held in self._held.items():
            longest = max([spec.size_s for spec in self._large if spec.every_s == width], default=width)
            if width == PANE_S:
                longest = max(longest, *self._held)
            for at in [at for at in held if at < end + (PANE_S - longest) * SECOND_NS]:
                del held[at]

    def _finished(self, spec: WindowSpec, pane: Pane, window: Window) -> Iterator[Closed]:
        if len(pane.edges):
            yield Closed(spec, Stream.EDGE_WINDOWS, edge_windows(pane, self._peers, window))
        if len(pane.edges) or len(pane.requests):
            yield Closed(spec, Stream.ENTITY_WINDOWS, entity_windows(pane, self._peers, window))

    def to_bytes(self) -> bytes:
        """All that it remembers."""
        pieces = [frame_to(self._peers), frame_to(self._series)]
        held = [(width, at) for width, some in self._held.items() for at in some]
        pieces += [self._held[width][at].to_bytes() for width, at in held]
        head = {
            "closed_ns": self.closed_ns,
            "next_ns": self._next_ns,
            "counters": self.counters,
            "held": held,
            "lengths": [len(piece) for piece in pieces],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(pieces)

    @classmethod
    def from_bytes(cls, data: bytes, settings: WindowSettings) -> "Closer":
        """What `to_bytes` gave, under settings that may have changed; windows that they no longer name are dropped."""
        line, _, rest = data.partition(b"\n")
        head, pieces = json.loads(line), list[bytes]()
        for length in head["lengths"]:
            pieces.append(rest[:length])
            rest = rest[length:]
        closer = cls(settings)
        closer.closed_ns, closer._next_ns, closer.counters = head["closed_ns"], head["next_ns"], head["counters"]
        closer._peers, closer._series = frame_from(pieces[0]), frame_from(pieces[1])
        for (width, at), piece in zip(head["held"], pieces[2:], strict=True):
            if width in closer._held:
                closer._held[width][at] = Pane.from_bytes(piece)
        return closer
