"""Kyverno's admission controller beside a real API server: outside of the cluster, reached on a loopback port.

Called by the tests of this folder. In: a running API server and the built binary. Out: a controller that answers
admission; its certificates are its own, made for the address it listens on. Killed on the way out.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from loomidi_lab.cluster import building, tools
from tests.integration.kube.servers import Server, free_ports

UP_S = 120.0
NAMESPACE = "kyverno"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
ENVIRONMENT = {
    "KYVERNO_NAMESPACE": NAMESPACE,
    "KYVERNO_SERVICEACCOUNT_NAME": "kyverno-admission-controller",
    "KYVERNO_DEPLOYMENT": "outside",
    "KYVERNO_POD_NAME": "outside",
    "INIT_CONFIG": "kyverno",
    "METRICS_CONFIG": "kyverno-metrics",
}
SECRET = "kyverno-svc.kyverno.svc.kyverno-tls"


@contextlib.contextmanager
def kyverno_admission(server: Server, admin: httpx.Client, binary: Path, folder: Path) -> Iterator[None]:
    """Up, and its webhooks registered."""
    _prepare(admin)
    port, metrics = free_ports(2)
    flags = {
        "kubeconfig": server.kubeconfig,
        "serverIP": f"127.0.0.1:{port}",
        "webhookServerHost": "127.0.0.1",
        "webhookServerPort": port,
        "metricsPort": metrics,
        "controllerRuntimeMetricsAddress": "0",
        "caSecretName": f"{SECRET}-ca",
        "tlsSecretName": f"{SECRET}-pair",
        "backgroundServiceAccountName": "system:serviceaccount:kyverno:background",
        "reportsServiceAccountName": "system:serviceaccount:kyverno:reports",
        "admissionReports": "false",
        "disableLogColor": "true",
    }
    environment = os.environ | ENVIRONMENT
    command = [str(binary), *(f"--{name}={value}" for name, value in flags.items())]
    log = folder / "kyverno.log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=told, stderr=told, start_new_session=True
        )
    try:
        until(lambda: bool(_hooks(admin)), log, process)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def until(done: Callable[[], bool], log: Path, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait for it, at most two minutes; the last words of the log when it does not come."""
    end = time.monotonic() + UP_S
    while not done():
        assert process is None or process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.2)


def _prepare(admin: httpx.Client) -> None:
    """Its resources, its namespace, its settings."""
    definitions = sorted((building.sources(tools.MODULES["kyverno"]) / "config" / "crds").rglob("*.yaml"))
    for path in definitions:
        admin.post(CRDS, json=yaml.safe_load(path.read_text())).raise_for_status()
    admin.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
    for name in ("kyverno", "kyverno-metrics"):
        body: dict[str, Any] = {"metadata": {"name": name}, "data": {}}
        admin.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", json=body).raise_for_status()


def _hooks(admin: httpx.Client) -> list[str]:
    """Webhooks that judge policies: the last ones that it registers before it takes any."""
    items = admin.get(HOOKS).raise_for_status().json()["items"]
    return [item["metadata"]["name"] for item in items if "policy-validating" in item["metadata"]["name"]]
