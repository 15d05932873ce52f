"""A real Kubernetes API: etcd, kube-apiserver and, where asked for, kube-controller-manager, on free ports.

No nodes, no kubelets: pods are as real as the API makes them, their status is written by the tests. The binaries are
the lab's (`loomidi-lab build`) or those of KUBEBUILDER_ASSETS; without them the tests are skipped, saying so.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loomidi.contracts import EnvironmentLacks
from loomidi.loom.sources.clusters import access
from loomidi_lab.cluster import certificates, tools
from tests.rungs import ran

READY_S = 90.0
CONTROLLERS = (
    "deployment-controller,replicaset-controller,statefulset-controller,disruption-controller,"
    "endpointslice-controller,garbage-collector-controller"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A running API server."""

    url: str
    authority: certificates.Authority
    kubeconfig: Path  # of an administrator

    def user(self, name: str) -> httpx.Client:
        """A client for a user of that name, who may do nothing until a role is bound."""
        made = self.authority.kubeconfig(self.kubeconfig.with_name(f"{name}.kubeconfig"), self.url, name)
        return access(made, {}).blocking(30.0)

    def admin(self) -> httpx.Client:
        """A client that may do everything."""
        return access(self.kubeconfig, {}).blocking(30.0)


@contextlib.contextmanager
def kube_server(folder: Path, *, controllers: bool) -> Iterator[Server]:
    """Up and ready; everything is killed on the way out, its data goes with the folder."""
    binaries = _binaries("etcd", "kube-apiserver", *["kube-controller-manager"] * controllers)
    client, peer, secure, manager = free_ports(4)
    authority = certificates.authority(folder / "pki")
    authority.issue("apiserver", "kube-apiserver", hosts=("localhost", "127.0.0.1"))
    url = f"https://127.0.0.1:{secure}"
    admin = authority.kubeconfig(folder / "admin.kubeconfig", url, "admin", "system:masters")
    with contextlib.ExitStack() as running:
        started = [_started(running, folder, [binaries["etcd"], *_etcd_flags(folder, client, peer)])]
        started += [_started(running, folder, [binaries["kube-apiserver"], *_api_flags(folder, client, secure)])]
        server = Server(url, authority, admin)
        _wait_ready(server, started)
        if controllers:
            command = [binaries["kube-controller-manager"], *_manager_flags(folder, admin, manager)]
            _started(running, folder, command)
        with server.admin() as asking:
            about = "its own etcd and controllers" if controllers else "its own etcd"
            ran("Kubernetes API server", f"{asking.get('/version').json()['gitVersion']} ({about})")
        yield server


def _binaries(*names: str) -> dict[str, str]:
    try:
        return {name: str(tools.binary(name)) for name in names}
    except EnvironmentLacks as error:
        pytest.skip(f"no Kubernetes API here: {error}")


def free_ports(count: int) -> list[int]:
    """That many ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _etcd_flags(folder: Path, client: int, peer: int) -> list[str]:
    flags = {
        "data-dir": folder / "etcd",
        "listen-client-urls": f"http://127.0.0.1:{client}",
        "advertise-client-urls": f"http://127.0.0.1:{client}",
        "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-cluster": f"default=http://127.0.0.1:{peer}",
    }
    return ["--unsafe-no-fsync", *_flags(flags)]


def _api_flags(folder: Path, etcd: int, port: int) -> list[str]:
    pki = folder / "pki"
    flags = {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "secure-port": port,
        "bind-address": "127.0.0.1",
        "service-cluster-ip-range": "10.96.0.0/24",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "authorization-mode": "RBAC",
        "allow-privileged": "true",  # as clusters with nodes have it
        "disable-admission-plugins": "ServiceAccount",  # there is no controller of accounts
    }
    return _flags(flags)


def _manager_flags(folder: Path, kubeconfig: Path, port: int) -> list[str]:
    flags = {
        "kubeconfig": kubeconfig,
        "secure-port": port,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "controllers": CONTROLLERS,
        "cert-dir": folder / "manager",
    }
    return _flags(flags)


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"--{name}={what}" for name, what in flags.items()]


def _started(running: contextlib.ExitStack, folder: Path, command: list[str]) -> subprocess.Popen[bytes]:
    log = running.enter_context((folder / f"{Path(command[0]).name}.log").open("wb"))
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    running.callback(_killed, process)
    return process


def _killed(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def _wait_ready(server: Server, started: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + READY_S
    with server.admin() as client:
        while not _ready(client):
            dead = [str(one.args[0]) for one in started if one.poll() is not None]  # type: ignore[index]
            if dead or time.monotonic() > until:
                words = (server.kubeconfig.parent / f"{Path(dead[0]).name}.log").read_text()[-2000:] if dead else ""
                pytest.fail(f"no API server after {READY_S:.0f} s; ended: {dead} {words}")
            time.sleep(0.2)


def _ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/readyz").is_success and client.get("/api/v1/namespaces/default").is_success
    return False
