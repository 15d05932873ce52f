"""The probes of a policy, asked: whether the finding is gone, whether the target's pods are ready.

Called by `carrying` through its world. In: a probe as the resource has it, the Fold, all Folds, the API. Out: whether
it holds, and what was seen. A finding is gone when no later Fold was proposed for the same pattern and target.
Probes that need the network (`http`, `flows`) are not asked here yet: they do not hold.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from loomidi.contracts import LoomidiError, Plan
from loomidi.fold.operator.targets import target_of
from loomidi.fold.operator.views import Object, View
from loomidi.fold.resources.objects import nanoseconds, plan_of
from loomidi.ionic.act.kube.api import KubeApi


def probe(asked: Object, view: View, plan: Plan, folds: Iterable[Object], api: KubeApi) -> tuple[bool, str]:
    """One probe's answer."""
    if "findingGone" in asked:
        return _gone(view, plan, folds)
    if "targetReady" in asked:
        return _ready(asked["targetReady"], target_of(api, plan.fold))
    return False, "no answer: this operator cannot ask it yet; use findingGone or targetReady"


def _gone(view: View, plan: Plan, folds: Iterable[Object]) -> tuple[bool, str]:
    since_ns = nanoseconds(view.applied["atTime"]) if view.applied else 0
    for other in folds:
        try:
            theirs = plan_of(other)
        except (LoomidiError, KeyError):
            continue
        same = (theirs.finding.pattern, theirs.fold.target) == (plan.finding.pattern, plan.fold.target)
        if same and theirs.id != plan.id and theirs.finding.last_ns > since_ns:
            return False, f"it was found again: {theirs.finding.id}"
    return True, "it was not found again"


def _ready(asked: Object, live: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Ready of wanted, of a workload by its counts, of a pod by its condition."""
    if not live:
        return False, "the target is no object that can be ready"
    status, wanted = live.get("status", {}), live.get("spec", {}).get("replicas", 1)
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    ready = int(status.get("readyReplicas", int(conditions.get("Ready") == "True")))
    least = str(asked.get("minReady", "100%"))
    needed = -(-wanted * int(least[:-1]) // 100) if least.endswith("%") else int(least)
    return ready >= needed, f"{ready} of {wanted} ready, {needed} asked for"
