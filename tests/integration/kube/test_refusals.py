"""What the driver refuses on a real API server, each with its reason, and touching nothing."""

import dataclasses
from collections.abc import Callable

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Mode
from loomidi.ionic.act.kube import KubeApi, KubeSettings
from loomidi.ionic.act.kube.removals import Removal
from loomidi.ionic.decide import manifests
from loomidi.ionic.decide.places import Place
from loomidi.ionic.errors import ApprovalInvalid, ChangedMeanwhile, NotActing
from tests.integration.kube import cases
from tests.integration.kube.cases import CASES, of, plan_of, stored
from tests.integration.kube.rooms import Room, wait
from tests.integration.kube.servers import Server
from tests.unit.ionic.acting import approved

POD_KINDS = {"isolate": cases.isolate, "evict": cases.evict, "terminate": cases.terminate}
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"


def why(room: Room, fold: FoldSpec) -> str:
    """The reason; nothing is changed by asking for it."""
    before = room.snapshot()
    told = room.driver.check(fold)
    assert room.snapshot() == before
    return str(told)


@pytest.mark.parametrize("namespace", KubeSettings().protected_namespaces)
def test_the_namespaces_of_the_system_are_never_touched(room: Room, namespace: str) -> None:
    for kind, action in ((FoldKind.ISOLATE_POD, "isolate"), (FoldKind.TERMINATE, "terminate")):
        assert "protected" in why(room, of(kind, action, f"pod/{namespace}/web-0"))
    for kind, action in ((FoldKind.SCALE_OUT, "scale"), (FoldKind.RESTART, "restart")):
        assert "protected" in why(room, of(kind, action, f"workload/{namespace}/web", replicas=1))


@pytest.mark.parametrize("what", ["label", "static", "priority"])
def test_a_pod_of_the_system_is_not_touched(room: Room, what: str) -> None:
    room.pod("web-0", app="web")
    if what == "label":
        room.merge(cases.POD, {"metadata": {"labels": {"loomidi.io/protected": "yes"}}})
    elif what == "static":
        room.remove(cases.POD)
        notes = {"kubernetes.io/config.mirror": "x", "kubernetes.io/config.source": "file"}
        spec = {"containers": [{"name": "main", "image": "none.invalid/none"}], "nodeName": room.node("a")}
        room.post("/api/v1/namespaces/{}/pods", {"metadata": {"name": "web-0", "annotations": notes}, "spec": spec})
    else:
        room.remove(cases.POD)
        spec = {"containers": [{"name": "main", "image": "none.invalid/none"}]}
        spec |= {"priorityClassName": "system-node-critical"}  # type: ignore[dict-item]
        room.post("/api/v1/namespaces/{}/pods", {"metadata": {"name": "web-0"}, "spec": spec})
    assert ("protected" if what == "label" else "system") in why(room, cases.isolate(room))


def test_the_nodes_of_the_control_plane_and_the_last_open_one_stay_open(room: Room) -> None:
    head = room.node("head", **{"node-role.kubernetes.io/control-plane": ""})
    assert "protected" in why(room, of(FoldKind.CORDON, "cordon", f"node/{head}"))
    for node in room.look.items("/api/v1/nodes"):
        room.merge(f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"unschedulable": True}})
    assert "last one" in why(room, of(FoldKind.CORDON, "cordon", f"node/{room.node('a')}"))


@pytest.mark.parametrize("kind", POD_KINDS)
def test_a_disruption_budget_is_not_broken(room: Room, kind: str) -> None:
    room.workload("StatefulSet", "web")
    room.budget(2, app="web")
    for at in range(2):
        room.ready(f"web-{at}")
    path = "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/budget"
    wait(lambda: room.get(path).get("status", {}).get("currentHealthy") == 2, "both pods count as healthy")
    fold = POD_KINDS[kind](room)
    assert "allows no disruption" in why(room, fold)
    room.merge(path, {"spec": {"minAvailable": 1}})
    wait(lambda: room.get(path)["status"]["disruptionsAllowed"] == 1, "one may go")
    assert room.driver.check(fold) is None


def test_a_budget_that_is_used_up_in_between_stops_the_eviction(room: Room) -> None:
    room.workload("Deployment", "web")
    for pod in room.pods(app="web"):
        room.ready(pod["metadata"]["name"])
    plan = plan_of(cases.evict(room))
    inverse, before = stored(room, plan), room.pods(app="web")
    room.budget(2, app="web")
    with pytest.raises((ChangedMeanwhile, NotActing), match="DisruptionBudget"):
        room.driver.apply(plan, approved(plan, "ada"))
    assert room.driver.undo(inverse)["undone"]
    assert [pod["metadata"]["uid"] for pod in room.pods(app="web")] == [pod["metadata"]["uid"] for pod in before]


def test_what_has_no_way_back_takes_a_person_in_mode_guarded(room: Room) -> None:
    room.workload("Deployment", "web")
    plan = plan_of(cases.terminate(room))
    stored(room, plan)
    with pytest.raises(NotActing, match="person"):
        room.driver.apply(plan, approved(plan))
    room.driver.apply(plan, approved(plan, "ada"))
    free = plan_of(cases.evict(room), Mode.AUTONOMOUS)
    stored(room, free)
    room.driver.apply(free, approved(free))


def test_without_an_approval_of_this_plan_nothing_is_done(room: Room) -> None:
    CASES["ISOLATE_POD"].stage(room)
    plan, before = plan_of(cases.isolate(room)), room.snapshot()
    stored(room, plan)
    other = plan_of(dataclasses.replace(plan.fold, ttl_s=61.0))
    with pytest.raises(ApprovalInvalid):
        room.driver.apply(plan, approved(other))
    assert room.snapshot() == before


def test_an_autoscaler_at_its_limit_is_not_raised(room: Room) -> None:
    room.workload("Deployment", "web")
    room.scaler("web", 3, 3)
    assert "raise maxReplicas" in why(room, cases.scale(room))


def test_an_autoscaler_is_raised_within_its_limit_and_the_workload_is_left_to_it(room: Room) -> None:
    room.workload("Deployment", "web")
    room.scaler("web", 2, 3)
    plan = plan_of(cases.scale(room))
    stored(room, plan)
    room.driver.apply(plan, approved(plan))
    assert room.get(cases.HPA)["spec"]["minReplicas"] == 3
    assert room.get(cases.DEPLOYMENT)["spec"]["replicas"] == 2


@pytest.mark.parametrize("replicas", [0, -1, 11])
def test_replicas_are_added_within_bounds(room: Room, replicas: int) -> None:
    room.workload("Deployment", "web")
    assert "may be added" in why(room, dataclasses.replace(cases.scale(room), replicas=replicas))


def test_the_manifest_of_a_proposal_names_the_workload_behind_a_service(room: Room) -> None:
    room.workload("Deployment", "web")
    manifest = manifests.scale("web", room.namespace, 2, {})
    fold = of(FoldKind.SCALE_OUT, "scale", "service/10.0.0.2:80/tcp", replicas=2, manifest=manifest)
    assert room.driver.check(fold) is None


def test_the_manifest_of_a_proposal_isolates_its_pod_and_no_namesake(room: Room) -> None:
    CASES["ISOLATE_POD"].stage(room)
    uid = room.get(cases.POD)["metadata"]["uid"]
    for known, sound in (("another", False), (uid, True)):
        pod = Place("pod", "10.244.0.9", namespace=room.namespace, name="web-0", uid=known)
        policy = manifests.isolation_policy("loomidi-isolate", pod, "finding-1", {})
        told = room.driver.check(dataclasses.replace(cases.isolate(room), manifest=policy))
        assert (told is None) is sound
    wide = policy | {"spec": policy["spec"] | {"podSelector": {}}}
    assert "deny-all" in why(room, dataclasses.replace(cases.isolate(room), manifest=wide))


def test_a_pod_that_no_removed_label_would_detach_is_not_said_to_be_isolated(room: Room) -> None:
    CASES["ISOLATE_POD"].stage(room)
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}
    room.post(POLICIES, {"metadata": {"name": "open"}, "spec": spec})
    assert "open" in why(room, cases.isolate(room))


def test_a_policy_that_would_open_what_another_closes_is_refused(room: Room) -> None:
    room.pod("web-0", app="web")
    room.post(POLICIES, {"metadata": {"name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    assert "add up" in why(room, cases.block(room))


def test_a_policy_that_would_meet_a_protected_pod_is_refused(room: Room) -> None:
    room.pod("web-0", app="web", **{"loomidi.io/protected": "true"})
    chosen: list[tuple[dict[str, object], bool]] = [
        ({"matchLabels": {"app": "web"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db", "cache"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "cache"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, False),
    ]
    for selector, sound in chosen:
        policy = dict(cases.block(room).manifest)
        policy = policy | {"spec": policy["spec"] | {"podSelector": selector}}
        told = room.driver.check(dataclasses.replace(cases.block(room), manifest=policy))
        assert (told is None) is sound, (selector, told)


def test_a_manifest_that_the_api_finds_wrong_is_refused_before_anything_is_done(room: Room) -> None:
    fold = cases.block(room)
    policy = dict(fold.manifest) | {"spec": {"podSelector": {}, "policyTypes": ["Sideways"]}}
    assert "Sideways" in why(room, dataclasses.replace(fold, manifest=policy))


REFUSED: dict[str, Callable[[Room], FoldSpec]] = {
    "cannot rate": lambda room: dataclasses.replace(cases.block(room), action="rate", rate_pps=5),
    "nothing that is done": lambda room: dataclasses.replace(cases.isolate(room), action="drop"),
    "TTL": lambda room: dataclasses.replace(cases.isolate(room), ttl_s=0.0),
    "is not there": cases.isolate,
    "there is no": cases.scale,
    "names no pod": lambda room: dataclasses.replace(cases.isolate(room), target="host/10.0.0.9"),
    "names no workload": lambda room: dataclasses.replace(cases.scale(room), target="service/10.0.0.2:80/tcp"),
    "names no node": lambda room: of(FoldKind.CORDON, "cordon", "node/"),
    "no NetworkPolicy": lambda room: dataclasses.replace(cases.block(room), manifest={}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_fold_that_makes_no_sense_here_is_refused_with_its_reason(room: Room, reason: str) -> None:
    assert reason in why(room, REFUSED[reason](room))


def test_there_is_nothing_to_go_back_to_before_the_first_rollout(room: Room) -> None:
    room.workload("Deployment", "web")
    assert "no earlier" in why(room, cases.roll_back(room))


@pytest.mark.parametrize("kind", [cases.restart, cases.roll_back])
def test_a_workload_that_would_not_roll_is_not_said_to_be_restarted(
    room: Room, kind: Callable[[Room], FoldSpec]
) -> None:
    room.workload("Deployment", "web")
    room.merge(cases.DEPLOYMENT, {"spec": {"paused": True}})
    assert "paused" in why(room, kind(room))


def test_a_stateful_set_that_waits_for_deletions_is_not_said_to_be_restarted(room: Room) -> None:
    room.workload("StatefulSet", "web")
    strategy = {"type": "OnDelete", "rollingUpdate": None}
    room.merge("/apis/apps/v1/namespaces/{}/statefulsets/web", {"spec": {"updateStrategy": strategy}})
    assert "OnDelete" in why(room, cases.restart(room))


def test_the_eviction_itself_asks_the_budget(room: Room) -> None:
    room.workload("Deployment", "web")
    names = [pod["metadata"]["name"] for pod in room.pods(app="web")]
    for name in names:
        room.ready(name)
    room.budget(2, app="web")
    path = "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/budget"
    wait(lambda: room.get(path).get("status", {}).get("currentHealthy") == 2, "both pods count as healthy")
    pod = room.get(f"/api/v1/namespaces/{{}}/pods/{names[0]}")
    removal = Removal(f"/api/v1/namespaces/{room.namespace}/pods/{names[0]}", pod["metadata"]["uid"], "evict")
    with pytest.raises(ChangedMeanwhile, match="decide again later"):
        removal.apply(room.look, "plan-1")
    assert room.get(f"/api/v1/namespaces/{{}}/pods/{names[0]}")["metadata"]["uid"] == pod["metadata"]["uid"]


def test_a_user_without_the_role_is_told_which_one_to_grant(room: Room, server: Server) -> None:
    room.pod("web-0", app="web")
    with server.user("nobody") as client:
        assert "operator.yaml" in str(room.new_driver(KubeApi(client)).check(cases.isolate(room)))


def test_a_resource_that_could_not_be_taken_away_again_is_not_added(room: Room) -> None:
    room.pod("web-0", app="web")
    added = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "1Gi"}}}]}}
    assert "no way back" in why(room, dataclasses.replace(cases.resize(room), manifest=added))


def test_a_pod_that_nobody_would_make_anew_is_not_evicted(room: Room) -> None:
    room.pod("web-0", app="web")
    assert "nobody" in why(room, cases.evict(room))
