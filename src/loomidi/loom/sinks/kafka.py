"""Events on a topic of Apache Kafka, by an idempotent producer.

Called by `services.events`. In: letters. Out: records that all replicas in step hold, in one partition by their one
key, their id in a header. After a fault the producer is thrown away with what it holds: nothing is sent behind the
queue's back.
"""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Producer

from loomidi.contracts import UsageError
from loomidi.loom.bus.kafka_connecting import as_ours, client, mapped
from loomidi.loom.bus.settings import BusSettings
from loomidi.loom.sinks.letters import Away, Letter, Undeliverable
from loomidi.loom.sinks.settings import KafkaSettings

_KEY = b"loomidi"


class KafkaSink:
    """One topic."""

    name = "kafka"
    most = 64

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Producer | None = None

    def send(self, letters: Sequence[Letter]) -> None:
        """Raises Away without an acknowledgement for each, Undeliverable for one that is too large."""
        try:
            self._send(letters)
        except UsageError as error:
            self.close()
            raise Undeliverable("too_large", str(error)) from error
        except Away:
            self.close()
            raise

    def close(self) -> None:
        """What has not been acknowledged is forgotten here; the queue still has it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1.0)

    def _send(self, letters: Sequence[Letter]) -> None:
        producer, answers = self._opened(), list[KafkaError | None]()
        for one in letters:
            headers = {"id": one.id, "kind": one.kind, "content-type": "application/json"}
            with mapped(self._settings.topic):
                producer.produce(
                    self._settings.topic,
                    value=one.body,
                    key=_KEY,
                    headers=dict[str, str | bytes | None](headers),
                    on_delivery=lambda error, _: answers.append(error),
                )
        until = time.monotonic() + self._settings.patience_s + 1.0  # librdkafka gives up a second before
        while len(answers) < len(letters) and time.monotonic() < until:
            producer.poll(0.05)
        failed = next((error for error in answers if error is not None), None)
        if failed is not None:
            fault = as_ours(failed, self._settings.topic)
            raise fault if isinstance(fault, UsageError) else Away("away", str(fault))
        if len(answers) < len(letters):
            raise Away("silent", f"{self._settings.topic}: the broker did not acknowledge in time")

    def _opened(self) -> Producer:
        if self._producer is None:
            chosen = self._settings
            told = client(BusSettings(url=chosen.url, credentials=chosen.credentials, tls_ca=chosen.tls_ca))
            patience_ms = max(1000, round(chosen.patience_s * 1000))
            more = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "delivery.timeout.ms": patience_ms}
            self._producer = Producer({**told, **more, "request.timeout.ms": min(patience_ms - 100, 5000)})
        return self._producer
