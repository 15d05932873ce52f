"""One JSON object per line on standard output, with the ids of the trace that the line belongs to.

Used by every module of the shop. Lines go out at once: a pod that is killed has told everything up to then.
"""

import json
import sys
import time
from typing import Any, ClassVar

from loomidi_lab.shop.app import tracing

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _State:
    base: ClassVar[dict[str, Any]] = {}
    level = 20


def configure(service: str, release: str, pod: str, level: str) -> None:
    """Name the process in every line and set the lowest level written; an unknown level means info."""
    _State.base = {"service": service, "release": release, "pod": pod}
    _State.level = _LEVELS.get(level, 20)


def log(level: str, event: str, **values: Any) -> None:
    """Write one line; `event` is a constant phrase, what varies goes into the values."""
    if _LEVELS[level] < _State.level:
        return
    now_ns = time.time_ns()
    line: dict[str, Any] = {"time_ns": now_ns, "level": level, "event": event, **_State.base}
    span = tracing.current()
    if span is not None:
        line["trace_id"] = span.trace_id
        line["span_id"] = span.span_id
    line.update(values)
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
