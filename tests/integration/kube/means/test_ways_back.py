"""Each means on a real API server with the definitions of Cilium and Istio: what holds of every kind holds of them.

The driver acts as a user of its own with the generated role: the admission policies know the operator by its name, and
here no Fold is at hand.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from loomidi.contracts import Plan
from tests.integration.kube import test_ways_back
from tests.integration.kube.admission.floors import granted
from tests.integration.kube.cases import Case, plan_of, stored
from tests.integration.kube.means.cases import CASES, PATHS
from tests.integration.kube.rooms import Room
from tests.integration.kube.servers import Server
from tests.unit.ionic.acting import approved

globals().update({name: test for name, test in vars(test_ways_back).items() if name.startswith("test_")})


@pytest.fixture(scope="module")
def operator(server: Server, admin: httpx.Client) -> Iterator[httpx.Client]:
    granted(admin, "loomidi-act", "driver")
    with server.user("driver") as client:
        yield client


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, room: Room) -> Case:
    """With its stage set."""
    CASES[request.param].stage(room)
    return CASES[request.param]


def in_force(name: str, room: Room) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """The plan of a case, its inverse and the object that was made."""
    CASES[name].stage(room)
    plan = plan_of(CASES[name].fold(room))
    inverse = stored(room, plan)
    room.driver.apply(plan, approved(plan))
    (made,) = room.look.items(PATHS[name].format(room.namespace))
    return plan, inverse, made


@pytest.mark.parametrize("name", CASES)
def test_what_somebody_has_edited_since_is_left_to_them(name: str, room: Room) -> None:
    plan, inverse, made = in_force(name, room)
    path = f"{PATHS[name]}/{made['metadata']['name']}"
    selects = {"selector": {"matchLabels": {"app": "theirs"}}}
    changes = {"CiliumNetworkPolicy": {"description": "theirs"}, "DestinationRule": {"exportTo": ["."]}}
    room.merge(path, {"spec": changes.get(made["kind"], selects)})
    assert "edited" in room.driver.verify(plan)["found"]
    (left,) = room.driver.undo(inverse)["left"]
    assert "left to them" in left
    assert "annotations" not in room.get(path)["metadata"] or "loomidi.io/plan" not in json.dumps(room.get(path))


@pytest.mark.parametrize("name", CASES)
def test_another_of_the_same_name_is_not_touched(name: str, room: Room) -> None:
    _, inverse, made = in_force(name, room)
    path = f"{PATHS[name]}/{made['metadata']['name']}"
    room.remove(path)
    kept = {key: made[key] for key in ("apiVersion", "kind", "spec")}
    room.post(PATHS[name], kept | {"metadata": {"name": made["metadata"]["name"]}})
    before = room.snapshot()
    assert "another made it" in room.driver.undo(inverse)["left"][0]
    assert room.snapshot() == before


def test_what_the_api_finds_wrong_is_refused_before_anything_is_done(room: Room) -> None:
    case = CASES["Istio's ejection"]
    case.stage(room)
    fold = case.fold(room)
    fold.manifest["spec"]["exportTo"] = "nobody"
    assert "exportTo" in str(room.driver.check(fold))
