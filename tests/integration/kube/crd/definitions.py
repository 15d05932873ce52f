"""Where definitions and samples lie, how they are put on an API server, and folds to write."""

import re
import secrets
import time
from pathlib import Path
from typing import Any

import yaml

from loomidi_lab.cluster.api import Object
from loomidi_lab.cluster.control_plane import path_of
from tests.integration.kube.crd.servers import Kube

DEPLOYMENTS = Path(__file__).resolve().parents[4] / "deployments"
DEFINITIONS = sorted((DEPLOYMENTS / "crd").glob("*.yaml"))
ALLOWED = sorted((DEPLOYMENTS / "samples" / "allowed").glob("*.yaml"))
REFUSED = sorted((DEPLOYMENTS / "samples" / "refused").glob("*.yaml"))
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/default/folds"
POLICIES = "/apis/loomidi.io/v1alpha1/foldpolicies"
ESTABLISHED_S = 30.0
VERDICT = {"guard": "floor", "rule": "aimed", "allow": True, "reason": "the target is named"}
INTENT = {"id": "first", "step": "intent", "atTime": "2026-01-01T00:00:00Z", "inverse": {"target": "pod/default/a"}}
APPROVAL = {"approver": "alice", "planHash": "00ff", "grantedTime": "2026-01-01T00:00:00Z"}


def establish(kube: Kube, definition: Object) -> None:
    """Create or change a definition and wait until it is served as it stands."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
    made = kube.api.patch(path, definition, kind="apply")
    until = time.monotonic() + ESTABLISHED_S
    while "Established" not in conditions(made):
        assert time.monotonic() < until, made["status"]
        time.sleep(0.1)
        made = kube.api.get(path)


def conditions(obj: Object) -> dict[str, Any]:
    """Conditions that are true, by type."""
    found = obj.get("status", {}).get("conditions") or []
    return {one["type"]: one for one in found if one["status"] == "True"}


def sample(path: Path) -> Object:
    """The object of a sample, under a name that is free."""
    obj: Object = yaml.safe_load(path.read_text())
    obj["metadata"]["name"] += f"-{secrets.token_hex(3)}"
    return obj


def collection(obj: Object) -> str:
    """The path to which an object is posted."""
    return path_of(obj).rpartition("/")[0]


def message(path: Path) -> str:
    """The message that a refused sample must get, from its first line."""
    found = re.match(r"# Refused: (.+)\n", path.read_text())
    assert found, f"{path.name} says in its first line what refuses it"
    return found[1]


def fold(**more: Any) -> Object:
    """A fold that may go all the way."""
    spec = {"kind": "ISOLATE_POD", "target": "pod/default/a", "action": "isolate", "ttlSeconds": 60, "because": "test"}
    metadata = {"name": f"fold-{secrets.token_hex(4)}", "namespace": "default"}
    kind = {"apiVersion": "loomidi.io/v1alpha1", "kind": "Fold"}
    return {**kind, "metadata": metadata, "spec": {**spec, "mode": "guarded", **more}}


def made(kube: Kube, *phases: str, **more: Any) -> str:
    """The path of a new fold that has gone through these phases."""
    path = f"{FOLDS}/{kube.api.post(FOLDS, fold(**more))['metadata']['name']}"
    for phase in phases:
        move(kube, path, phase)
    return path


def move(kube: Kube, path: str, phase: str, **more: Any) -> Object:
    """Set a fold's phase by way of the status subresource, with the verdicts, approvals and inverse that it takes."""
    granted = {"verdicts": [VERDICT], "approvals": [APPROVAL], "receipts": [INTENT]}
    return kube.api.patch(f"{path}/status", {"status": {"phase": phase, **granted, **more}})
