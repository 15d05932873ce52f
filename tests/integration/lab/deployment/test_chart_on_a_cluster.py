"""The chart's whole life on real nodes, in the order of the tests: installed, at work, upgraded, uninstalled.

Nothing of the cluster is imitated: pods of this checkout's image, their links, packets, the rules of the API server.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Mode, Plan
from loomidi.fold.resources import TERMINAL, fold_object
from loomidi_lab.cluster import Lab
from tests.integration.helm.charts import NAMESPACE
from tests.integration.lab.deployment.releases import (
    Release,
    comes,
    is_ready,
    kernel_of,
    objects_of,
    programs_of,
)
from tests.unit.ionic.making import a_finding, a_plan

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
SHOP = "deployed"
KEPT = {"folds.loomidi.io", "foldpolicies.loomidi.io"}
API = "/apis/loomidi.io/v1alpha1"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def before(release: Release, shop_pods: None) -> tuple[set[str], dict[str, str]]:
    """What the API server and the nodes hold without Loomidi."""
    lab = release.lab
    assert programs_of(lab) == {}
    return objects_of(lab), kernel_of(lab)


@pytest.fixture(scope="module")
def installed(release: Release, before: object) -> str:
    """What helm said after it."""
    return release.install()


@pytest.fixture(scope="module")
def shop_pods(imaged: Lab) -> Iterator[None]:
    """A server, and a client that asks it once a second from the other node."""
    imaged.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}])
    comes(lambda: imaged.api.exists(f"/api/v1/namespaces/{SHOP}/serviceaccounts/default"))
    ask = "while sleep 1; do curl -s -o /dev/null http://web.deployed.svc:8080/; done"
    imaged.apply(
        [
            workload(
                "web", {"name": "web", "image": "lab.loomidi.io/nginx:1", "ports": [{"containerPort": 8080}]}, "n1"
            ),
            workload(
                "asking", {"name": "asking", "image": "lab.loomidi.io/base:1", "command": ["sh", "-c", ask]}, "n2"
            ),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web", "namespace": SHOP},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080}]},
            },
        ]
    )
    path = f"/api/v1/namespaces/{SHOP}/pods"
    comes(lambda: imaged.api.list(path), lambda pods: len(pods) == 2 and all(map(is_ready, pods)))
    yield
    imaged.kubectl("delete", "namespace", SHOP, "--wait=false", check=False)


def workload(name: str, container: Object, node: str) -> Object:
    """A Deployment of one pod."""
    labels = {"app": name}
    pod = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 1}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    meta = {"name": name, "namespace": SHOP}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def propose(lab: Lab, mode: Mode) -> Plan:
    """A Fold that would scale the server out by one."""
    now_ns = time.time_ns()
    because, target = "finding-0123456789abcdef", f"workload/{SHOP}/web"
    fold = FoldSpec(
        FoldKind.SCALE_OUT, target, "scale", ttl_s=300.0, undo="in the receipt", because=because, replicas=1
    )
    finding = a_finding(id=fold.because, first_ns=now_ns - 10**9, last_ns=now_ns)
    plan = a_plan(fold=fold, mode=mode, finding=finding, created_ns=now_ns, expires_ns=now_ns + 300 * 10**9)
    lab.api.post(f"{API}/namespaces/{SHOP}/folds", fold_object(plan, SHOP, policy="scaling"))
    return plan


def fold(lab: Lab, plan: Plan) -> Object:
    """As it is now."""
    found: Object = lab.api.get(f"{API}/namespaces/{SHOP}/folds/{plan.id}")
    return found


def phase(lab: Lab, plan: Plan) -> str:
    """Where it is."""
    return str((fold(lab, plan).get("status") or {}).get("phase", ""))


def replicas(lab: Lab) -> int:
    """Of the server, as asked for."""
    return int(lab.api.get(f"/apis/apps/v1/namespaces/{SHOP}/deployments/web")["spec"]["replicas"])


def test_every_pod_is_ready_and_every_node_has_an_agent(release: Release, installed: str) -> None:
    pods = release.pods()
    assert all(map(is_ready, pods)), release.told()
    assert {pod["spec"]["nodeName"] for pod in release.pods("agent")} == {node.name for node in release.lab.nodes}
    assert [len(release.pods(part)) for part in ("pipeline", "operator", "nats")] == [1, 2, 1]
    assert "in mode shadow: it watches, judges and records, and changes nothing" in installed


def test_the_agents_guard_every_pod_link_by_programs_in_the_kernel(release: Release, installed: str) -> None:
    lab = release.lab
    links = {f"{one.node}/{one.name}" for one in lab.links() if one.pod}
    comes(lambda: set(programs_of(lab)), lambda found: links <= found)


def test_flows_of_pods_reach_the_lake_by_their_names(release: Release, installed: str) -> None:
    """On the client's link it asks the Service, on the server's link it is the pod that answers."""
    sql = (
        "select distinct exporter, split_part(destination_entity, '/', 1) what from flows "
        "where source_entity like 'pod/deployed/asking-%' "
        "and (destination_entity = 'service/deployed/web' or destination_entity like 'pod/deployed/web-%')"
    )
    wanted = {("n1", "pod"), ("n2", "service")}
    comes(lambda: {(row["exporter"], row["what"]) for row in release.query(sql)}, lambda found: wanted <= found)


def test_one_replica_of_the_operator_holds_the_lease(release: Release, installed: str) -> None:
    names = {pod["metadata"]["name"] for pod in release.pods("operator")}
    assert comes(release.holder) in names


def test_a_fold_in_shadow_is_judged_and_touches_nothing(release: Release, installed: str) -> None:
    lab = release.lab
    lab.api.post(f"{API}/foldpolicies", policy())
    plan = propose(lab, Mode.SHADOW)
    comes(lambda: phase(lab, plan), lambda found: found in ("Guarded", "Denied"))
    status = fold(lab, plan)["status"]
    assert status["phase"] == "Guarded", status
    assert {one["guard"] for one in status["verdicts"]} >= {"driver", "floor", "rego:base"}
    assert replicas(lab) == 1


def policy() -> Object:
    """Scaling is allowed here, as far as anybody asks."""
    named = {"kubernetes.io/metadata.name": SHOP}
    spec: Object = {
        "mode": "autonomous",
        "when": {"patterns": ["*"], "namespaceSelector": {"matchLabels": named}},
        "allow": [{"kind": "SCALE_OUT"}],
        "verify": {"stableForSeconds": 0, "timeoutSeconds": 60},
    }
    return {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"name": "scaling"}, "spec": spec}


def test_an_upgrade_rolls_what_changed_and_keeps_folds_and_secrets(release: Release, installed: str) -> None:
    lab = release.lab
    folds, secrets = lab.api.list(f"{API}/folds"), made_secrets(release)
    before = {part: settled(release, part) for part in ("operator", "pipeline", "nats", "agent")}
    release.upgrade(mode="autonomous")
    after = {part: comes(lambda part=part: settled(release, part)) for part in before}
    assert {part for part in before if after[part] == before[part]} == {"nats", "agent"}
    assert not after["operator"] & before["operator"]
    assert made_secrets(release) == secrets
    assert folds
    assert {one["metadata"]["uid"] for one in folds} <= {one["metadata"]["uid"] for one in lab.api.list(f"{API}/folds")}
    comes(release.holder, lambda holder: holder in after["operator"])


def settled(release: Release, part: str) -> set[str]:
    """Names of its pods, once all are ready and none is on its way out."""
    pods = release.pods(part)
    busy = any("deletionTimestamp" in pod["metadata"] or not is_ready(pod) for pod in pods)
    return set() if busy else {pod["metadata"]["name"] for pod in pods}


def made_secrets(release: Release) -> list[Object]:
    """Those that the chart makes."""
    return [release.secret(name) for name in ("loomidi-nats-auth", "loomidi-approval")]


def test_a_fold_is_carried_out_by_the_rights_of_the_chart(release: Release, installed: str) -> None:
    lab = release.lab
    plan = propose(lab, Mode.AUTONOMOUS)
    comes(lambda: phase(lab, plan), lambda found: found in ("Active", "Denied", "RolledBack"))
    assert (phase(lab, plan), replicas(lab)) == ("Active", 2), fold(lab, plan)["status"]


def test_an_uninstall_takes_back_what_is_in_force_and_leaves_no_trace(
    release: Release, installed: str, before: tuple[set[str], dict[str, str]]
) -> None:
    lab = release.lab
    release.uninstall()
    phases = {one["status"]["phase"] for one in lab.api.list(f"{API}/folds")}
    assert {"Denied", "Released"} <= phases <= {phase.value for phase in TERMINAL}
    assert replicas(lab) == 1
    comes(lambda: programs_of(lab), lambda found: found == {})  # agents end in order, within their grace
    comes(lambda: kernel_of(lab), lambda found: found == before[1])
    left = comes(lambda: objects_of(lab) - before[0], lambda left: not any(NAMESPACE in one for one in left))
    assert {one.rpartition("/")[2] for one in left if "customresourcedefinitions" in one} == KEPT
    assert [
        one
        for one in left
        if "loomidi" in one.lower() and not any(kept in one for kept in ("customresource", "apiservices", API))
    ] == []


def test_one_command_removes_what_helm_keeps(release: Release, before: tuple[set[str], dict[str, str]]) -> None:
    lab = release.lab
    lab.kubectl("delete", "crd", *KEPT, timeout_s=60)
    ours = lambda: {one for one in objects_of(lab) - before[0] if "loomidi" in one.lower()}  # noqa: E731
    comes(ours, lambda left: not left)
