"""A real API server over a real etcd, without nodes: on free ports and a temporary folder, and stopped again.

The binaries are those that `loomidi-lab build` (or KUBEBUILDER_ASSETS) gives; without them the tests are skipped.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.cluster import certificates, tools
from loomidi_lab.cluster.api import Api, ApiRefused
from tests.rungs import ran

READY_S, STOP_S = 90.0, 15.0
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class Kube:
    """An API server that answers: as objects, as tables, and through kubectl."""

    def __init__(self, folder: Path, server: str, context: ssl.SSLContext) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.api = Api(self.kubeconfig)
        self._http = httpx.Client(base_url=server, verify=context, trust_env=False, timeout=30)

    def table(self, path: str) -> list[dict[str, Any]]:
        """What `kubectl get` shows, a row a dict from column to cell."""
        answer = self._http.get(path, headers={"Accept": TABLE}, params={"includeObject": "None"})
        found = answer.raise_for_status().json()
        names = [column["name"] for column in found["columnDefinitions"]]
        return [dict(zip(names, row["cells"], strict=True)) for row in found.get("rows") or ()]

    def apply(self, path: str, obj: dict[str, Any], manager: str) -> None:
        """Server-side apply under a name of one's own, without force."""
        kind = {"Content-Type": "application/apply-patch+yaml"}
        self._http.patch(path, json=obj, headers=kind, params={"fieldManager": manager}).raise_for_status()

    def dry_run(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """What would be stored if it were posted."""
        answer = self._http.post(path, json=obj, params={"dryRun": "All"})
        if answer.is_error:
            raise ApiRefused(answer.text)
        made: dict[str, Any] = answer.json()
        return made

    def kubectl(self, *arguments: str) -> str:
        """Standard output of the real kubectl."""
        command = [str(tools.binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]
        home = {**os.environ, "HOME": str(self.kubeconfig.parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self.api.close()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Kube]:
    """An API server over its own etcd; skips where the binaries are missing."""
    try:
        etcd, apiserver = tools.binary("etcd"), tools.binary("kube-apiserver")
        tools.binary("kubectl")
    except LoomidiError as error:
        pytest.skip(f"no API server here: {error}")
    client, peer, port = free_ports(3)
    server = f"https://127.0.0.1:{port}"
    authority = certificates.authority(folder)
    certificate, key = authority.issue("client", "tester", "system:masters")
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(certificate, key)
    authority.issue("apiserver", "kube-apiserver", hosts=("localhost", "127.0.0.1"))
    authority.kubeconfig(folder / "kubeconfig", server, "tester", "system:masters")
    with (
        _process([str(etcd), *_etcd_flags(folder, client, peer)], folder / "etcd.log"),
        _process([str(apiserver), *_api_flags(folder, client, port)], folder / "apiserver.log") as process,
        contextlib.closing(Kube(folder, server, context)) as kube,
    ):
        _wait_ready(kube, process, folder / "apiserver.log")
        ran("Kubernetes API server", f"{kube.api.get('/version')['gitVersion']} (over its own etcd)")
        yield kube


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has at this moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _etcd_flags(folder: Path, client: int, peer: int) -> list[str]:
    mine, others = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    flags = {
        "data-dir": folder / "etcd",
        "listen-client-urls": mine,
        "advertise-client-urls": mine,
        "listen-peer-urls": others,
        "initial-advertise-peer-urls": others,
        "initial-cluster": f"default={others}",
    }
    return [*(f"--{name}={value}" for name, value in flags.items()), "--unsafe-no-fsync"]


def _api_flags(folder: Path, client: int, port: int) -> list[str]:
    flags = {
        "etcd-servers": f"http://127.0.0.1:{client}",
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": "10.96.0.0/24",
        "service-account-key-file": folder / "sa.pub",
        "service-account-signing-key-file": folder / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "tls-cert-file": folder / "apiserver.crt",
        "tls-private-key-file": folder / "apiserver.key",
        "client-ca-file": folder / "ca.crt",
        "authorization-mode": "RBAC",
        "profiling": "false",
    }
    return [f"--{name}={value}" for name, value in flags.items()]


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(kube: Kube, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + READY_S
    while not _ready(kube):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until, f"the API server is not ready after {READY_S:.0f} s"
        time.sleep(0.2)


def _ready(kube: Kube) -> bool:
    try:
        return bool(kube.api.text("/readyz") and kube.api.exists("/api/v1/namespaces/default"))
    except LoomidiError:
        return False
