"""A Fold's life with the shipped rights alone, on an API server with the policies of deployments/admission."""

from tests.integration.kube.admission.floors import Floor, FloorStage
from tests.integration.kube.rooms import USER

POD = "/api/v1/namespaces/{}/pods/web-0"


def test_a_fold_holds_under_the_policies_and_leaves_nothing_at_hand(stage: FloorStage, floor: Floor) -> None:
    with stage.operator():
        plan = stage.propose(stage.block())
        stage.reaches(plan, "Active")
        assert not stage.as_before()
        stolen = {"metadata": {"labels": {"x": "y"}, "annotations": {"loomidi.io/plan": plan.id}}}
        told = floor.refused(USER, "PATCH", POD, stolen)  # with the operator's token, while a Fold is in force
        stage.annotate(plan, {"loomidi.io/release": "enough"})
        stage.reaches(plan, "Released")
    assert "no Fold is at hand" in told
    assert stage.as_before()
    assert "loomidi.io/at-hand" not in stage.room.get("/api/v1/namespaces/{}")["metadata"]["labels"]
