"""The whole service over a real API server, as the user that has the role of the transformer API."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from loomidi.fold.resources import plan_of
from loomidi.services.transformer_api.handling import FAULTS
from tests.integration.kube.operator.granting import DEPLOYMENTS, RBAC, applied, establish
from tests.integration.kube.servers import Server
from tests.integration.transformer.running import SCAN, Service

USER = "loomidi-transformer"
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/default/folds"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def kubeconfig(server: Server, admin: httpx.Client) -> Path:
    """Of a user with nothing but the role that is shipped."""
    establish(admin)
    role = yaml.safe_load((DEPLOYMENTS / "rbac" / "transformer.yaml").read_text())
    applied(admin, f"{RBAC}/clusterroles/{USER}", role)
    named = {"apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"kind": "ClusterRole", "name": USER, **named},
        "subjects": [{"kind": "User", "name": USER, **named}],
    }
    applied(admin, f"{RBAC}/clusterrolebindings/{USER}", binding)
    server.user(USER).close()
    return server.kubeconfig.with_name(f"{USER}.kubeconfig")


@pytest.fixture
def service(kubeconfig: Path, admin: httpx.Client, tmp_path: Path) -> Iterator[Service]:
    for fold in admin.get(FOLDS).json()["items"]:
        path = f"{FOLDS}/{fold['metadata']['name']}"
        free = admin.patch(path, json={"metadata": {"finalizers": None}}, headers=MERGE)  # no operator runs here
        assert free.is_success, free.text
        admin.delete(path)
    found = Service(tmp_path, options=("--kubeconfig", str(kubeconfig), "--mode", "guarded"))
    yield found
    found.kill()


def plan(service: Service) -> str:
    identity = service.post("/analyze/anomaly", SCAN).json()["anomaly_id"]
    return str(service.post("/action/propose-fold", {"anomaly_id": identity}).json()["plan_id"])


def test_a_plan_that_is_begun_is_a_fold_whose_plan_is_the_one_that_was_judged(
    service: Service, admin: httpx.Client
) -> None:
    identity = plan(service.start())
    answers = [service.post("/action/initiate", {"plan_id": identity}, key=key) for key in ("a", "b")]
    assert [answer.json().get("state") for answer in answers] == ["proposed"] * 2, answers[0].text
    (fold,) = admin.get(FOLDS).json()["items"]
    assert (plan_of(fold).id, fold["spec"]["mode"], fold.get("status")) == (identity, "guarded", None)
    told = service.get(f"/decisions/{identity}")
    assert (told["fold"]["phase"], told["folds_problem"]) == ("Proposed", "")
    finding = service.get(f"/findings/{told['anomaly_id']}")
    assert [one["name"] for one in finding["folds"]] == [identity]


def test_a_second_plan_for_the_same_target_is_refused_while_the_first_is_at_work(
    service: Service, admin: httpx.Client
) -> None:
    service.start()
    service.post("/action/initiate", {"plan_id": plan(service)})
    listed = service.get("/decisions?state=allowed")["decisions"]
    answer = service.post("/action/initiate", {"plan_id": listed[0]["plan_id"]})
    assert (answer.status_code, answer.json()["reason"]) == (409, "at-work")
    assert len(admin.get(FOLDS).json()["items"]) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_after_the_fold_was_posted_there_is_one_and_it_is_found(
    service: Service, admin: httpx.Client, fault: str
) -> None:
    identity = plan(service.start())
    service.kill()
    service.start_to_die(fault, passes=1)
    with pytest.raises(httpx.TransportError):
        service.post("/action/initiate", {"plan_id": identity}, key="k")
    assert service.process is not None
    assert service.process.wait(30) == -9
    assert len(admin.get(FOLDS).json()["items"]) == 1
    service.start()
    assert service.post("/action/initiate", {"plan_id": identity}, key="k").json()["state"] == "proposed"
    assert len(admin.get(FOLDS).json()["items"]) == 1
