"""The probes of a policy, asked: whether the finding is gone, the target's pods are ready, an address answers, packets
pass.

Called by `carrying` through its world. In: a probe as the resource has it, the Fold, all Folds, the API. Out: whether
it holds, and what was seen. `ASKERS` has one asker a kind; who has agents hands the `Operator` its own for `flows`
(`hearing`). A kind without an asker does not hold. A finding is gone when no later Fold was proposed for the same
pattern and target.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from loomidi.contracts import LoomidiError, Plan
from loomidi.fold.operator.calling import call
from loomidi.fold.operator.hearing import heard
from loomidi.fold.operator.targets import target_of
from loomidi.fold.operator.views import Object, View
from loomidi.fold.resources.objects import nanoseconds, plan_of
from loomidi.ionic.act.kube.api import KubeApi


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """What an asker may look at."""

    view: View
    plan: Plan
    folds: Iterable[Object]
    api: KubeApi


Asker = Callable[[Mapping[str, Any], Scene], tuple[bool, str]]


def _gone(_: Mapping[str, Any], scene: Scene) -> tuple[bool, str]:
    since_ns = nanoseconds(scene.view.applied["atTime"]) if scene.view.applied else 0
    plan = scene.plan
    for other in scene.folds:
        try:
            theirs = plan_of(other)
        except (LoomidiError, KeyError):
            continue
        same = (theirs.finding.pattern, theirs.fold.target) == (plan.finding.pattern, plan.fold.target)
        if same and theirs.id != plan.id and theirs.finding.last_ns > since_ns:
            return False, f"it was found again: {theirs.finding.id}"
    return True, "it was not found again"


def _ready(asked: Mapping[str, Any], scene: Scene) -> tuple[bool, str]:
    """Ready of wanted, of a workload by its counts, of a pod by its condition."""
    live = target_of(scene.api, scene.plan.fold)
    if not live:
        return False, "the target is no object that can be ready"
    status, wanted = live.get("status", {}), live.get("spec", {}).get("replicas", 1)
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    ready = int(status.get("readyReplicas", int(conditions.get("Ready") == "True")))
    least = str(asked.get("minReady", "100%"))
    needed = -(-wanted * int(least[:-1]) // 100) if least.endswith("%") else int(least)
    return ready >= needed, f"{ready} of {wanted} ready, {needed} asked for"


def _answers(asked: Mapping[str, Any], scene: Scene) -> tuple[bool, str]:
    return call(asked, scene.api)


ASKERS: Mapping[str, Asker] = MappingProxyType(
    {"findingGone": _gone, "targetReady": _ready, "http": _answers, "flows": heard(None)}
)


def probe(
    asked: Object,
    view: View,
    plan: Plan,
    folds: Iterable[Object],
    api: KubeApi,
    *,
    askers: Mapping[str, Asker] = ASKERS,
) -> tuple[bool, str]:
    """One probe's answer."""
    kind = next((name for name in asked if name != "name"), "")
    if kind not in askers:
        return False, f"no answer: this operator cannot ask {kind or 'nothing'}; use {', '.join(askers)}"
    return askers[kind](asked[kind], Scene(view, plan, folds, api))
