"""The control plane of a lab: etcd, API server, controller manager, scheduler, as processes in its own namespace.

Called by `raising`. In: `Site`. Out: running processes, ready or an error with the last words of the one that failed.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from loomidi.contracts.errors import Conflict, EnvironmentLacks, LoomidiError
from loomidi_lab.cluster import certificates, tools
from loomidi_lab.cluster.addressing import Ranges
from loomidi_lab.cluster.api import Api
from loomidi_lab.cluster.places import PACKAGE, Place
from loomidi_lab.cluster.processes import Launcher, entering

API_PORT = 6443
AUDIT_PORT = 9990  # where a recorder listens for the audit webhook, on the control plane's loopback
PORTS = {2379: "etcd", 2380: "etcd", 10257: "the controller manager", 10259: "the scheduler", AUDIT_PORT: "audit"}
_USERS = {
    "admin": ("admin", "system:masters"),
    "manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A lab that is being brought up."""

    lab: Place
    ranges: Ranges
    nodes: int
    network: str  # bridge, cilium
    api_port: int = API_PORT
    fake_nodes: int = 0

    @property
    def launcher(self) -> Launcher:
        """Starts its processes."""
        return Launcher(self.lab)

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.lab.folder / "pki"

    @property
    def server(self) -> str:
        """The API server's address, the same from everywhere."""
        return f"https://{self.ranges.router}:{self.api_port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.lab.folder / "kubeconfig"


def check_port(port: int) -> None:
    """Raises Conflict when the API server's port is one that the control plane uses itself."""
    if port in PORTS:
        raise Conflict(f"--api-port {port} is used by {PORTS[port]} in the lab; choose another, such as {API_PORT}")


def certify(site: Site) -> certificates.Authority:
    """Authority, server certificate, kubeconfigs."""
    authority = certificates.authority(site.pki)
    hosts = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1")
    authority.issue("apiserver", "kube-apiserver", hosts=(*hosts, site.ranges.api_service, site.ranges.router))
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    for file, (name, group) in _USERS.items():
        path = site.kubeconfig if file == "admin" else site.pki / f"{file}.kubeconfig"
        authority.kubeconfig(path, site.server, name, group)
    return authority


def start_api(site: Site) -> None:
    """etcd and the API server, which waits for it."""
    folder = site.lab.folder
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    _start(
        site,
        "etcd",
        *("--data-dir", str(folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--unsafe-no-fsync"),  # a throw-away cluster: its data ends with it
    )
    _start(site, "kube-apiserver", *_api_flags(site))


def _api_flags(site: Site) -> list[str]:
    pki, audit = site.pki, _audit(site)
    flags = {
        "etcd-servers": "http://127.0.0.1:2379",
        "secure-port": site.api_port,
        "advertise-address": site.ranges.router,
        "service-cluster-ip-range": site.ranges.services,
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "service-account-issuer": "https://kubernetes.default.svc",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "profiling": "false",
        **audit,
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def _audit(site: Site) -> dict[str, object]:
    """Audit events go to a file, and to whoever listens on the control plane's loopback."""
    webhook = site.pki / "audit-webhook.json"
    cluster = {"name": "recorder", "cluster": {"server": f"http://127.0.0.1:{AUDIT_PORT}/"}}
    context = {"name": "recorder", "context": {"cluster": "recorder", "user": ""}}
    document = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
    webhook.write_text(json.dumps(document | {"current-context": "recorder"}))
    return {
        "audit-policy-file": PACKAGE / "audit-policy.yaml",
        "audit-log-path": site.lab.folder / "audit.jsonl",
        "audit-log-maxsize": 4096,
        "audit-webhook-config-file": webhook,
        "audit-webhook-batch-max-wait": "1s",
        "audit-webhook-initial-backoff": "1s",
    }


def wait_api(site: Site, timeout_s: float) -> Api:
    """A client as soon as the API server is ready. Raises EnvironmentLacks with its last words when it is late."""
    until = time.monotonic() + timeout_s
    with Api(site.kubeconfig, timeout_s=5.0) as asking:
        while problem := _unready(asking):
            dead = [label for label in ("etcd", "kube-apiserver") if not site.launcher.pid(label)]
            if dead:
                raise EnvironmentLacks(f"{dead[0]} ended: {site.launcher.last_words(dead[0])}")
            if time.monotonic() > until:
                raise EnvironmentLacks(f"the API server is not ready after {timeout_s:.0f} s: {problem}")
            time.sleep(0.1)
    return Api(site.kubeconfig)


def _unready(api: Api) -> str:
    try:
        api.text("/readyz")
    except LoomidiError as error:
        return str(error)
    return ""


def start_controllers(site: Site) -> None:
    """Controller manager and scheduler."""
    _start(
        site,
        "kube-controller-manager",
        f"--kubeconfig={site.pki / 'manager.kubeconfig'}",
        f"--service-account-private-key-file={site.pki / 'sa.key'}",
        f"--root-ca-file={site.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={site.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={site.pki / 'ca.key'}",
        "--use-service-account-credentials",
        f"--cluster-cidr={site.ranges.pods}",
        f"--allocate-node-cidrs={'true' if site.network == 'cilium' else 'false'}",
        # a node that is down shows while a person watches; thousands of played ones renew their leases less often
        f"--node-monitor-grace-period={40 if site.fake_nodes else 16}s",
        "--leader-elect=false",
    )
    _start(site, "kube-scheduler", f"--kubeconfig={site.pki / 'scheduler.kubeconfig'}", "--leader-elect=false")


def apply_manifests(api: Api, text: str) -> None:
    """Create or change every object of a YAML text by server-side apply, of kinds that the lab itself brings."""
    for obj in yaml.safe_load_all(text):
        if obj:
            api.patch(path_of(obj), obj, kind="apply")


def path_of(obj: dict[str, object]) -> str:
    """The API path of an object by the conventions; plurals of the kinds used here are regular."""
    version, kind = str(obj["apiVersion"]), str(obj["kind"])
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    plural = kind.lower() + ("es" if kind.endswith(("s", "x")) else "s")
    plural = plural.removesuffix("ys") + "ies" if plural.endswith("ys") and not plural.endswith("eys") else plural
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{scope}/{plural}/{metadata['name']}"


def _start(site: Site, name: str, *flags: str) -> None:
    arguments: Sequence[str] = (*entering(site.lab.control), str(tools.binary(name)), *flags)
    site.launcher.daemon(name, arguments)
