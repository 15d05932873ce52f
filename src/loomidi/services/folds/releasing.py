"""Every Fold brought to its end: what is in force is taken back, what has not begun is denied.

Called by `loomidi fold release-all`, and by the chart's hook before it is uninstalled. In: a cluster, a reason,
seconds. Out: the Folds that have not ended by then, with their phase. It only asks, by annotations; the operator does.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from loomidi.contracts import EnvironmentLacks
from loomidi.fold.operator.views import DENY, FOLDS, RELEASE, View
from loomidi.fold.resources import TOUCHING
from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.errors import Clash
from loomidi.loom.sources.clusters import access

_REQUEST_S, _LOOK_S = 10.0, 0.5


def release_all(
    kubeconfig: Path | None,
    environment: Mapping[str, str],
    *,
    reason: str,
    wait_s: float,
    namespace: str = "",
    say: Callable[[str], object] = lambda _line: None,
) -> list[str]:
    """Ask each open Fold to end, wait, and give back those that are still open. Raises EnvironmentLacks."""
    with access(kubeconfig, environment).blocking(_REQUEST_S) as client:
        api, until = KubeApi(client), time.monotonic() + wait_s
        while views := _open(api, namespace):
            for told in filter(None, (_asked(api, view, reason) for view in views)):
                say(told)
            if time.monotonic() >= until:
                break
            time.sleep(_LOOK_S)
        return [f"{view.key} ({view.phase or 'not looked at yet'})" for view in views]


def _open(api: KubeApi, namespace: str) -> list[View]:
    root, _, kind = FOLDS.rpartition("/")
    path = f"{root}/namespaces/{namespace}/{kind}" if namespace else FOLDS
    if api.get(root) is None:
        raise EnvironmentLacks("this cluster has no Folds; apply deployments/crd, or install the chart")
    return [view for view in map(View, api.items(path)) if not view.over]


def _asked(api: KubeApi, view: View, reason: str) -> str:
    """By the annotation that its phase listens to, once; what was done, or ''."""
    name = RELEASE if view.phase in TOUCHING else DENY
    if view.noted(name):
        return ""
    notes = {**(view.metadata.get("annotations") or {}), name: reason}
    operations = [{"op": "add", "path": "/metadata/annotations", "value": notes}]
    try:
        api.patch(view.path, operations, view.metadata["resourceVersion"])
    except Clash:
        return ""  # it has moved on; it is read again
    return f"{view.key}: {view.phase or 'not looked at yet'}, asked to end"
