"""Cordon, evict, uncordon: a drain as `kubectl drain` does it, for the shop's Deployments only.

Called by the python step of scenario.yaml.
"""

import time
from typing import Any

from loomidi.contracts.errors import LoomidiError
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.steps import patch

_PAUSE_S = 0.5
_BUDGET_USED_UP = 429  # the API's answer when a disruption budget forbids it for now


def drain(stage: Any, node: str, seconds: float) -> None:
    """Empty the node within the time, then leave it closed until the undo opens it."""
    until = time.monotonic() + float(seconds)
    patch.perform(stage, {"entity": {"kind": "Node", "name": node}, "body": {"spec": {"unschedulable": True}}})
    first = _left(stage, node)
    while (left := _left(stage, node)) and time.monotonic() < until:
        for name in left:
            _evict(stage, name)
        stage.pause(_PAUSE_S)
    stage.heard(f"drained: {len(first) - len(left)} evicted, {len(left)} left")
    stage.pause(max(0.0, until - time.monotonic()))


def _left(stage: Any, node: str) -> list[str]:
    """Pods of ReplicaSets of the shop on that node."""
    pods = stage.lookup.pods(EntityRef("Node", "", node))
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["namespace"] == "shop"
        and any(owner["kind"] == "ReplicaSet" for owner in pod["metadata"].get("ownerReferences", []))
    ]


def _evict(stage: Any, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "shop", "name": name}}
    try:
        stage.lab.api.post(f"/api/v1/namespaces/shop/pods/{name}/eviction", body)
    except LoomidiError as error:
        if getattr(error, "status", 0) not in (_BUDGET_USED_UP, 404, 409):
            raise
