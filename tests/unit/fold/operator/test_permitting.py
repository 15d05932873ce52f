"""What is at hand is said on the Fold and on its namespace, for as long as the driver works and no longer."""

import dataclasses
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.fold.operator.permitting import AT_HAND, Hand, named
from loomidi.fold.operator.views import View
from loomidi.fold.resources import fold_object
from loomidi.ionic.act.kube.api import KubeApi
from tests.unit.fold.operator.fakes import FOLDS, Stage, a_stage
from tests.unit.ionic.making import a_plan
from tests.unit.ionic.object_plans import an_object_plan

SPACE = "/api/v1/namespaces/default"


def at_hand(stage: Stage) -> tuple[str, str, list[str]]:
    """Label and annotation of the namespace, and the Folds that have the label."""
    metadata = stage.cluster.objects[SPACE]["metadata"]
    objects = stage.cluster.objects.items()
    labelled = [path for path, obj in objects if AT_HAND in obj["metadata"].get("labels", {})]
    said = (metadata.get("labels", {}).get(AT_HAND, ""), metadata.get("annotations", {}).get(AT_HAND, ""))
    return *said, sorted(path.rpartition("/")[2] for path in labelled if path.startswith(FOLDS))


def a_hand() -> tuple[Stage, Hand]:
    stage = a_stage()
    stage.cluster.put(SPACE, {"metadata": {"name": "default"}})
    return stage, Hand(KubeApi(stage.cluster.client()), lambda _: None)


def test_it_is_said_while_the_driver_works_and_taken_off_the_namespace_afterwards() -> None:
    stage, hand = a_hand()
    stage.until("Applying")
    name = stage.plan.fold.manifest["metadata"]["name"]
    with hand.holding(View(stage.fold)) as held:
        assert at_hand(stage) == (stage.plan.id, f"RECONFIGURE_NETWORK {name}", [stage.plan.id])
        assert held.metadata["resourceVersion"] == stage.fold["metadata"]["resourceVersion"]
    assert at_hand(stage) == ("", "", [stage.plan.id])


def test_a_fold_that_is_over_is_at_hand_to_be_taken_back_only() -> None:
    stage, hand = a_hand()
    stage.until("Released")
    with hand.holding(View(stage.fold)):
        assert at_hand(stage)[1].endswith(" back")


def test_what_was_at_hand_before_is_laid_down_first() -> None:
    stage, hand = a_hand()
    other = a_plan("rate")
    left = fold_object(other, "default")
    stage.cluster.put(f"{FOLDS}/{other.id}", left | {"metadata": left["metadata"] | {"labels": {AT_HAND: "true"}}})
    stage.cluster.put(SPACE, {"metadata": {"labels": {AT_HAND: other.id}, "annotations": {AT_HAND: "X y"}}})
    with hand.holding(View(stage.fold)):
        assert at_hand(stage)[::2] == (stage.plan.id, [stage.plan.id])


def test_the_namespace_is_read_once_and_again_when_somebody_else_has_written_it() -> None:
    stage, hand = a_hand()
    with hand.holding(View(stage.fold)):
        pass
    before = stage.cluster.asked["GET"]
    with hand.holding(View(stage.fold)):
        assert stage.cluster.asked["GET"] == before + 1  # who has the label
        stage.cluster.put(SPACE, stage.cluster.objects[SPACE])
    assert stage.cluster.asked["GET"] == before + 2
    assert at_hand(stage)[:2] == ("", "")


def test_what_fails_stays_at_hand_for_the_undo() -> None:
    stage, hand = a_hand()
    with pytest.raises(RuntimeError), hand.holding(View(stage.fold)):
        raise RuntimeError("the driver broke")
    assert at_hand(stage)[0] == stage.plan.id


def of(kind: FoldKind, target: str, manifest: str = "") -> FoldSpec:
    return FoldSpec(kind, target, "any", manifest={"metadata": {"name": manifest}} if manifest else {})


@pytest.mark.parametrize(
    ("fold", "name"),
    [
        (of(FoldKind.EVICT, "pod/shop/cart-0"), "cart-0"),
        (of(FoldKind.CORDON, "node/worker-1"), "worker-1"),
        (of(FoldKind.SCALE_OUT, "workload/shop/cart"), "cart"),
        (of(FoldKind.SCALE_OUT, "service/10.0.0.2:80/tcp", "web"), "web"),
        (of(FoldKind.ISOLATE_POD, "pod/shop/cart-0", "deny"), "cart-0"),
        (of(FoldKind.RECONFIGURE_NETWORK, "pod/shop/cart-0", "deny"), "deny"),
    ],
)
def test_a_fold_names_the_object_that_it_changes(fold: FoldSpec, name: str) -> None:
    assert named(fold) == name


def test_a_host_is_isolated_as_the_pod_that_its_manifest_notes() -> None:
    noted: dict[str, Any] = {"metadata": {"name": "deny", "annotations": {"loomidi.io/pod": "cart-0"}}}
    fold = dataclasses.replace(an_object_plan(FoldKind.ISOLATE_POD, target="host/10.0.0.2").fold, manifest=noted)
    assert named(fold) == "cart-0"
