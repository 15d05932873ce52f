"""Where a Fold acts, as brakes count it: the workload that its target is of, the node that it is on; and pods, slim.

Called by `surrounding`, which looks, by `reconciling`, which notes it, and by `running`, which keeps pods in step. In:
objects as the API gives them. Out: a `Spot`; a `Pod`, or None for one that has ended. A pod's workload is read from
its owner's name: a ReplicaSet of a Deployment ends in a hash of the API's own alphabet.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import FoldSpec
from loomidi.ionic.decide.manifests import QUARANTINE
from loomidi.ionic.decide.places import place

Object = Mapping[str, Any]
_HASH = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5,10}$")


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    """Where one Fold acts."""

    workload: str  # namespace/name; the target's own id where it is of none
    node: str = ""  # '' where it is on none, or on several


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """One that runs or is about to."""

    namespace: str
    name: str
    workload: str
    node: str
    healthy: bool  # ready, not ending, not in quarantine


def spot_of(fold: FoldSpec, live: Object | None) -> Spot:
    """`live`: the target's object; {} or None where there is none."""
    found = place(fold.target)
    if found.kind == "node":
        return Spot(fold.target, found.name)
    if found.kind == "pod" and live:
        return Spot(_workload(live), live.get("spec", {}).get("nodeName", ""))
    if found.kind == "workload" and not found.address:
        return Spot(f"{found.namespace}/{found.name}")
    metadata = fold.manifest.get("metadata", {})
    if fold.manifest.get("kind") == "Scale" and metadata.get("name"):
        return Spot(f"{metadata.get('namespace', 'default')}/{metadata['name']}")
    return Spot(fold.target)


def pod_of(obj: Object) -> Pod | None:
    """What brakes need of a pod."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    spared = "deletionTimestamp" not in metadata and QUARANTINE not in (metadata.get("labels") or {})
    node = (obj.get("spec") or {}).get("nodeName", "")
    return Pod(metadata["namespace"], metadata["name"], _workload(obj), node, ready and spared)


def slim_pod(obj: Object) -> dict[str, Any]:
    """A pod as it is kept: a cluster has thousands, each of several thousand octets."""
    named = {name: obj["metadata"][name] for name in ("namespace", "name", "resourceVersion")}
    return {"metadata": named, "pod": pod_of(obj)}


def _workload(obj: Object) -> str:
    metadata = obj["metadata"]
    owners = [one for one in metadata.get("ownerReferences") or () if one.get("controller")]
    if not owners:
        return f"{metadata['namespace']}/{metadata['name']}"
    name = str(owners[0]["name"])
    return f"{metadata['namespace']}/{_HASH.sub('', name) if owners[0]['kind'] == 'ReplicaSet' else name}"
