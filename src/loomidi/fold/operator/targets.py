"""The object that a Fold is about: found by the Fold's target, known again by its uid.

Called by `reconciling`. In: the API, a fold. Out: the object, {} when the target is none of the cluster's, None when it
is not there.
"""

from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.decide.places import Place, place

_WORKLOADS = ("deployments", "statefulsets", "daemonsets")
_SHOWN = ("namespace", "name", "uid", "resourceVersion")


def target_of(api: KubeApi, fold: FoldSpec) -> dict[str, Any] | None:
    """The live object."""
    paths = _paths(fold, place(fold.target))
    if not paths:
        return {}
    return next((found for found in map(api.get, paths) if found is not None), None)


def shown(live: dict[str, Any]) -> dict[str, str]:
    """As it is kept in the status; the API gives no kind in some answers, then it is left out."""
    kind = {name: str(live[name]) for name in ("apiVersion", "kind") if name in live}
    return kind | {name: str(live["metadata"][name]) for name in _SHOWN if name in live["metadata"]}


def _paths(fold: FoldSpec, found: Place) -> list[str]:
    if found.kind == "node" and found.name:
        return [f"/api/v1/nodes/{found.name}"]
    if found.kind == "pod" and found.name and not found.address:
        return [f"/api/v1/namespaces/{found.namespace}/pods/{found.name}"]
    if found.kind == "service" and found.name and not found.address and fold.action == "eject":
        return [f"/api/v1/namespaces/{found.namespace}/services/{found.name}"]
    metadata = fold.manifest.get("metadata", {})
    scales = fold.manifest.get("kind") == "Scale"
    space, name = (metadata.get("namespace", "default"), metadata.get("name", "")) if scales else ("", "")
    if found.kind == "workload" and not found.address:
        space, name = found.namespace, found.name
    return [f"/apis/apps/v1/namespaces/{space}/{plural}/{name}" for plural in _WORKLOADS] if name else []
