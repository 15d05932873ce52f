"""What a cluster's state holds, and how its objects are read. Pure.

Base of `failures` and `outages`. In: objects as the API server gives them. Out: a look at them, what a look shows.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Evidence, Severity

Object = Mapping[str, Any]
_REVISION = "deployment.kubernetes.io/revision"
_UP = "NewReplicaSetAvailable"  # reason of `Progressing`: the release has come up once


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterState:
    """One look."""

    at_ns: int
    pods: Sequence[Object] = ()
    replica_sets: Sequence[Object] = ()
    deployments: Sequence[Object] = ()
    nodes: Sequence[Object] = ()
    services: Sequence[Object] = ()
    throttled: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    # (namespace, pod) -> 0..1 of its CPU periods since the look before


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What one look shows of one workload or node."""

    pattern: str
    key: str  # whom it is about: the same from look to look
    severity: Severity
    confidence: float
    entities: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    lasting_s: float  # from when on it is told


def is_ready(obj: Object) -> bool:
    """Whether a pod or a node says so."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions(obj))


def conditions(obj: Object) -> Sequence[Object]:
    """Of its status."""
    return obj.get("status", {}).get("conditions") or ()


def containers(pod: Object) -> Sequence[Object]:
    """The states of its containers."""
    return pod.get("status", {}).get("containerStatuses") or ()


def owned(owner: Object, objects: Sequence[Object]) -> list[Object]:
    """Those that this one made and would make anew."""
    uid = owner["metadata"]["uid"]
    return [one for one in objects if controller(one).get("uid") == uid]


def controller(obj: Object) -> Object:
    """Who made it and would make it anew; {} for nobody."""
    owners = obj.get("metadata", {}).get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), {})


def workload_of(pod: Object, replica_sets: Mapping[str, Object]) -> str:
    """`workload/namespace/name` of who runs it, the Deployment where there is one; the pod itself where nobody does.

    `replica_sets`: by uid.
    """
    space, name = place(pod)
    owner = controller(pod)
    above = controller(replica_sets.get(owner.get("uid", ""), {}))
    found = above.get("name") or owner.get("name")
    return f"workload/{space}/{found}" if found else f"pod/{space}/{name}"


def by_uid(objects: Sequence[Object]) -> dict[str, Object]:
    """Each by its uid."""
    return {one["metadata"]["uid"]: one for one in objects}


def revision(replica_set: Object) -> int:
    """Of the release that it is; 0 where it is none."""
    return int((replica_set["metadata"].get("annotations") or {}).get(_REVISION, 0))


def fresh_release(deployment: Object, replica_sets: Sequence[Object], at_ns: int, within_s: float) -> Object | None:
    """The newest release of a Deployment where it is new and another was before it, else None.

    New is what was made so long ago at most, or is being rolled out: what was deployed before keeps its ReplicaSet and
    its age.
    """
    releases = owned(deployment, replica_sets)
    newest = max(releases, key=revision, default=None)
    if newest is None or len(releases) < 2:
        return None
    rolling = [one for one in conditions(deployment) if one["type"] == "Progressing" and one["reason"] != _UP]
    ages = [since_s(newest["metadata"]["creationTimestamp"], at_ns)]
    ages += [since_s(one["lastUpdateTime"], at_ns) for one in rolling]
    return newest if min(ages) <= within_s else None


def since_s(time: str, at_ns: int) -> float:
    """Seconds from a time of the API to a look."""
    return at_ns / 1e9 - dt.datetime.fromisoformat(time).timestamp()


def place(obj: Object) -> tuple[str, str]:
    """Namespace and name."""
    return obj["metadata"].get("namespace", "default"), obj["metadata"]["name"]
