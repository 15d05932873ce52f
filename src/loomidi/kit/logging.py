"""Log lines as key and value, on standard error.

Called by `conductor` (`configure`, once) and by every house that has something to say (`logger`). structlog is imported
with the first line written, not with this module: start-up time of the command line is a published figure.
"""

import functools
import sys
from typing import Any

from loomidi.kit.settings import BadSetting, Logging

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _State:
    """How lines are written; replaced as a whole by `configure`."""

    settings = Logging()


def configure(settings: Logging) -> None:
    """Take level and format over for all loggers, also those already made. Raises BadSetting for an unknown level."""
    if settings.level not in LEVELS:
        raise BadSetting(f"LOOMIDI_LOGGING_LEVEL is {settings.level!r}; use one of {', '.join(LEVELS)}")
    _State.settings = settings
    _bound.cache_clear()


class Logger:
    """Writes under one name. `event` is a constant phrase; what varies goes into the values."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def debug(self, event: str, **values: Any) -> None:
        """For whoever looks for a fault."""
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        """Something worth a line happened."""
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        """It goes on, but not as wished."""
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        """Something did not work and stays undone."""
        self._write("error", event, values)

    def _write(self, level: str, event: str, values: dict[str, Any]) -> None:
        if LEVELS[level] >= LEVELS[_State.settings.level]:
            getattr(_bound(self.name), level)(event, **values)


def logger(name: str) -> Logger:
    """A logger of that name, such as "loom.capture"."""
    return Logger(name)


@functools.cache
def _bound(name: str) -> Any:
    """The structlog logger behind a name."""
    import structlog

    chain: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if _State.settings.json:
        chain += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        chain.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=chain, logger_name=name)
