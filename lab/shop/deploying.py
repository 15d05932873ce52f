"""The shop in a lab: put there, waited for, asked, removed.

Called by the verbs, the scenario runner, the recorder and test fixtures. In: a Lab that is up. Out: `Shop`. The load is
in `load`; what the objects look like is in `manifests`.
"""

import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import Conflict, EnvironmentLacks, InputError, Retryable
from loomidi_lab.shop import certificates, manifests
from loomidi_lab.shop.asking import fetch
from loomidi_lab.shop.objects import PART_OF
from loomidi_lab.shop.workloads import PORT, WORKLOADS

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab, Node

Progress = Callable[[str], object]
OTLP_PORT = 4318
_LOOK_S = 0.4


@dataclass(frozen=True)
class Pod:
    """A running pod of the shop."""

    name: str
    app: str
    address: str
    node: str


class Shop:
    """A shop that is in the cluster; use `deploy` or `find`."""

    def __init__(self, lab: "Lab", namespace: str, node_port: int) -> None:
        self.lab = lab
        self.namespace = namespace
        self.node_port = node_port

    @property
    def frontend_url(self) -> str:
        """The frontend as users reach it from outside: the first node's address and the NodePort."""
        return f"http://{self._door().address}:{self.node_port}"

    @property
    def authority(self) -> certificates.Pair:
        """The shop's certificate authority, for scenarios that issue a certificate."""
        data = self.lab.api.get(f"/api/v1/namespaces/{self.namespace}/secrets/shop-authority")["data"]
        return certificates.Pair(_decoded(data, "tls.crt"), _decoded(data, "tls.key"))

    def wait_ready(self, timeout_s: float = 120.0) -> float:
        """Seconds until every workload was ready and a page came. Raises Retryable that says what is missing."""
        began = time.monotonic()
        missing = ["nothing was seen yet"]
        while time.monotonic() - began < timeout_s:
            missing = self.missing()
            if not missing and self._answers():
                return time.monotonic() - began
            time.sleep(_LOOK_S)
        what = "; ".join(missing) or f"no page from {self.frontend_url}"
        raise Retryable(f"shop {self.namespace} is not ready after {timeout_s:g} s: {what}")

    def missing(self) -> list[str]:
        """One phrase for each workload that has fewer ready pods than it should; empty: all are there."""
        out = []
        for kind in ("deployments", "statefulsets"):
            for found in self.lab.api.list(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}"):
                if found["metadata"]["labels"].get("app.kubernetes.io/part-of") != PART_OF:
                    continue
                wanted, status = found["spec"].get("replicas", 1), found.get("status", {})
                fresh = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
                ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
                if not fresh or ready < wanted or updated < wanted:
                    old = f", {wanted - updated} of an older revision" if updated < wanted else ""
                    out.append(f"{found['metadata']['name']} {ready} of {wanted} ready{old}")
        return out

    def pods(self, app: str = "") -> list[Pod]:
        """Running pods of one service, or of all."""
        selector = f"app={app}" if app else f"app.kubernetes.io/part-of={PART_OF}"
        found = self.lab.api.list(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=selector)
        return [
            Pod(p["metadata"]["name"], p["metadata"]["labels"]["app"], p["status"]["podIP"], p["spec"]["nodeName"])
            for p in found
            if p["status"].get("phase") == "Running" and p["status"].get("podIP") and not _going(p)
        ]

    def metrics(self, app: str) -> dict[str, dict[str, float]]:
        """Pod name -> sample with its labels -> value, of those pods that answer now."""
        pods = self.pods(app)
        texts = fetch(self.lab.outside_netns, [f"http://{pod.address}:{PORT}/metrics" for pod in pods])
        return {pod.name: _samples(text) for pod, text in zip(pods, texts, strict=True) if text}

    def entities(self) -> list[dict[str, str]]:
        """Workloads and services as the truth of scenarios names them."""
        apps = [(workload.name, "Deployment") for workload in WORKLOADS]
        apps += [("redis", "StatefulSet"), ("postgres", "StatefulSet")]
        out = []
        for name, kind in apps:
            out.append({"kind": kind, "namespace": self.namespace, "name": name})
            out.append({"kind": "Service", "namespace": self.namespace, "name": name})
        return [*out, {"kind": "CronJob", "namespace": self.namespace, "name": "report"}]

    def remove(self, timeout_s: float = 60.0) -> None:
        """Delete the namespace with all in it and wait until it is gone. Raises Retryable when it does not go."""
        path = f"/api/v1/namespaces/{self.namespace}"
        if self.lab.api.exists(path):
            self.lab.api.delete(path)
        until = time.monotonic() + timeout_s
        while self.lab.api.exists(path):
            if time.monotonic() > until:
                raise Retryable(f"namespace {self.namespace} is still ending after {timeout_s:g} s; look again later")
            time.sleep(_LOOK_S)

    def _door(self) -> "Node":
        """The first node; when only nodes with a frontend pass calls on, the first of those that have one."""
        nodes = self.lab.nodes
        service = self.lab.api.get(f"/api/v1/namespaces/{self.namespace}/services/frontend")
        if service["spec"].get("externalTrafficPolicy") != "Local":
            return nodes[0]
        holding = {pod.node for pod in self.pods("frontend")}
        return next((node for node in nodes if node.name in holding), nodes[0])

    def _answers(self) -> bool:
        return bool(fetch(self.lab.outside_netns, [f"{self.frontend_url}/category/yarn"])[0])


def deploy(
    lab: "Lab",
    namespace: str = "shop",
    *,
    progress: Progress = lambda _: None,
    wishes: manifests.Wishes | None = None,
) -> Shop:
    """Put the shop into a lab, or bring the one there up to date. Raises Conflict for a namespace of somebody else."""
    chosen = replace(wishes or manifests.Wishes(), namespace=namespace)
    if not chosen.otlp_endpoint:
        chosen = replace(chosen, otlp_endpoint=f"http://{lab.host_address}:{OTLP_PORT}")
    path = f"/api/v1/namespaces/{namespace}"
    if lab.api.exists(path):
        there = lab.api.get(path)
        if there["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != PART_OF:
            raise Conflict(f"namespace {namespace} holds something else; choose another one with --namespace")
        if there["status"].get("phase") == "Terminating":
            raise Retryable(f"namespace {namespace} is still ending; try again in some seconds")
    progress(f"shop: applying the objects to namespace {namespace}")
    lab.apply(manifests.everything(chosen, _secrets(lab, namespace)))
    return find(lab, namespace)


def find(lab: "Lab", namespace: str = "shop") -> Shop:
    """The shop that is in the cluster. Raises EnvironmentLacks when there is none."""
    path = f"/api/v1/namespaces/{namespace}/services/frontend"
    if not lab.api.exists(path):
        raise EnvironmentLacks(f"there is no shop in namespace {namespace}; run `loomidi-lab shop deploy`")
    return Shop(lab, namespace, int(lab.api.get(path)["spec"]["ports"][0]["nodePort"]))


def _secrets(lab: "Lab", namespace: str) -> manifests.Secrets:
    """Those that the shop has already, else new ones: PostgreSQL takes its password only at its first start."""
    base = f"/api/v1/namespaces/{namespace}/secrets"
    if all(lab.api.exists(f"{base}/{name}") for name in ("shop-passwords", "shop-authority", "payment-tls")):
        words = lab.api.get(f"{base}/shop-passwords")["data"]
        signer, payment = (lab.api.get(f"{base}/{name}")["data"] for name in ("shop-authority", "payment-tls"))
        try:
            return manifests.Secrets(
                _decoded(words, "redis"),
                _decoded(words, "postgres"),
                _decoded(words, "signing"),
                certificates.Pair(_decoded(signer, "tls.crt"), _decoded(signer, "tls.key")),
                certificates.Pair(_decoded(payment, "tls.crt"), _decoded(payment, "tls.key")),
            )
        except KeyError as error:
            raise InputError(
                f"secrets of shop {namespace} lack {error}; run `loomidi-lab shop remove` first"
            ) from error
    authority = certificates.authority()
    redis, postgres, signing = (secrets.token_hex(12) for _ in range(3))
    payment = certificates.issue(authority, "payment", namespace)
    return manifests.Secrets(redis, postgres, signing, authority, payment)


def _decoded(data: dict[str, str], key: str) -> str:
    return b64decode(data[key]).decode()


def _going(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _samples(text: str) -> dict[str, float]:
    out = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            out[name] = float(value)
    return out
