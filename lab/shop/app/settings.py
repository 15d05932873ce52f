"""What an operator may set, read from the environment once at start.

Read by `starting`; handed as frozen records to everything else. A value that cannot be used ends the process with one
line: a pod that starts with half a configuration is worse than one that does not start.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

UPSTREAMS = ("catalog", "cart", "orders", "payment", "shipping", "recommendations")


class ConfigurationError(Exception):
    """A variable of the environment cannot be used; the message names it."""


@dataclass(frozen=True)
class Calls:
    """How this service calls the others."""

    urls: Mapping[str, str]  # upstream -> base URL
    timeout_s: float  # of one attempt
    deadline_s: float  # of a whole request, where none came with it
    attempts: int  # of an idempotent call, the first one included
    budget_ratio: float  # retries per call that may be sent on average
    breaker_failures: int  # consecutive failures that open the breaker; 0: no breaker
    breaker_open_s: float
    name_ttl_s: int  # how long an answer of the DNS is used
    ca_file: str  # authority of the services that speak TLS


@dataclass(frozen=True)
class Serving:
    """How this service is served."""

    port: int
    tls_port: int  # 0: no TLS
    tls_folder: str  # tls.crt and tls.key
    max_in_flight: int  # above it requests are answered 503 at once
    connection_age_s: (
        float  # older keep-alive connections are closed after an answer, so that names are looked up again
    )
    drain_s: float  # after SIGTERM: not ready, but still serving, until the endpoints are known to have gone
    max_open_files: int


@dataclass(frozen=True)
class Stores:
    """Where the state is kept."""

    redis_host: str
    redis_port: int
    redis_password: str
    database_host: str
    database_port: int
    database_password: str
    pool_size: int  # connections to PostgreSQL of this process
    pool_wait_s: float  # longest wait for one of them


@dataclass(frozen=True)
class Telemetry:
    """Where spans go."""

    endpoint: str  # OTLP over HTTP; empty: spans are counted and dropped
    ratio: float  # of new traces that are kept
    buffer: int  # spans waiting for export; more are dropped and counted
    batch: int
    every_s: float


@dataclass(frozen=True)
class Work:
    """What the single services may be told about their own work."""

    payment_s: float  # what the bank takes
    payment_secret: str  # signs requests for payment
    mail_s: float  # what sending one mail takes
    mail_workers: int
    spool: str
    spool_keep: int  # mails kept in the spool
    cache_s: float  # age at which the catalog asks the database again
    scaler: str  # JSON list of targets
    scaler_every_s: float
    scaler_calm_s: float  # how long fewer replicas must be enough before one is taken away
    api_url: str  # Kubernetes API; empty: as told to pods


@dataclass(frozen=True)
class Settings:
    """All of it."""

    service: str
    release: str
    namespace: str
    pod: str
    node: str
    log_level: str
    calls: Calls
    serving: Serving
    stores: Stores
    telemetry: Telemetry
    work: Work


class _Environment:
    """Typed reading of variables; the error names the variable and what was found."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def number(self, name: str, default: float, least: float = 0.0) -> float:
        found = self.values.get(name, "")
        if not found:
            return default
        try:
            value = float(found)
        except ValueError:
            raise ConfigurationError(f"{name} is {found!r}; a number is wanted") from None
        if not least <= value < 1e9:
            raise ConfigurationError(f"{name} is {found!r}; at least {least:g} is wanted")
        return value

    def whole(self, name: str, default: int, least: int = 0) -> int:
        value = self.number(name, float(default), float(least))
        if value != int(value):
            raise ConfigurationError(f"{name} is {value!r}; a whole number is wanted")
        return int(value)

    def url(self, name: str, default: str) -> str:
        found = self.values.get(name, "") or default
        parts = urlsplit(found)
        if found and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ConfigurationError(f"{name} is {found!r}; an http or https URL is wanted")
        return found.rstrip("/")


def read(service: str, values: Mapping[str, str] | None = None) -> Settings:
    """Settings of `service`. Raises ConfigurationError with one line that names the variable."""
    env = _Environment(os.environ if values is None else values)
    return Settings(
        service=service,
        release=env.text("SHOP_RELEASE", "1.0"),
        namespace=env.text("POD_NAMESPACE", "shop"),
        pod=env.text("POD_NAME") or socket.gethostname(),
        node=env.text("NODE_NAME"),
        log_level=env.text("LOG_LEVEL", "info"),
        calls=_calls(env),
        serving=_serving(env),
        stores=_stores(env),
        telemetry=Telemetry(
            endpoint=env.url("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ratio=env.number("TRACE_RATIO", 1.0),
            buffer=env.whole("TRACE_BUFFER", 4096, 1),
            batch=env.whole("TRACE_BATCH", 512, 1),
            every_s=env.number("TRACE_EVERY_S", 1.0, 0.05),
        ),
        work=_work(env),
    )


def _calls(env: _Environment) -> Calls:
    urls = {}
    for name in UPSTREAMS:
        plain = "https://payment:8443" if name == "payment" else f"http://{name}:8080"
        urls[name] = env.url(f"{name.upper()}_URL", plain)
    return Calls(
        urls=urls,
        timeout_s=env.number("CALL_TIMEOUT_S", 2.0, 0.01),
        deadline_s=env.number("REQUEST_DEADLINE_S", 5.0, 0.01),
        attempts=env.whole("RETRY_ATTEMPTS", 2, 1),
        budget_ratio=env.number("RETRY_BUDGET_RATIO", 0.2),
        breaker_failures=env.whole("BREAKER_FAILURES", 5),
        breaker_open_s=env.number("BREAKER_OPEN_S", 5.0, 0.1),
        name_ttl_s=env.whole("NAME_TTL_S", 5),
        ca_file=env.text("CA_FILE"),
    )


def _serving(env: _Environment) -> Serving:
    return Serving(
        port=env.whole("PORT", 8080, 1),
        tls_port=env.whole("TLS_PORT", 0),
        tls_folder=env.text("TLS_FOLDER", "/etc/shop-tls"),
        max_in_flight=env.whole("MAX_IN_FLIGHT", 200, 1),
        connection_age_s=env.number("CONNECTION_AGE_S", 20.0, 0.1),
        drain_s=env.number("DRAIN_S", 2.0),
        max_open_files=env.whole("MAX_OPEN_FILES", 512, 32),
    )


def _stores(env: _Environment) -> Stores:
    return Stores(
        redis_host=env.text("REDIS_HOST", "redis"),
        redis_port=env.whole("REDIS_PORT", 6379, 1),
        redis_password=env.text("REDIS_PASSWORD"),
        database_host=env.text("DATABASE_HOST", "postgres"),
        database_port=env.whole("DATABASE_PORT", 5432, 1),
        database_password=env.text("DATABASE_PASSWORD"),
        pool_size=env.whole("DATABASE_POOL_SIZE", 5, 1),
        pool_wait_s=env.number("DATABASE_POOL_WAIT_S", 2.0, 0.01),
    )


def _work(env: _Environment) -> Work:
    return Work(
        payment_s=env.number("PAYMENT_SECONDS", 0.02),
        payment_secret=env.text("PAYMENT_SECRET", "shop"),
        mail_s=env.number("MAIL_SECONDS", 0.05),
        mail_workers=env.whole("MAIL_WORKERS", 2, 1),
        spool=env.text("SPOOL_FOLDER", "/var/spool/shop"),
        spool_keep=env.whole("SPOOL_KEEP", 50, 1),
        cache_s=env.number("CACHE_SECONDS", 15.0),
        scaler=env.text("SCALER_TARGETS", "[]"),
        scaler_every_s=env.number("SCALER_EVERY_S", 5.0, 0.1),
        scaler_calm_s=env.number("SCALER_CALM_S", 60.0),
        api_url=env.url("SCALER_API_URL", ""),
    )
