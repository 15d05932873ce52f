"""Pieces that all objects of the shop share: labels, accounts, security contexts.

Called by `manifests` and `stores`. In: names. Out: plain dicts.
"""

from typing import Any

Object = dict[str, Any]
PART_OF = "shop"


def meta(namespace: str, name: str, app: str = "") -> Object:
    """Metadata with the labels that everything of the shop has."""
    app = app or name
    labels = {"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/part-of": PART_OF}
    return {"namespace": namespace, "name": name, "labels": labels}


def account(namespace: str, name: str, token: bool) -> Object:
    """A service account; its token is mounted only where the API is used."""
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(namespace, name)}
    return {**body, "automountServiceAccountToken": token}


def spread(app: str, strictly: bool = False) -> list[Object]:
    """The pods of each revision rather on different nodes; unscheduled for it only where `strictly`."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule" if strictly else "ScheduleAnyway",
            "nodeTaintsPolicy": "Honor",
            "matchLabelKeys": ["pod-template-hash"],
            "labelSelector": {"matchLabels": {"app": app}},
        }
    ]


def restricted(user: int) -> tuple[Object, Object]:
    """Security context of a pod and of its container."""
    pod = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return pod, container


def secret(name: str, key: str) -> Object:
    """A variable from the shop's Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "shop-passwords", "key": key}}}
