"""Plans as the decider makes them go through the API server and come back the same, id and all."""

import dataclasses

import pytest

from loomidi.contracts import Conversation, Finding, Plan
from loomidi.fold.resources import fold_object, plan_of
from loomidi.ionic.decide import propose
from loomidi.ionic.decide.places import Place, place
from loomidi.ionic.decide.radius import MOST_LISTED
from loomidi.ionic.documents import plan_id
from loomidi.origami.online import PATTERNS
from tests.integration.kube.crd.definitions import FOLDS
from tests.integration.kube.crd.servers import Kube
from tests.unit.ionic.making import a_finding, a_plan


def where(entity: str) -> Place:
    """Pods have addresses, as the pipeline knows them."""
    found = place(entity)
    return dataclasses.replace(found, address="10.244.1.7", uid="1") if found.kind == "pod" else found


def remove(kube: Kube, plan: Plan) -> None:
    """As the operator would let it go, which does not run here."""
    kube.api.patch(f"{FOLDS}/{plan.id}", {"metadata": {"finalizers": None}})
    kube.api.delete(f"{FOLDS}/{plan.id}")


TOLD_ONLY = {"neighbour_spoofing"}  # its address is a victim's (ADR 0093)


def plans(pattern: str) -> list[Plan]:
    """What is proposed against a pod of ours, an outsider and a service."""
    found: list[Finding] = [
        a_finding(pattern, entities=entities)
        for entities in (("pod/shop/cart-0", "host/203.0.113.7"), ("host/203.0.113.7", "service/10.0.0.2:80/tcp"))
    ]
    return [a_plan(finding=finding, fold=fold) for finding in found for fold in propose(finding, where)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_proposed_is_admitted_and_comes_back_as_it_was(kube: Kube, pattern: str) -> None:
    made = plans(pattern)
    assert bool(made) == (pattern not in TOLD_ONLY)
    for plan in made:
        if plan.fold.kind == "ISOLATE_POD" and not plan.fold.target.startswith("pod/"):
            continue
        obj = fold_object(plan, "default", policy="tests")
        stored = kube.api.post(FOLDS, obj)
        assert plan_of(stored) == plan
        assert plan_id(plan_of(stored)) == plan.id
        remove(kube, plan)


def test_a_plan_that_was_changed_has_another_id(kube: Kube) -> None:
    plan = a_plan()
    obj = fold_object(dataclasses.replace(plan, fold=dataclasses.replace(plan.fold, ttl_s=60.0)), "default")
    stored = kube.api.post(FOLDS, obj)
    assert plan_id(plan_of(stored)) != plan.id


def test_a_plan_with_as_many_conversations_as_are_listed_is_admitted(kube: Kube) -> None:
    every = tuple(Conversation("2001:db8::7", "2001:db8::8", port, 6) for port in range(MOST_LISTED))
    plan = a_plan(blast_radius=dataclasses.replace(a_plan().blast_radius, conversations=every, unlisted=1))
    stored = kube.api.post(FOLDS, fold_object(plan, "default"))
    assert plan_of(stored) == plan
    remove(kube, plan)
