"""Traces: OTLP over HTTP with JSON, as any OpenTelemetry exporter sends it.

Called by the recorder. In: POST /v1/traces. Out: rows of the stream `traces`, parent ids kept. Leaves joining spans to
`loading`, and whether all parents came to `verifying`.
"""

import json
from collections.abc import Iterator
from typing import Any

from loomidi_lab.recording.parting import Stream
from loomidi_lab.recording.sources.serving import Receiver, listening

PORT, PATH = 4318, "/v1/traces"
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS = ("unset", "ok", "error")
_COLUMNS = frozenset(
    {
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
    }
)


class Traces:
    """The receiver."""

    def __init__(self, address: str, stream: Stream, port: int = PORT) -> None:
        """Raises Conflict when the port is taken."""
        self._stream = stream
        self._receiver = Receiver(listening("", address, port), self._posted)
        self.address = self._receiver.address

    def start(self) -> None:
        """Receive from now on."""
        self._receiver.start()

    def stop(self) -> None:
        """Receive no more."""
        self._receiver.stop()

    def _posted(self, path: str, body: bytes) -> int:
        if path.partition("?")[0] != PATH:
            self._stream.balance.note("posts to other paths")
            return 404
        try:
            rows = list(span_rows(json.loads(body)))
        except (ValueError, TypeError, AttributeError):
            self._stream.balance.note("bodies that are no OTLP traces")
            return 400
        self._stream.add(rows)
        return 200


def span_rows(document: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of the stream `traces`."""
    for group in document.get("resourceSpans") or []:
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        about, service = _json(resource), str(resource.get("service.name", ""))
        for scope in group.get("scopeSpans") or []:
            for span in scope.get("spans") or []:
                yield _span_row(span, service, about)


def _span_row(span: dict[str, Any], service: str, resource: str) -> tuple[Any, ...]:
    return (
        int(span.get("startTimeUnixNano") or 0),
        int(span.get("endTimeUnixNano") or 0),
        *(str(span.get(key) or "").lower() for key in ("traceId", "spanId", "parentSpanId")),
        service,
        str(span.get("name", "")),
        _name(_KINDS, span.get("kind"), "SPAN_KIND_"),
        _name(_STATUS, (span.get("status") or {}).get("code"), "STATUS_CODE_"),
        _json(_attributes(span.get("attributes"))),
        resource,
        _json({key: value for key, value in span.items() if key not in _COLUMNS}),
    )


def _name(names: tuple[str, ...], value: object, prefix: str) -> str:
    """OTLP JSON has numbers; some exporters send names."""
    if isinstance(value, str):
        return value.removeprefix(prefix).lower()
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else names[0]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {str(pair.get("key", "")): _value(pair.get("value") or {}) for pair in pairs or []}


def _value(value: dict[str, Any]) -> Any:
    """One AnyValue. 64-bit integers are text in OTLP JSON."""
    for kind, found in value.items():
        if kind == "intValue":
            return int(found)
        if kind == "arrayValue":
            return [_value(item) for item in found.get("values") or []]
        if kind == "kvlistValue":
            return _attributes(found.get("values"))
        return found
    return None


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
