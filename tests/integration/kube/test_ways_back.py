"""Every kind that has a way back, on a real API server: done, held, taken back, and the state is as it was by diff.

The driver acts as a user that has the generated role and nothing else.
"""

import json

import pytest

from loomidi.ionic.errors import ChangedMeanwhile, NotActing
from tests.integration.kube.cases import CASES, Case, plan_of, stored
from tests.integration.kube.rooms import Killed, Room
from tests.unit.ionic.acting import approved

WRITES = (-1, 1, -2, 2, -3, 3)  # the process ends before (-n) or right after (n) its n-th write


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, room: Room) -> Case:
    """With its stage set."""
    chosen = CASES[request.param]
    chosen.stage(room)
    return chosen


def test_done_and_taken_back_everything_is_as_it_was(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    assert room.driver.check(plan.fold) is None
    inverse = stored(room, plan)
    assert room.snapshot() == before
    assert not room.driver.verify(plan)["holds"]
    room.driver.apply(plan, approved(plan))
    assert room.snapshot() != before
    assert room.driver.verify(plan)["holds"], room.driver.verify(plan)
    assert room.driver.undo(inverse) == {"undone": True, "reversible": True, "left": []}
    assert room.snapshot() == before
    assert not room.driver.verify(plan)["holds"]


def test_taking_back_twice_is_taking_back_once(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    inverse = stored(room, plan)
    room.driver.apply(plan, approved(plan))
    assert [room.driver.undo(inverse)["undone"] for _ in range(2)] == [True, True]
    assert room.snapshot() == before


def test_doing_it_twice_is_doing_it_once(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    inverse = stored(room, plan)
    room.driver.apply(plan, approved(plan))
    once = room.snapshot()
    room.driver.apply(plan, approved(plan))
    assert room.snapshot() == once
    room.driver.undo(inverse)
    assert room.snapshot() == before


def test_a_process_that_ends_before_it_acts_leaves_nothing_to_take_back(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    inverse = json.loads(json.dumps(stored(room, plan)))
    assert room.new_driver().undo(inverse)["undone"]
    assert room.snapshot() == before


def test_wherever_the_process_ends_the_next_one_takes_it_back(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    for writes in WRITES:
        dying = room.new_driver(room.mortal(writes))
        inverse = json.loads(json.dumps(dict(dying.inverse(plan.fold)) | {"rule_id": stored(room, plan)["rule_id"]}))
        try:
            dying.apply(plan, approved(plan))
        except Killed:
            assert abs(writes) <= 3
        assert room.new_driver().undo(inverse)["undone"]
        assert room.snapshot() == before, writes


def test_an_undo_that_ends_midway_is_finished_by_the_next_one(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    for writes in WRITES:
        inverse = stored(room, plan)
        room.driver.apply(plan, approved(plan))
        try:
            room.new_driver(room.mortal(writes)).undo(inverse)
        except Killed:
            assert room.new_driver().undo(inverse)["undone"]
        assert room.snapshot() == before, writes


def test_what_has_changed_since_the_inverse_is_not_touched(case: Case, room: Room) -> None:
    plan = plan_of(case.fold(room))
    inverse = stored(room, plan)
    case.meddle(room)
    changed = room.snapshot()
    with pytest.raises((ChangedMeanwhile, NotActing)):
        room.driver.apply(plan, approved(plan))
    assert room.driver.undo(inverse)["undone"]
    assert room.snapshot() == changed


def test_without_its_inverse_a_plan_is_not_carried_out(case: Case, room: Room) -> None:
    plan, before = plan_of(case.fold(room)), room.snapshot()
    with pytest.raises(NotActing, match="inverse"):
        room.driver.apply(plan, approved(plan))
    assert room.snapshot() == before


def test_a_second_plan_for_what_is_held_is_refused(case: Case, room: Room) -> None:
    plan = plan_of(case.fold(room))
    stored(room, plan)
    room.driver.apply(plan, approved(plan))
    why = room.driver.check(plan.fold)
    assert why is not None
    assert "release" in why


def test_in_a_protected_place_nothing_is_done(case: Case, room: Room) -> None:
    protected = {"metadata": {"labels": {"loomidi.io/protected": "true"}}}
    plan = plan_of(case.fold(room))
    stored(room, plan)
    room.merge(f"/api/v1/nodes/{room.nodes[0]}" if room.nodes else f"/api/v1/namespaces/{room.namespace}", protected)
    before = room.snapshot()
    assert "protected" in str(room.driver.check(plan.fold))
    with pytest.raises(NotActing, match="protected"):
        room.driver.apply(plan, approved(plan, "ada"))
    assert room.snapshot() == before
