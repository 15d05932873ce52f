"""Folds by each means, through the operator under the policies of deployments/admission; and the samples of these."""

import dataclasses
from collections.abc import Iterator

import httpx
import pytest

from loomidi.fold.operator.orphans import orphans
from loomidi.ionic.act.kube import KubeApi
from tests.integration.kube.admission.floors import Floor, FloorStage
from tests.integration.kube.admission.requests import Asked, samples
from tests.integration.kube.means.cases import CASES, PATHS, MeansRoom, served
from tests.integration.kube.rooms import wait
from tests.integration.kube.servers import Server

TOLD = {
    "Cilium's, chosen": "CiliumNetworkPolicy {}/loomidi-drop (Cilium runs here)",
    "Cilium's, asked for": "CiliumNetworkPolicy {}/loomidi-one (means cilium was asked for)",
    "Istio's deny": "AuthorizationPolicy {}/loomidi-one (the fold carries it)",
    "Istio's ejection": "DestinationRule {}/loomidi-one (the fold carries it)",
}


def test_every_definition_is_served_by_the_api_server(server: Server, theirs: list[str]) -> None:
    assert {"ciliumnetworkpolicies.cilium.io", "ciliumnodes.cilium.io"} <= set(theirs)
    assert {"authorizationpolicies.security.istio.io", "destinationrules.networking.istio.io"} <= set(theirs)


@pytest.mark.parametrize("name", CASES)
def test_a_fold_is_carried_out_says_by_what_and_is_taken_back(name: str, stage: FloorStage) -> None:
    served(stage.room)
    stage.before = stage.room.snapshot()
    with stage.operator():
        plan = stage.propose(CASES[name].fold(stage.room))
        stage.reaches(plan, "Active")
        (made,) = stage.room.look.items(PATHS[name].format(stage.namespace))
        status, told = stage.status(plan), TOLD[name].format(stage.namespace)
        stage.annotate(plan, {"loomidi.io/release": "enough"})
        stage.reaches(plan, "Released")
    assert made["metadata"]["annotations"]["loomidi.io/plan"] == plan.id
    assert f"it can be done by {told}" in [one["reason"] for one in status["verdicts"] if one["guard"] == "driver"]
    assert told in next(one["message"] for one in status["conditions"] if one["type"] == "Applied")
    assert stage.as_before()


def test_a_service_that_goes_supersedes_the_ejection(stage: FloorStage) -> None:
    served(stage.room)
    with stage.operator():
        plan = stage.propose(CASES["Istio's ejection"].fold(stage.room))
        stage.reaches(plan, "Active")
        stage.room.remove("/api/v1/namespaces/{}/services/front")
        stage.annotate(plan, {"looked": "now"})
        stage.reaches(plan, "Superseded", timeout_s=60.0)
    assert stage.room.look.items(PATHS["Istio's ejection"].format(stage.namespace)) == []


def test_a_means_that_the_cluster_lacks_is_denied_with_the_reason(stage: FloorStage) -> None:
    served(stage.room)
    with stage.operator():
        plan = stage.propose(dataclasses.replace(CASES["Cilium's, chosen"].fold(stage.room), means="agent"))
        wait(lambda: stage.phase(plan) == "Denied", "it is denied", 30)
    assert "means agent" in stage.status(plan)["message"]


def test_an_object_whose_fold_is_gone_is_told_and_left(room: MeansRoom, operator: httpx.Client) -> None:
    served(room)
    for name, path in PATHS.items():
        body = dict(CASES[name].fold(room).manifest)
        if body["kind"] != "NetworkPolicy":
            room.post(path, body | {"metadata": {"name": "orphan", "annotations": {"loomidi.io/plan": "plan-gone"}}})
    found = [one for one in orphans(KubeApi(operator), [], room.driver) if one.plan == "plan-gone"]
    assert {one.path.rpartition("/")[0].rpartition(": ")[0].rpartition("/")[2] for one in found} == {
        "ciliumnetworkpolicies",
        "authorizationpolicies",
        "destinationrules",
    }
    assert all(one.done.startswith("left: its Fold is gone") for one in found)


@pytest.fixture
def asked(request: pytest.FixtureRequest, floor: Floor) -> Iterator[Asked]:
    asked = Asked(floor, request.param)
    yield asked
    asked.close()


@pytest.mark.parametrize("asked", samples("definitions"), ids=str, indirect=True)
def test_a_sample_is_answered_as_it_says(asked: Asked) -> None:
    asked.prepared()
    answer = asked.answer()
    if "refused" in asked.told:
        assert answer.status_code in (403, 422), answer.text
        assert asked.told["refused"] in answer.json()["message"]
    else:
        assert answer.is_success, answer.text
