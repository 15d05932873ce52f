"""Which sinks the settings ask for.

Called by `telling`. In: settings, our own name. Out: an adapter and a format for each sink that is on. The only place
that knows the adapters; each is imported when it is asked for, so that its library is needed only then.
"""

import dataclasses
from collections.abc import Callable, Mapping

from loomidi.contracts import EnvironmentLacks
from loomidi.loom.sinks import Format, Sink
from loomidi.services.events.settings import EventSettings

_EXTRAS = {"confluent_kafka": "kafka", "nats": "pipeline", "httpx": "pipeline"}


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """A sink and in whose words it is told."""

    sink: Sink
    format: Format


def chosen(settings: EventSettings, host: str) -> list[Chosen]:
    """All that are on. Raises UsageError or InputError for a sink's settings, EnvironmentLacks without its library."""
    made: Mapping[str, Callable[[], Sink]] = {
        "stdout": _stdout,
        "file": lambda: _file(settings),
        "nats": lambda: _nats(settings),
        "kafka": lambda: _kafka(settings),
        "webhook": lambda: _webhook(settings),
        "syslog": lambda: _syslog(settings, host),
    }
    try:
        return [Chosen(made[name](), getattr(settings, name).format) for name in settings.sinks]
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0], "pipeline")
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[{extra}]'") from error


def _stdout() -> Sink:
    from loomidi.loom.sinks.stdout import StdoutSink

    return StdoutSink()


def _file(settings: EventSettings) -> Sink:
    from loomidi.loom.sinks.files import FileSink

    return FileSink(settings.file)


def _nats(settings: EventSettings) -> Sink:
    from loomidi.loom.sinks.nats import NatsSink

    return NatsSink(settings.nats)


def _kafka(settings: EventSettings) -> Sink:
    from loomidi.loom.sinks.kafka import KafkaSink

    return KafkaSink(settings.kafka)


def _webhook(settings: EventSettings) -> Sink:
    from loomidi.loom.sinks.webhook import WebhookSink

    return WebhookSink(settings.webhook)


def _syslog(settings: EventSettings, host: str) -> Sink:
    from loomidi.loom.sinks.syslog import SyslogSink

    return SyslogSink(settings.syslog, host)
