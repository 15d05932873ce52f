"""The shop as Kubernetes objects, built as plain dicts.

Called by `deploying`. In: `Wishes`. Out: a list for one server-side apply. Every pod meets the restricted standard of
pod security; the only one with an API token is the scaler.
"""

from dataclasses import dataclass, field

from loomidi_lab.shop import stores
from loomidi_lab.shop.certificates import Pair
from loomidi_lab.shop.objects import PART_OF, Object, account, meta, restricted, secret, spread
from loomidi_lab.shop.workloads import DEFAULTS, IMAGE, PORT, REPORT, SCALED, SPOOL_MIB, TLS_PORT, WORKLOADS, Workload


@dataclass(frozen=True)
class Wishes:
    """What differs from shop to shop."""

    namespace: str = "shop"
    otlp_endpoint: str = ""  # empty: spans are counted and dropped
    report_schedule: str = "0 2 * * *"
    settings: dict[str, str] = field(default_factory=dict)  # over DEFAULTS, for all services
    client_addresses: bool = (
        False  # frontends see who calls, not the node that passed it on; a node without one refuses
    )


@dataclass(frozen=True)
class Secrets:
    """What nobody else may know; kept by the cluster, made anew only for a new shop."""

    redis: str
    postgres: str
    signing: str
    authority: Pair
    payment: Pair


def everything(wishes: Wishes, secrets: Secrets) -> list[Object]:
    """All objects, the namespace first."""
    out = [_namespace(wishes.namespace), *_shared(wishes, secrets), *stores.everything(wishes.namespace)]
    for workload in WORKLOADS:
        out += [account(wishes.namespace, workload.name, workload.token), _deployment(wishes, workload)]
        out.append(_service(wishes, workload))
        if workload.replicas > 1:
            out.append(_budget(wishes.namespace, workload.name))
    out += _scaler_rights(wishes.namespace)
    out += [account(wishes.namespace, REPORT.name, False), _report(wishes)]
    return out


def _namespace(name: str) -> Object:
    labels = {"app.kubernetes.io/part-of": PART_OF}
    for mode in ("warn", "audit"):  # enforced by nobody here: a scenario may have to create what is not allowed
        labels[f"pod-security.kubernetes.io/{mode}"] = "restricted"
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _shared(wishes: Wishes, secrets: Secrets) -> list[Object]:
    namespace = wishes.namespace
    settings = {**DEFAULTS, "OTEL_EXPORTER_OTLP_ENDPOINT": wishes.otlp_endpoint, **wishes.settings}
    passwords = {"redis": secrets.redis, "postgres": secrets.postgres, "signing": secrets.signing}
    authority = {"ca.crt": secrets.authority.certificate}
    signer = {"tls.crt": secrets.authority.certificate, "tls.key": secrets.authority.key}
    payment = {"tls.crt": secrets.payment.certificate, "tls.key": secrets.payment.key}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta(namespace, "shop-config", PART_OF),
            "data": settings,
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(namespace, "shop-ca", PART_OF), "data": authority},
        _secret(namespace, "shop-passwords", passwords, "Opaque"),
        _secret(namespace, "shop-authority", signer, "kubernetes.io/tls"),
        _secret(namespace, "payment-tls", payment, "kubernetes.io/tls"),
    ]


def _secret(namespace: str, name: str, data: dict[str, str], kind: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta(namespace, name, PART_OF), "type": kind} | {
        "stringData": data
    }


def _deployment(wishes: Wishes, workload: Workload) -> Object:
    strictly = wishes.client_addresses and workload.name == "frontend"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(wishes.namespace, workload.name),
        "spec": {
            "replicas": workload.replicas,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": 120,
            "selector": {"matchLabels": {"app": workload.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": meta("", workload.name)["labels"]},
                "spec": {
                    **_pod(workload),
                    "terminationGracePeriodSeconds": 20,
                    "topologySpreadConstraints": spread(workload.name, strictly),
                },
            },
        },
    }


def _pod(workload: Workload) -> Object:
    pod, _ = restricted(10001)
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}]
    if workload.calls_tls:
        volumes.append({"name": "ca", "configMap": {"name": "shop-ca"}})
    if workload.serves_tls:
        volumes.append({"name": "tls", "secret": {"secretName": "payment-tls"}})
    if workload.spool:
        volumes.append({"name": "spool", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SPOOL_MIB}Mi"}})
    return {
        "serviceAccountName": workload.name,
        "automountServiceAccountToken": workload.token,
        "enableServiceLinks": False,
        "securityContext": pod,
        "dnsConfig": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "2"}]},
        "containers": [_container(workload)],
        "volumes": volumes,
    }


def _container(workload: Workload) -> Object:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path inside the pod
    if workload.calls_tls:
        mounts.append({"name": "ca", "mountPath": "/etc/shop-ca"})
    if workload.serves_tls:
        mounts.append({"name": "tls", "mountPath": "/etc/shop-tls"})
    if workload.spool:
        mounts.append({"name": "spool", "mountPath": "/var/spool/shop"})
    return {
        "name": workload.name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [workload.name],
        "envFrom": [{"configMapRef": {"name": "shop-config"}}],
        "env": _environment(workload),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": _resources(workload),
        "securityContext": restricted(10001)[1],
        "volumeMounts": mounts,
        "startupProbe": _probe("/healthz", 1, 300),
        "readinessProbe": _probe("/readyz", 2, 3),
        "livenessProbe": _probe("/healthz", 10, 4),
    }


def _environment(workload: Workload) -> list[Object]:
    out: list[Object] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for name, path in (
            ("POD_NAME", "metadata.name"),
            ("POD_NAMESPACE", "metadata.namespace"),
            ("NODE_NAME", "spec.nodeName"),
        )
    ]
    if workload.database:
        out.append(secret("DATABASE_PASSWORD", "postgres"))
    if workload.redis:
        out.append(secret("REDIS_PASSWORD", "redis"))
    if workload.signing:
        out.append(secret("PAYMENT_SECRET", "signing"))
    if workload.calls_tls:
        out.append({"name": "CA_FILE", "value": "/etc/shop-ca/ca.crt"})
    return out + [{"name": name, "value": value} for name, value in workload.environment.items()]


def _resources(workload: Workload) -> Object:
    return {
        "requests": {"cpu": f"{workload.cpu_request_m}m", "memory": f"{workload.memory_request_mib}Mi"},
        "limits": {"cpu": f"{workload.cpu_limit_m}m", "memory": f"{workload.memory_limit_mib}Mi"},
    }


def _probe(path: str, every_s: int, failures: int) -> Object:
    get = {"path": path, "port": "http"}
    return {"httpGet": get, "periodSeconds": every_s, "timeoutSeconds": 3, "failureThreshold": failures}


def _service(wishes: Wishes, workload: Workload) -> Object:
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    if workload.serves_tls:
        ports.append({"name": "https", "port": TLS_PORT, "targetPort": TLS_PORT})
    kind = "NodePort" if workload.name == "frontend" else "ClusterIP"
    spec: Object = {"type": kind, "selector": {"app": workload.name}, "ports": ports}
    if kind == "NodePort":
        spec["externalTrafficPolicy"] = "Local" if wishes.client_addresses else "Cluster"
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(wishes.namespace, workload.name), "spec": spec}


def _budget(namespace: str, name: str) -> Object:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    return {**kind, "metadata": meta(namespace, name), "spec": spec}


def _scaler_rights(namespace: str) -> list[Object]:
    names = [str(entry["deployment"]) for entry in SCALED]
    rules = [
        # Which pods there are, to read their metrics.
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        # Replicas of its two targets, nothing else of them.
        {
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": names,
            "verbs": ["get", "patch"],
        },
    ]
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "scaler", "namespace": namespace}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta(namespace, "scaler"), "rules": rules}
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta(namespace, "scaler")}
    return [role, {**binding, "roleRef": {"apiGroup": group, "kind": "Role", "name": "scaler"}, "subjects": [subject]}]


def _report(wishes: Wishes) -> Object:
    pod = {**_pod(REPORT), "restartPolicy": "Never"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe", "ports"):
        pod["containers"][0].pop(probe)
    template = {"metadata": {"labels": meta("", REPORT.name)["labels"]}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": meta(wishes.namespace, REPORT.name),
        "spec": {
            "schedule": wishes.report_schedule,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 2,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 1,
                    "activeDeadlineSeconds": 300,
                    "ttlSecondsAfterFinished": 300,
                    "template": template,
                }
            },
        },
    }
