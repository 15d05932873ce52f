"""Each kind that only the Kubernetes driver knows passes the guards and goes to its end on a real API server."""

import time

from loomidi.contracts import FoldKind, Mode
from loomidi.fold.operator import approval_note
from tests.integration.kube import cases
from tests.integration.kube.operator.stages import Stage
from tests.integration.kube.rooms import wait
from tests.unit.ionic.acting import SIGNER

WAYS_BACK = (FoldKind.RESTART, FoldKind.ROLLBACK, FoldKind.RESIZE, FoldKind.CORDON, FoldKind.ISOLATE_POD)


def prepared(stage: Stage) -> None:
    """A second revision of `web`, a workload to restart, a pod behind a Service, two nodes."""
    template = {"spec": {"containers": [{"name": "main", "image": "none.invalid/two"}]}}
    stage.room.merge(cases.DEPLOYMENT, {"spec": {"template": template}})
    stage.room.workload("StatefulSet", "db", 1)
    stage.room.pod("web-1", app="served")
    stage.room.service("served", app="served")
    cases.two_nodes(stage.room)
    sets = f"/apis/apps/v1/namespaces/{stage.namespace}/replicasets"
    wait(lambda: len(stage.room.look.items(sets)) == 2, "two revisions")
    stage.before = stage.room.snapshot()


def image(stage: Stage) -> str:
    template = stage.room.get(cases.DEPLOYMENT)["spec"]["template"]
    return str(template["spec"]["containers"][0]["image"])


def test_what_has_a_way_back_is_done_and_taken_back_in_mode_guarded(stage: Stage) -> None:
    prepared(stage)
    stage.policy(mode="guarded", when={"patterns": ["*"]}, allow=[{"kind": kind.value} for kind in WAYS_BACK])
    resources = {"apiVersion": "v1", "kind": "Pod", **cases.resize(stage.room).manifest}
    folds = [
        stage.one(FoldKind.RESTART, "workload/db"),
        stage.one(FoldKind.ROLLBACK, "workload/web"),
        stage.one(FoldKind.RESIZE, "pod/web-0", manifest=resources),
        stage.one(FoldKind.CORDON, f"node/{stage.room.nodes[0]}"),
        stage.isolate("web-1"),
    ]
    with stage.operator():
        plans = [stage.propose(fold, Mode.GUARDED) for fold in folds]
        for plan in plans:
            stage.reaches(plan, "Active")
        assert image(stage) == "none.invalid/one"
        assert stage.room.get(f"/api/v1/nodes/{stage.room.nodes[0]}")["spec"]["unschedulable"]
        for plan in plans:
            stage.annotate(plan, {"loomidi.io/release": "enough"})
            stage.reaches(plan, "Released")
    assert stage.as_before()


def test_what_has_no_way_back_waits_for_a_person_in_mode_guarded(stage: Stage) -> None:
    stage.policy(mode="guarded", allow=[{"kind": "EVICT"}, {"kind": "TERMINATE"}])
    moved = stage.room.pods(app="web")[0]["metadata"]["name"]
    folds = [stage.one(FoldKind.EVICT, f"pod/{moved}", 2), stage.one(FoldKind.TERMINATE, "pod/web-0", 2)]
    with stage.operator():
        plans = [stage.propose(fold, Mode.AUTONOMOUS) for fold in folds]
        for plan in plans:
            stage.reaches(plan, "Guarded")
            wait(lambda plan=plan: "no way back" in stage.status(plan)["message"], "it says why it waits")  # type: ignore[misc]
            stage.annotate(plan, dict([approval_note(plan, "alice", SIGNER, time.time_ns())]))
            stage.reaches(plan, "Released")
    left = {pod["metadata"]["name"] for pod in stage.room.pods() if "deletionTimestamp" not in pod["metadata"]}
    assert not {moved, "web-0"} & left
    assert len(left) == 2
