"""The Kubernetes objects that folds become: plain dicts, valid by the API's conventions, applied by nobody here.

Called by `proposing`. In: names, addresses, a finding's id, a TTL. Out: NetworkPolicy (networking.k8s.io/v1) or Scale
(autoscaling/v1) as JSON-able dicts. What a NetworkPolicy cannot say (a rate, a deny beside stricter policies) is
written into its annotations; finding pods and applying is left to the Kubernetes driver.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from loomidi.ionic.decide.places import NAMES, Place

MANAGER = {"app.kubernetes.io/managed-by": "loomidi"}
QUARANTINE = "loomidi.io/quarantine"  # label that ISOLATE_POD puts on the pod, and that its policy selects
EVERYWHERE = ("0.0.0.0/0", "::/0")  # both families: naming one alone would cut the other off
_POLICY_PORTS = {6: "TCP", 17: "UDP", 132: "SCTP"}


# Labels that controllers put on single pods; a policy that selected by them would lose its pods at the next rollout.
_PASSING = frozenset(
    {"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name",
     "apps.kubernetes.io/pod-index", "batch.kubernetes.io/controller-uid", "controller-uid"}
)  # fmt: skip


def network_policy(
    name: str, direction: str, blocked: Sequence[str], notes: dict[str, str], guarded: Place | None = None
) -> dict[str, Any]:
    """Let everything in (`direction` ingress) or out (egress) but the blocked addresses or CIDRs.

    `guarded`: the pod, or the service's namespace, that it is for; without one, all pods of the namespace `default`.
    """
    side = {"ingress": "from", "egress": "to"}[direction]
    spec = {
        "podSelector": selector(guarded),
        "policyTypes": [direction.capitalize()],
        direction: [{side: [_all_but(family, blocked) for family in EVERYWHERE]}],
    }
    return _policy(name, guarded.namespace if guarded else "default", spec, notes)


def selector(pod: Place | None) -> dict[str, Any]:
    """Pods alike by the labels that outlive one of them; all pods where none are known."""
    labels = {key: text for key, text in (pod.labels if pod else ()) if key not in _PASSING}
    return {"matchLabels": labels} if labels else {}


def narrowing(pattern: str, service: Place) -> tuple[list[dict[str, Any]], str]:
    """The ports that may stay open while many sources press on a service, and the same in words.

    Answers to what the pods ask for always come back: policies see connections, not packets.
    """
    if pattern == "amplification" or (pattern == "udp_flood" and not service.port):
        return [{"protocol": "TCP"}, {"protocol": "SCTP"}], "everything but UDP that nobody asked for"
    if service.port and service.protocol in _POLICY_PORTS:
        return [{"protocol": _POLICY_PORTS[service.protocol], "port": service.port}], "the service's own port only"
    return [{"protocol": name} for name in _POLICY_PORTS.values()], "TCP, UDP and SCTP only"


def service_policy(name: str, service: Place, ports: list[dict[str, Any]], notes: dict[str, str]) -> dict[str, Any]:
    """Let only these ports in: what a distributed flood can be narrowed to without naming sources."""
    rule = {"from": [{"ipBlock": {"cidr": family}} for family in EVERYWHERE], "ports": ports}
    spec = {"podSelector": selector(service), "policyTypes": ["Ingress"], "ingress": [rule]}
    return _policy(name, service.namespace, spec, notes)


def isolation_policy(name: str, pod: Place, mark: str, notes: dict[str, str]) -> dict[str, Any]:
    """Nothing in, nothing out for the pod that carries the quarantine label with value `mark`.

    Its own labels would select its replicas too, so the pod is labelled first; which pod is in the annotations.
    """
    spec = {"podSelector": {"matchLabels": {QUARANTINE: mark}}, "policyTypes": ["Ingress", "Egress"]}
    labels = ",".join(f"{key}={text}" for key, text in pod.labels)
    told = {"pod": pod.name if pod.kind == "pod" else "", "pod-uid": pod.uid, "pod-labels": labels}
    notes = notes | {f"loomidi.io/{key}": text for key, text in (told | {"pod-ip": pod.address}).items() if text}
    return _policy(name, pod.namespace, spec, notes)


def scale(workload: str, namespace: str, added: int, notes: dict[str, str]) -> dict[str, Any]:
    """A patch of the scale subresource. `replicas` assumes one replica now; the driver adds to what it finds."""
    metadata = _metadata(workload, namespace, notes | {"loomidi.io/added-replicas": str(added)})
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": 1 + added}}


def object_name(*parts: str) -> str:
    """Parts as one DNS-1123 label: lower case letters, digits and dashes, at most 63."""
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower())
    return text[:63].strip("-") or "unnamed"


def protocol_name(number: int) -> str:
    """`tcp` for 6 and so on; the number where it has no short name here."""
    return NAMES.get(number, str(number))


def _policy(name: str, namespace: str, spec: dict[str, Any], notes: dict[str, str]) -> dict[str, Any]:
    metadata = _metadata(name, namespace, notes)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _metadata(name: str, namespace: str, notes: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": dict(MANAGER), "annotations": notes}


def _all_but(family: str, blocked: Sequence[str]) -> dict[str, Any]:
    version = ipaddress.ip_network(family).version
    inside = [str(net) for net in map(ipaddress.ip_network, blocked) if net.version == version and net.prefixlen]
    return {"ipBlock": {"cidr": family} | ({"except": inside} if inside else {})}
