"""Plans that change one object of a cluster, for tests: one for each of those kinds, all of them sound."""

import dataclasses
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Mode, Plan
from tests.unit.ionic.making import a_finding, a_plan

POD, WORKLOAD, NODE = "pod/shop/cart-0", "workload/shop/cart", "node/worker-1"
TARGETS = {
    FoldKind.RESTART: WORKLOAD,
    FoldKind.ROLLBACK: WORKLOAD,
    FoldKind.CORDON: NODE,
    FoldKind.RESIZE: POD,
    FoldKind.EVICT: POD,
    FoldKind.TERMINATE: POD,
}


def an_object_plan(kind: FoldKind, mode: Mode = Mode.GUARDED, *, named: bool = True, **changes: Any) -> Plan:
    """`named`: whether the finding names the target; `changes`: of the fold, or `radius` and `confidence`."""
    usual = TARGETS.get(kind, POD)
    radius, confidence = changes.pop("radius", {}), changes.pop("confidence", 0.95)
    target = changes.get("target", usual)
    finding = a_finding("node_pressure", entities=(target,) if named else ("node/other",), confidence=confidence)
    fold = FoldSpec(kind, usual, kind.value.lower(), ttl_s=600.0, because=finding.id, undo="as it is told")
    measured = dataclasses.replace(a_plan().blast_radius, **radius)
    return a_plan(mode=mode, finding=finding, fold=dataclasses.replace(fold, **changes), blast_radius=measured)
