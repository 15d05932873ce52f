"""The shop's workloads as data: which service runs how often, with what limits, and what it is told.

Called by `manifests`. The other places that know a service are its module in `app` and the table in docs.
"""

import json
from dataclasses import dataclass, field

IMAGE, REDIS_IMAGE, POSTGRES_IMAGE = "lab.loomidi.io/shop:1", "lab.loomidi.io/redis:1", "lab.loomidi.io/postgres:1"
PORT, TLS_PORT, REDIS_PORT, POSTGRES_PORT = 8080, 8443, 6379, 5432


@dataclass(frozen=True)
class Workload:
    """One service of the shop, as a Deployment."""

    name: str
    replicas: int
    cpu_limit_m: int
    memory_limit_mib: int = 128
    cpu_request_m: int = 25
    memory_request_mib: int = 48
    database: bool = False
    redis: bool = False
    signing: bool = False  # knows the secret that signs payments
    calls_tls: bool = False  # trusts the shop's authority
    serves_tls: bool = False
    spool: bool = False
    token: bool = False  # talks to the Kubernetes API
    environment: dict[str, str] = field(default_factory=dict)


SCALED = (
    {
        "deployment": "frontend",
        "metric": "shop_requests_total",
        "rate": True,
        "shared": False,
        "per_replica": 25,
        "least": 2,
        "most": 4,
    },
    {
        "deployment": "mailer",
        "metric": "shop_queue_depth",
        "rate": False,
        "shared": True,
        "per_replica": 100,
        "least": 1,
        "most": 3,
    },
)

WORKLOADS = (
    Workload("frontend", 2, 500),
    Workload("catalog", 2, 300, database=True),
    Workload("cart", 2, 300, redis=True),
    Workload("orders", 2, 300, database=True, redis=True, signing=True, calls_tls=True),
    Workload(
        "payment",
        1,
        300,
        signing=True,
        serves_tls=True,
        environment={"TLS_PORT": str(TLS_PORT), "TLS_FOLDER": "/etc/shop-tls"},
    ),
    Workload("shipping", 1, 300),
    Workload("recommendations", 1, 300, redis=True),
    Workload("mailer", 1, 300, redis=True, spool=True, environment={"SPOOL_FOLDER": "/var/spool/shop"}),
    Workload("scaler", 1, 200, 96, token=True, environment={"SCALER_TARGETS": json.dumps(SCALED)}),
)
REPORT = Workload("report", 0, 300, database=True)
SPOOL_MIB = 16

DEFAULTS = {  # the ConfigMap: what an operator of the shop may change for all services
    "PROMETHEUS_DISABLE_CREATED_SERIES": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LOG_LEVEL": "info",
    "CALL_TIMEOUT_S": "2",
    "REQUEST_DEADLINE_S": "5",
    "RETRY_ATTEMPTS": "2",
    "RETRY_BUDGET_RATIO": "0.2",
    "BREAKER_FAILURES": "5",
    "BREAKER_OPEN_S": "5",
    "MAX_IN_FLIGHT": "200",
    "MAX_OPEN_FILES": "512",
    "CONNECTION_AGE_S": "20",
    "DRAIN_S": "2",
    "DATABASE_POOL_SIZE": "5",
    "DATABASE_POOL_WAIT_S": "2",
    "CACHE_SECONDS": "15",
    "PAYMENT_SECONDS": "0.02",
    "MAIL_SECONDS": "0.05",
    "MAIL_WORKERS": "2",
    "SPOOL_KEEP": "50",
    "TRACE_RATIO": "1",
    "SHOP_RELEASE": "1.0",
}
