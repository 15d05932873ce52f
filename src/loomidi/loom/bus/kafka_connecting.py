"""How our settings are said to librdkafka, and its faults as ours.

Called by `kafka` and `kafka_reading`. Pure but for reading the credentials' file.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from loomidi.contracts.errors import EnvironmentLacks, InputError, Retryable, UsageError
from loomidi.loom.bus.settings import BusSettings

MOST_OCTETS = 8 << 20  # of one message
_NOT_LET_IN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
                         KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
                         KafkaError.GROUP_AUTHORIZATION_FAILED})  # fmt: skip
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


def client(settings: BusSettings) -> dict[str, Any]:
    """What every client of ours is told. Raises InputError for credentials that cannot be read."""
    servers = ",".join(one.split("://")[-1].strip("/") for one in settings.url.split(","))
    told: dict[str, Any] = {
        "bootstrap.servers": servers,
        "client.id": "loomidi",
        "log_level": 0,  # what goes wrong is told by errors
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
    }
    files = {
        "ssl.ca.location": settings.tls_ca,
        "ssl.certificate.location": settings.tls_cert,
        "ssl.key.location": settings.tls_key,
    }
    secure = {name: path for name, path in files.items() if path}
    if settings.credentials:
        told |= _login(Path(settings.credentials))
    if secure or settings.credentials:
        told["security.protocol"] = ("SASL_" if settings.credentials else "") + ("SSL" if secure else "PLAINTEXT")
    return told | secure


def _login(path: Path) -> dict[str, str]:
    try:
        user, colon, password = path.read_text().strip().partition(":")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; it holds the credentials of the bus") from error
    if not colon:
        raise InputError(f"{path} does not hold USER:PASSWORD")
    return {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": user, "sasl.password": password}


def as_ours(error: Any, what: str) -> Exception:
    """A KafkaError as an error of ours."""
    code, words = (error.code(), error.str()) if isinstance(error, KafkaError) else (None, str(error))
    if code in _NOT_LET_IN:
        return EnvironmentLacks(f"{what}: the broker does not let us in ({words}); check the credentials")
    if code in _TOO_LARGE:
        return UsageError(f"{what}: too large for the broker ({words})")
    return Retryable(f"{what}: {words}; try again")


@contextlib.contextmanager
def mapped(what: str) -> Iterator[None]:
    """Errors of confluent-kafka as ours."""
    try:
        yield
    except KafkaException as error:
        raise as_ours(error.args[0] if error.args else error, what) from error
