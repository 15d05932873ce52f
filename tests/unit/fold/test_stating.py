"""What an isolation states: each conversation that it cuts, and what goes on by the word of the node's agent."""

import dataclasses
import json
from typing import Any

from loomidi.conductor.folds import story
from loomidi.contracts import BlastRadius, Conversation, FoldKind, Plan
from loomidi.fold.operator.views import View
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import plan_of
from loomidi.fold.stating import stated
from loomidi.ionic.documents import plan_id, read_plan
from tests.unit.ionic.making import NOW_NS, a_fold, a_plan

POD, NODE = "10.0.1.2", "10.0.1.1"
ASKS, PROBE = Conversation(POD, "10.0.2.2", 8080, 6), Conversation(NODE, POD, 8080, 6)
WORDS = Conversation(NODE, POD, 53, 17)


def an_isolation(*conversations: Conversation, unlisted: int = 0) -> Plan:
    fold = dataclasses.replace(a_fold(), kind=FoldKind.ISOLATE_POD, action="isolate", target="pod/shop/cart-0")
    fold = dataclasses.replace(fold, match=dataclasses.replace(fold.match, source=POD))
    return a_plan(fold=fold, blast_radius=BlastRadius(2, 3, 4, 5, 0.1, (), (), conversations, unlisted))


def applied(plan: Plan, *spares: str) -> dict[str, Any]:
    detail = {"cuts": [{"node": "n1", "made": True, "spares": list(spares)}]}
    one = {"id": "r1", "step": "applied", "atTime": "2026-01-01T00:00:00Z", "detail": detail}
    return fold_object(plan, "shop") | {"status": {"receipts": [one]}}


def test_the_plan_that_a_fold_holds_has_each_conversation() -> None:
    plan = an_isolation(ASKS, PROBE, unlisted=2)
    assert plan_of(json.loads(json.dumps(fold_object(plan, "shop")))) == plan
    assert read_plan(json.loads(json.dumps(plan.as_dict()))) == plan


def test_a_plan_of_an_older_version_keeps_its_id() -> None:
    plan = a_plan()
    assert "conversations" not in plan.as_dict()["blast_radius"]
    assert plan.id == plan_id(plan) == "plan-707f8b715e9b9b7e"


def test_what_the_node_asks_over_tcp_goes_on_once_its_agent_has_told_its_addresses() -> None:
    found = stated(applied(an_isolation(ASKS, PROBE, WORDS, unlisted=2), NODE))
    assert found is not None
    assert (found.cut, found.stays, found.unlisted) == ((ASKS, WORDS), (PROBE,), 2)


def test_before_the_cut_everything_counts_as_cut() -> None:
    found = stated(fold_object(an_isolation(ASKS, PROBE), "shop"))
    assert found is not None
    assert (found.cut, found.stays) == ((ASKS, PROBE), ())


def test_nothing_is_stated_of_what_was_not_measured_or_isolates_nothing() -> None:
    blind = dataclasses.replace(an_isolation(), blast_radius=BlastRadius(2**32, 0, 0, 0, 1.0))
    assert stated(fold_object(blind, "shop")) is None
    assert stated(fold_object(a_plan(), "shop")) is None


def test_the_story_tells_each_conversation() -> None:
    obj = applied(an_isolation(ASKS, PROBE, unlisted=2), NODE)
    obj["metadata"] |= {"uid": "u", "annotations": {}}
    told = {
        part.heading: part.text for part in story(View(obj | {"status": obj["status"] | {"phase": "Active"}}), NOW_NS)
    }
    assert told["Flow by flow"] == (
        f"It cuts: {POD} asks 10.0.2.2 port 8080 tcp. Beyond those, 2 that are not listed. "
        f"It lets go on: {NODE} asks {POD} port 8080 tcp."
    )
