"""Spans with W3C trace context, and their OTLP/HTTP form in JSON.

`serving`, `calling`, `stores` and `mailer` open spans; `exporting` takes finished ones from the buffer. Nothing here
waits: a full buffer drops its oldest span and counts it.
"""

import contextvars
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
Value = str | int | float | bool

_current: contextvars.ContextVar["Span | None"] = contextvars.ContextVar("shop_span", default=None)


@dataclass(slots=True)
class Span:
    """One timed piece of work of a trace."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    parent_id: str  # empty: the root
    name: str
    kind: int
    kept: bool  # the sampled flag of the trace
    start_ns: int
    end_ns: int = 0
    failed: bool = False
    message: str = ""
    attributes: dict[str, Value] = field(default_factory=dict)

    def fail(self, message: str) -> None:
        """Mark the work as failed, with the reason."""
        self.failed = True
        self.message = message

    def traceparent(self) -> str:
        """The header that makes the next service's span our child."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.kept else '00'}"


def parse_traceparent(header: str) -> tuple[str, str, bool] | None:
    """Trace id, parent span id and sampled flag of a W3C header; None where it is not one."""
    parts = header.strip().split("-")
    if len(parts) < 4 or (parts[0] == "00" and len(parts) != 4) or parts[0] == "ff":
        return None
    version, trace, parent, flags = parts[:4]
    if (len(version), len(trace), len(parent), len(flags)) != (2, 32, 16, 2):
        return None
    if any(c not in "0123456789abcdef" for c in version + trace + parent + flags):
        return None
    if trace == "0" * 32 or parent == "0" * 16:
        return None
    return trace, parent, bool(int(flags, 16) & 1)


def current() -> Span | None:
    """The span that the running task works for."""
    return _current.get()


class Tracer:
    """Makes spans and keeps finished ones until they are exported."""

    def __init__(self, ratio: float, buffer: int, on_drop: Callable[[], None]) -> None:
        self.ratio = ratio
        self.finished: deque[Span] = deque()
        self._buffer = buffer
        self._on_drop = on_drop
        self._bits = random.Random()

    def start(self, name: str, kind: int, remote: str = "") -> Span:
        """A span below the given traceparent, else below the current span, else a new trace."""
        given = parse_traceparent(remote) if remote else None
        above = _current.get()
        if given is not None:
            trace, parent, kept = given
        elif above is not None:
            trace, parent, kept = above.trace_id, above.span_id, above.kept
        else:
            trace, parent, kept = self._hex(128), "", self._bits.random() < self.ratio
        return Span(trace, self._hex(64), parent, name, kind, kept, time.time_ns())

    def end(self, span: Span) -> None:
        """Close a span and keep it for export."""
        span.end_ns = max(time.time_ns(), span.start_ns)
        if not span.kept:
            return
        if len(self.finished) >= self._buffer:
            self.finished.popleft()
            self._on_drop()
        self.finished.append(span)

    @contextmanager
    def span(self, name: str, kind: int, remote: str = "") -> Iterator[Span]:
        """A span around a block of code; an exception marks it as failed and goes on."""
        span = self.start(name, kind, remote)
        token = _current.set(span)
        try:
            yield span
        except BaseException as error:
            span.fail(f"{type(error).__name__}: {error}"[:200])
            raise
        finally:
            _current.reset(token)
            self.end(span)

    def take(self, most: int) -> list[Span]:
        """Up to `most` finished spans, oldest first."""
        return [self.finished.popleft() for _ in range(min(most, len(self.finished)))]

    def put_back(self, spans: Iterable[Span]) -> None:
        """Spans whose export failed, before all others; what does not fit is dropped and counted."""
        for span in reversed(list(spans)):
            if len(self.finished) >= self._buffer:
                self._on_drop()
            else:
                self.finished.appendleft(span)

    def _hex(self, bits: int) -> str:
        return f"{self._bits.getrandbits(bits) or 1:0{bits // 4}x}"


def attribute(key: str, value: Value) -> dict[str, Any]:
    """One OTLP attribute; 64-bit integers are strings in OTLP's JSON."""
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": key, "value": {"doubleValue": value}}
    return {"key": key, "value": {"stringValue": value}}


def otlp(resource: dict[str, Value], spans: Iterable[Span]) -> dict[str, Any]:
    """An ExportTraceServiceRequest as OTLP's JSON encoding has it: ids in hex, times as strings, kinds as numbers."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [attribute(key, value) for key, value in resource.items()]},
                "scopeSpans": [{"scope": {"name": "loomidi.shop"}, "spans": [_otlp_span(span) for span in spans]}],
            }
        ]
    }


def _otlp_span(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": [attribute(key, value) for key, value in span.attributes.items()],
        "flags": 1,
    }
    if span.parent_id:
        out["parentSpanId"] = span.parent_id
    if span.failed:
        out["status"] = {"code": 2, "message": span.message}
    return out
