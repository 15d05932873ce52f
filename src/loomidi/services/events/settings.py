"""Settings of the events that leave, as a group of the one configuration file.

Read by `telling`, `choosing`, `posting` and `outbox`. Nothing leaves until a sink is named.
"""

import dataclasses

from loomidi.contracts.errors import UsageError
from loomidi.loom.sinks.settings import (
    FileSettings,
    KafkaSettings,
    NatsSettings,
    StdoutSettings,
    SyslogSettings,
    WebhookSettings,
)


@dataclasses.dataclass(frozen=True, slots=True)
class EventSettings:
    """Findings told to others, as OCSF or STIX; each sink has a group of its own, and none is on."""

    first_s: float = 0.5
    # Pause after a sink did not take something; it doubles from try to try, and is shortened by chance.
    longest_s: float = 60.0
    # No pause is longer, but what a webhook asks for by Retry-After.
    give_up_s: float = 86_400.0
    # What is this old when it is refused once more becomes a dead letter: `loomidi events dead`.
    most_waiting: int = 100_000
    # For each sink; what comes when so many wait is dropped and counted.
    most_dead: int = 10_000
    # For each sink; the oldest dead letter makes room and is counted.
    stdout: StdoutSettings = dataclasses.field(default_factory=StdoutSettings)
    file: FileSettings = dataclasses.field(default_factory=FileSettings)
    nats: NatsSettings = dataclasses.field(default_factory=NatsSettings)
    kafka: KafkaSettings = dataclasses.field(default_factory=KafkaSettings)
    webhook: WebhookSettings = dataclasses.field(default_factory=WebhookSettings)
    syslog: SyslogSettings = dataclasses.field(default_factory=SyslogSettings)

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of those that are on."""
        asked = {
            "stdout": self.stdout.on,
            "file": self.file.path,
            "nats": self.nats.url,
            "kafka": self.kafka.url,
            "webhook": self.webhook.url,
            "syslog": self.syslog.host,
        }
        return tuple(name for name, wanted in asked.items() if wanted)

    def checked(self) -> "EventSettings":
        """Raises UsageError for what makes no sense, before anything is opened."""
        if not 0 < self.first_s <= self.longest_s or self.give_up_s <= 0:
            raise UsageError("events: first_s must be above 0 and not beyond longest_s, give_up_s above 0")
        if self.most_waiting < 1 or self.most_dead < 1:
            raise UsageError("events: most_waiting and most_dead must be at least 1")
        return self
