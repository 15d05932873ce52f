"""Redis and PostgreSQL of the shop as Kubernetes objects.

Called by `manifests`. One pod each, data gone with the pod: a throw-away cluster has no volumes that last.
"""

from loomidi_lab.shop.objects import Object, account, meta, restricted, secret
from loomidi_lab.shop.workloads import POSTGRES_IMAGE, POSTGRES_PORT, REDIS_IMAGE, REDIS_PORT

_POSTGRES_DATA = "/var/lib/postgresql/data"


def everything(namespace: str) -> list[Object]:
    """Accounts, services and stateful sets of both."""
    out: list[Object] = []
    for name, port, container, user in (
        ("redis", REDIS_PORT, _redis(), 6379),
        ("postgres", POSTGRES_PORT, _postgres(), 5432),
    ):
        out += [account(namespace, name, False), _service(namespace, name, port)]
        out.append(_stateful_set(namespace, name, container, user))
    return out


def _service(namespace: str, name: str, port: int) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"name": name, "port": port, "targetPort": name}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(namespace, name), "spec": spec}


def _stateful_set(namespace: str, name: str, container: Object, user: int) -> Object:
    pod_security, container_security = restricted(user)
    mounts = {volume["name"]: volume for volume in container["volumeMounts"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta(namespace, name),
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": meta("", name)["labels"]},
                "spec": {
                    "serviceAccountName": name,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 10,
                    "securityContext": pod_security,
                    "containers": [{**container, "name": name, "securityContext": container_security}],
                    "volumes": [{"name": volume, "emptyDir": {}} for volume in mounts],
                },
            },
        },
    }


def _redis() -> Object:
    return {
        "image": REDIS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        # Carts and views expire and may go when memory is short; the mail queue may not.
        "args": ["--maxmemory-policy", "volatile-lru"],
        "env": [secret("REDIS_PASSWORD", "redis"), {"name": "REDIS_MEMORY", "value": "32mb"}],
        "ports": [{"name": "redis", "containerPort": REDIS_PORT}],
        "resources": _resources(300, 64),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a path inside the pod
        **_probes(REDIS_PORT),
    }


def _postgres() -> Object:
    return {
        "image": POSTGRES_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "log_min_duration_statement=500"],
        "env": [
            secret("POSTGRES_PASSWORD", "postgres"),
            {"name": "POSTGRES_USER", "value": "shop"},
            {"name": "PGDATA", "value": f"{_POSTGRES_DATA}/pgdata"},
        ],
        "ports": [{"name": "postgres", "containerPort": POSTGRES_PORT}],
        "resources": _resources(1000, 256),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
            {"name": "data", "mountPath": _POSTGRES_DATA},
        ],
        **_probes(POSTGRES_PORT),
    }


def _resources(cpu_m: int, memory_mib: int) -> Object:
    return {
        "requests": {"cpu": "50m", "memory": f"{memory_mib // 2}Mi"},
        "limits": {"cpu": f"{cpu_m}m", "memory": f"{memory_mib}Mi"},
    }


def _probes(port: int) -> Object:
    connect = {"tcpSocket": {"port": port}, "timeoutSeconds": 3}
    return {
        "startupProbe": {**connect, "periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": {**connect, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**connect, "periodSeconds": 20, "failureThreshold": 3},
    }
