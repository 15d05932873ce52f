"""What stands around a Fold, looked at once a pass: its target, its namespace, every other Fold, the pods.

Called by `running`. In: the API, the collections as they are told. Out: an `Around` for `policing`. What cannot be read
is not guessed: it says so, and brakes hold.
"""

from collections.abc import Iterable

from loomidi.contracts import Plan
from loomidi.fold.operator.braking import Around
from loomidi.fold.operator.counting import Counted, counted
from loomidi.fold.operator.spots import Pod, spot_of
from loomidi.fold.operator.targets import target_of
from loomidi.fold.operator.views import Object, View
from loomidi.ionic.act.kube.api import KubeApi


def around(
    api: KubeApi, view: View, plan: Plan, folds: Iterable[Object], pods: Iterable[Object] | None, *, now_ns: int
) -> Around:
    """`pods`: as a shelf has them; None: they are not known now."""
    space = view.metadata["namespace"]
    live = target_of(api, plan.fold) or {}
    own = live.get("metadata", {}).get("labels") or {}
    labels = (api.get(f"/api/v1/namespaces/{space}") or {"metadata": {}})["metadata"].get("labels") or {}
    told, why = all_counted(folds)
    return Around(
        namespace=space,
        namespace_labels=labels,
        target_labels=own,
        key=view.key,
        replaced=view.replaces,
        spot=spot_of(plan.fold, live),
        folds=told,
        pods=tuple(kept_pods(pods or ())),
        uncounted=why or ("" if pods is not None else "the pods are not known, their watch is away"),
        now_ns=now_ns,
    )


def all_counted(folds: Iterable[Object]) -> tuple[tuple[Counted, ...], str]:
    """Those that can be read, and why one cannot."""
    told = [counted(obj) for obj in folds]
    why = next((one for one in told if isinstance(one, str)), "")
    return tuple(one for one in told if not isinstance(one, str)), why


def kept_pods(pods: Iterable[Object]) -> Iterable[Pod]:
    """Those of a shelf that have not ended."""
    return (one["pod"] for one in pods if one["pod"] is not None)
