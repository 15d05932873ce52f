"""Where events go: standard output, files, NATS, Kafka, webhooks, syslog. One Protocol, one file per adapter.

Called by `services.events`, which alone picks adapters. In: letters, one line of JSON each, made by `ionic.events`.
Out: they lie with the receiver when `send` returns, or a fault that says whether to try again. Queues, patience and
dead letters are left to `services.events`. Adapters block: each is for one thread.
"""

from loomidi.loom.sinks.letters import Away, Letter, MemorySink, Sink, Undeliverable
from loomidi.loom.sinks.settings import (
    FileSettings,
    Format,
    KafkaSettings,
    NatsSettings,
    StdoutSettings,
    SyslogSettings,
    Transport,
    WebhookSettings,
)

__all__ = [
    "Away",
    "FileSettings",
    "Format",
    "KafkaSettings",
    "Letter",
    "MemorySink",
    "NatsSettings",
    "Sink",
    "StdoutSettings",
    "SyslogSettings",
    "Transport",
    "Undeliverable",
    "WebhookSettings",
]
