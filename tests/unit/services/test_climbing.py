"""What is proposed while a Fold is in force and its trouble goes on: the next step of the policy's ladder."""

from typing import Any

import pytest

from loomidi.fold.resources.objects import moment
from tests.unit.services.test_folding import FOLDS, SECOND, Cluster

POLICY = "/apis/loomidi.io/v1alpha1/foldpolicies/scans"
STEPS = [
    {"kind": "RECONFIGURE_NETWORK", "action": "rate", "afterSeconds": 1},
    {"kind": "RECONFIGURE_NETWORK", "action": "drop", "afterSeconds": 30},
]


class Hill(Cluster):
    """A Fold in force by the first step of a ladder."""

    def __init__(self, steps: list[dict[str, Any]] | None = None) -> None:
        super().__init__()
        spec = {"escalation": {"steps": STEPS if steps is None else steps}}
        self.put(POLICY, {"metadata": {"name": "scans"}, "spec": spec})
        assert self.propose() == "proposed"
        self.active = self.last
        self.settle(self.active, "Active")

    @property
    def last(self) -> str:
        return [path for path in self.objects if path.startswith(FOLDS)][-1]

    def settle(self, path: str, phase: str, **metadata: Any) -> None:
        status = {"phase": phase, "policy": "scans", "since": moment(self.clock.now_ns())}
        self.put(path, self.objects[path] | {"metadata": self.objects[path]["metadata"] | metadata, "status": status})

    def told(self) -> list[tuple[str, str]]:
        events = [one for path, one in self.objects.items() if "/events/" in path]
        return [(one["reason"], one["involvedObject"]["name"]) for one in events]


def test_the_next_step_is_proposed_once_it_has_gone_on_for_long_enough() -> None:
    hill = Hill()
    hill.clock.move(29 * SECOND)
    assert hill.propose() == "in_force"
    hill.clock.move(1 * SECOND)
    assert hill.propose() == "climbed"
    spec, name = hill.objects[hill.last]["spec"], hill.objects[hill.active]["metadata"]["name"]
    assert (spec["action"], spec["escalatesFrom"]) == ("drop", name)
    assert hill.told() == [("NextStep", name)]
    assert hill.propose() == "in_force"


def test_at_the_top_nothing_follows_and_that_is_told_once() -> None:
    hill = Hill(STEPS[:1])
    hill.clock.move(60 * SECOND)
    assert [hill.propose(), hill.propose()] == ["top_step", "top_step"]
    assert hill.told() == [("TopStep", hill.objects[hill.active]["metadata"]["name"])]


def test_a_pin_keeps_it_where_it_is() -> None:
    hill = Hill()
    hill.settle(hill.active, "Active", annotations={"loomidi.io/pin": "we look at it"})
    hill.clock.move(60 * SECOND)
    assert hill.propose() == "pinned"
    assert [reason for reason, _ in hill.told()] == ["Pinned"]


def test_a_step_that_was_refused_rests_before_it_is_proposed_again() -> None:
    hill = Hill()
    hill.clock.move(30 * SECOND)
    assert hill.propose() == "climbed"
    hill.settle(hill.last, "Denied")
    assert hill.propose() == "resting"
    hill.clock.move(31 * SECOND)
    assert hill.propose() == "climbed"


def test_a_step_of_which_there_is_no_answer_is_passed_by() -> None:
    hill = Hill([STEPS[0], {"kind": "SCALE_OUT", "action": "scale", "afterSeconds": 5}, STEPS[1]])
    hill.clock.move(30 * SECOND)
    assert hill.propose() == "climbed"
    assert hill.objects[hill.last]["spec"]["action"] == "drop"


def test_after_the_end_a_ladder_is_climbed_from_the_bottom_again() -> None:
    hill = Hill()
    hill.settle(hill.active, "Released")
    hill.clock.move(31 * SECOND)
    assert hill.propose() == "proposed"
    assert hill.objects[hill.last]["spec"]["action"] == "rate"


@pytest.mark.parametrize("failure", [403, 404])
def test_a_policy_that_cannot_be_read_has_no_ladder(failure: int) -> None:
    hill = Hill()
    hill.clock.move(60 * SECOND)
    hill.failures["GET"] = [lambda: None, failure]  # the Folds are listed, the policy is not told
    assert hill.propose() == "in_force"
