"""Objects that carry a plan though no open Fold has it: taken back from the Fold's receipts, else told.

Called by `running` at every resync. In: the API, the Folds, the driver. Out: what was found and what was done about it.
An object whose Fold is gone altogether is left as it is: nobody has its inverse, so a person has to look.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from loomidi.contracts import LoomidiError
from loomidi.contracts.ports import Driver
from loomidi.fold.operator.views import View
from loomidi.fold.operator.world import AtHand
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.fields import mark

COLLECTIONS = (
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/api/v1/pods",
    "/api/v1/nodes",
)
OPTIONAL = (  # looked through where the cluster has them
    ("cilium.io/v2", "ciliumnetworkpolicies"),
    ("security.istio.io/v1", "authorizationpolicies"),
    ("networking.istio.io/v1", "destinationrules"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Orphan:
    """One object."""

    path: str  # collection, namespace and name
    plan: str
    done: str  # what was done about it, in words


def orphans(
    api: KubeApi, folds: Iterable[dict[str, Any]], driver: Driver, at_hand: AtHand = contextlib.nullcontext
) -> list[Orphan]:
    """Look everywhere, and take back what can be. `at_hand`: around the driver's work."""
    known = {str(view.spec["plan"]["id"]): view for view in map(View, folds) if "plan" in view.spec}
    found = [(path, plan) for path, plan in _marked(api) if plan not in known or not known[plan].begun]
    done = {plan: _settled(known.get(plan), driver, at_hand) for plan in dict.fromkeys(plan for _, plan in found)}
    return [Orphan(path, plan, done[plan]) for path, plan in found]


def _marked(api: KubeApi) -> Iterator[tuple[str, str]]:
    there = [f"/apis/{group}/{plural}" for group, plural in OPTIONAL if plural in api.offers(group)]
    for path in (*COLLECTIONS, *there):
        for obj in api.items(path):
            if plan := mark(obj):
                metadata = obj["metadata"]
                yield f"{path}: {metadata.get('namespace', '')}/{metadata['name']}", plan


def _settled(view: View | None, driver: Driver, at_hand: AtHand) -> str:
    if view is None:
        return "left: its Fold is gone, so nobody has its inverse; look at it and remove the annotation"
    if view.intent is None:
        return "left: its Fold was never begun by this operator"
    try:
        with at_hand(view):
            result = driver.undo(view.intent["inverse"])
    except LoomidiError as error:
        return f"not taken back: {error}"
    return "taken back" if result.get("undone") is True else f"not taken back: {dict(result)}"
