"""The life of a Fold as the API server enforces it: phases, the fixed spec, status by its subresource only."""

import pytest

from loomidi.fold.resources import NEXT, OPEN, Phase
from loomidi.fold.resources.phases import FIRST, WRITTEN
from loomidi_lab.cluster.api import ApiRefused, Object
from tests.integration.kube.crd.definitions import FOLDS, INTENT, VERDICT, fold, made, move
from tests.integration.kube.crd.servers import Kube

MANIFEST = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"deep": {"er": "one"}}}
FIXED = "the spec of a Fold is fixed once it is approved: deny or release this one and make a new Fold"


def way_to(phase: Phase) -> list[Phase]:
    """The shortest way from Proposed."""
    ways = [[Phase.PROPOSED]]
    while ways[0][-1] is not phase:
        way = ways.pop(0)
        ways += [[*way, after] for after in NEXT[way[-1]]]
    return ways[0]


@pytest.mark.parametrize("old", Phase)
def test_a_phase_is_followed_by_those_of_the_table_and_by_no_other(kube: Kube, old: Phase) -> None:
    for new in Phase:
        path = made(kube, *way_to(old))
        if new is old or new in WRITTEN[old]:
            assert move(kube, path, new)["status"]["phase"] == new
            continue
        with pytest.raises(ApiRefused, match=f"phase {old} cannot become {new}: "):
            move(kube, path, new)


@pytest.mark.parametrize("phase", Phase)
def test_a_life_begins_untouched(kube: Kube, phase: Phase) -> None:
    path = made(kube)
    if phase in FIRST:
        assert move(kube, path, phase)["status"]["phase"] == phase
        return
    with pytest.raises(ApiRefused, match="a Fold begins untouched"):
        move(kube, path, phase)


@pytest.mark.parametrize("receipts", [None, [INTENT | {"step": "applied"}]])
def test_nothing_is_applied_without_a_stored_inverse(kube: Kube, receipts: list[Object] | None) -> None:
    path = made(kube)
    with pytest.raises(ApiRefused, match="no phase from Applying on without a stored inverse"):
        move(kube, path, Phase.APPLYING, receipts=receipts)


def test_a_phase_is_never_taken_away(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED)
    with pytest.raises(ApiRefused, match="a phase is never taken away"):
        kube.api.patch(f"{path}/status", {"status": {"phase": None, "message": "again"}})


def test_a_status_is_never_taken_away(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED, Phase.GUARDED, Phase.APPROVED)
    with pytest.raises(ApiRefused, match="a phase is never taken away"):
        kube.api.patch(f"{path}/status", {"status": None})
    assert kube.api.get(path)["status"]["phase"] == Phase.APPROVED


@pytest.mark.parametrize("phase", Phase)
def test_the_spec_changes_while_it_is_open_and_is_fixed_afterwards(kube: Kube, phase: Phase) -> None:
    path = made(kube, *way_to(phase), manifest=MANIFEST)
    for change in ({"ttlSeconds": 30}, {"manifest": {"data": {"deep": {"er": "two"}}}}, {"undo": "by hand"}):
        if phase in OPEN:
            assert kube.api.patch(path, {"spec": change})["metadata"]["generation"] > 1
            continue
        with pytest.raises(ApiRefused, match=FIXED):
            kube.api.patch(path, {"spec": change})


def test_what_was_left_out_cannot_be_added_once_it_is_approved(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED, Phase.GUARDED, Phase.APPROVED)
    for change in ({"undo": "by hand"}, {"manifest": MANIFEST}, {"verify": {"timeoutSeconds": 60}}):
        with pytest.raises(ApiRefused, match=FIXED):
            kube.api.patch(path, {"spec": change})


def test_labels_and_annotations_change_in_any_phase(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED, Phase.GUARDED, Phase.APPROVED)
    changed = kube.api.patch(path, {"metadata": {"annotations": {"note": "seen"}}})
    assert changed["metadata"]["annotations"] == {"note": "seen"}
    assert changed["metadata"]["generation"] == 1


@pytest.mark.parametrize("how", ["post", "patch"])
def test_a_status_that_does_not_come_by_the_subresource_is_not_taken(kube: Kube, how: str) -> None:
    if how == "post":
        obj = kube.api.post(FOLDS, fold() | {"status": {"phase": "Active"}})
    else:
        obj = kube.api.patch(made(kube, Phase.PROPOSED), {"status": {"phase": "Guarded"}})
    assert obj.get("status", {}).get("phase") == (None if how == "post" else "Proposed")


def test_the_subresource_leaves_the_spec_alone(kube: Kube) -> None:
    path = made(kube)
    changed = kube.api.patch(f"{path}/status", {"spec": {"ttlSeconds": 1}, "status": {"phase": "Proposed"}})
    assert changed["spec"]["ttlSeconds"] == 60
    assert changed["metadata"]["generation"] == 1


def test_shadow_is_the_default_and_is_never_approved(kube: Kube) -> None:
    obj = fold()
    del obj["spec"]["mode"]
    path = f"{FOLDS}/{kube.api.post(FOLDS, obj)['metadata']['name']}"
    assert kube.api.get(path)["spec"]["mode"] == "shadow"
    move(kube, path, Phase.PROPOSED)
    move(kube, path, Phase.GUARDED)
    with pytest.raises(ApiRefused, match="a Fold in mode shadow touches nothing"):
        move(kube, path, Phase.APPROVED)
    move(kube, path, Phase.EXPIRED)


def test_a_fencing_token_never_becomes_smaller(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED)
    move(kube, path, Phase.PROPOSED, lease={"holder": "b", "token": 8})
    with pytest.raises(ApiRefused, match="a fencing token never becomes smaller"):
        move(kube, path, Phase.PROPOSED, lease={"holder": "a", "token": 7})
    with pytest.raises(ApiRefused, match="a lease is never taken away"):
        move(kube, path, Phase.PROPOSED, lease=None)


@pytest.mark.parametrize("verdicts", [[], [VERDICT | {"allow": False}], [{"guard": "rego", "rule": "silent"}, VERDICT]])
def test_no_fold_is_guarded_unless_every_guard_has_said_yes(kube: Kube, verdicts: list[Object]) -> None:
    path = made(kube, Phase.PROPOSED)
    with pytest.raises(ApiRefused, match="no phase from Guarded on without a yes of every guard"):
        move(kube, path, Phase.GUARDED, verdicts=verdicts)
    assert move(kube, path, Phase.DENIED, verdicts=verdicts)["status"]["phase"] == Phase.DENIED


def test_no_fold_is_approved_without_an_approval(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED, Phase.GUARDED)
    with pytest.raises(ApiRefused, match="no phase from Approved on without an approval"):
        move(kube, path, Phase.APPROVED, approvals=None)


def test_a_receipt_is_added_and_never_changed(kube: Kube) -> None:
    path = made(kube, *way_to(Phase.APPROVED))
    intent = {"id": "1", "step": "intent", "atTime": "2026-01-01T00:00:00Z", "inverse": {"labels": {"remove": ["a"]}}}
    applied = {"id": "2", "step": "applied", "atTime": "2026-01-01T00:00:01Z"}
    move(kube, path, Phase.APPLYING, receipts=[intent])
    assert len(move(kube, path, Phase.APPLYING, receipts=[intent, applied])["status"]["receipts"]) == 2
    with pytest.raises(ApiRefused, match="a receipt is never changed"):
        move(kube, path, Phase.APPLYING, receipts=[intent | {"inverse": {"labels": {"remove": ["b"]}}}, applied])


def test_conditions_are_merged_by_type(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED)
    for kind in ("Guarded", "Approved", "Guarded"):
        condition = {"type": kind, "status": "True", "reason": "Test", "message": "", "observedGeneration": 1}
        obj = {"apiVersion": "loomidi.io/v1alpha1", "kind": "Fold", "metadata": {"name": path.rpartition("/")[2]}}
        status = {"phase": "Proposed", "conditions": [condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        kube.apply(f"{path}/status", obj | {"status": status}, manager=kind)
    assert {one["type"] for one in kube.api.get(path)["status"]["conditions"]} == {"Guarded", "Approved"}
