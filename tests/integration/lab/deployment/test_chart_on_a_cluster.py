"""The chart's whole life on real nodes, in the order of the tests: installed, at work, upgraded, uninstalled.

Nothing of the cluster is imitated: pods of this checkout's image, their links, packets, the rules of the API server.
"""

import pytest

from loomidi.contracts import Mode
from loomidi.fold.resources import TERMINAL
from loomidi_lab.cluster.api import ApiRefused
from tests.integration.helm.charts import NAMESPACE, Object, pods, rendered
from tests.integration.lab.deployment.releases import (
    VALUES,
    Release,
    comes,
    is_ready,
    kernel_of,
    objects_of,
    programs_of,
)
from tests.integration.lab.deployment.shops import API, Shop

pytestmark = [pytest.mark.lab_long, pytest.mark.timeout(900)]
KEPT = {"folds.loomidi.io", "foldpolicies.loomidi.io"}


@pytest.fixture(scope="module")
def before(release: Release, shop: Shop) -> tuple[set[str], dict[str, str]]:
    """What the API server and the nodes hold without Loomidi."""
    lab = release.lab
    assert programs_of(lab) == {}
    return objects_of(lab), kernel_of(lab)


@pytest.fixture(scope="module")
def installed(release: Release, before: object) -> str:
    """What helm said after it."""
    return release.install()


def test_every_pod_is_ready_and_every_node_has_an_agent(release: Release, installed: str) -> None:
    release.settle()
    assert {pod["spec"]["nodeName"] for pod in release.pods("agent")} == {node.name for node in release.lab.nodes}
    assert [len(release.pods(part)) for part in ("pipeline", "operator", "nats")] == [1, 2, 1]
    assert "in mode shadow: it watches, judges and records, and changes nothing" in installed


def test_the_api_server_finds_everything_but_the_agents_restricted(release: Release, namespace: str) -> None:
    lab, labels = release.lab, {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.api.patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    refused = {}
    for name, template in pods(rendered(VALUES)).items():
        spec = template["spec"] | {"serviceAccountName": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "asked-"}, "spec": spec}
        try:
            lab.api.post(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        except ApiRefused as error:
            refused[name] = str(error)
    assert refused.keys() == {"DaemonSet/loomidi-agent"}, refused
    assert "violates PodSecurity" in refused["DaemonSet/loomidi-agent"]


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


def test_a_fold_in_shadow_is_judged_and_touches_nothing(shop: Shop, installed: str) -> None:
    shop.allow("SCALE_OUT")
    status = shop.reaches(shop.scale(Mode.SHADOW), "Guarded", "Denied")
    assert status["phase"] == "Guarded", status
    assert {one["guard"] for one in status["verdicts"]} >= {"driver", "floor", "rego:base"}
    assert shop.replicas() == 1


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


def test_a_fold_is_carried_out_by_the_rights_of_the_chart(shop: Shop, installed: str) -> None:
    status = shop.reaches(shop.scale(Mode.AUTONOMOUS), "Active", "Denied", "RolledBack")
    assert (status["phase"], shop.replicas()) == ("Active", 2), status


def test_an_uninstall_takes_back_what_is_in_force_and_leaves_no_trace(
    release: Release, shop: Shop, installed: str, before: tuple[set[str], dict[str, str]]
) -> None:
    lab = release.lab
    release.uninstall()
    phases = {one["status"]["phase"] for one in lab.api.list(f"{API}/folds")}
    assert {"Denied", "Released"} <= phases <= {phase.value for phase in TERMINAL}
    assert shop.replicas() == 1
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
