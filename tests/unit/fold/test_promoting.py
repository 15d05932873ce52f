"""A policy goes further only after seven days in which nothing spoke against it, a step at a time, or on record."""

import copy
import dataclasses
from typing import Any

import pytest

from loomidi.contracts import BlastRadius, Mode, Replay
from loomidi.fold.promoting import NotReady, Report, report, step
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import moment
from tests.unit.ionic.making import NOW_NS, a_plan

DAY_NS = 86_400 * 10**9
GUARDED = {"type": "Guarded", "status": "True", "observedGeneration": 1}
MEASURED = Replay(state="measured", since_ns=1, until_ns=2, rows=9, peers=2, share_of_octets=0.01)
DENIED = {"annotations": {"loomidi.io/deny": "no"}}
POLICY: dict[str, Any] = {
    "metadata": {"name": "own", "uid": "p1", "creationTimestamp": moment(NOW_NS - 10 * DAY_NS)},
    "spec": {"mode": "shadow", "when": {"patterns": ["*"]}, "allow": [{"kind": "RECONFIGURE_NETWORK"}]},
}


def a_fold(name: str = "a", *, phase: str = "Expired", replay: Replay = MEASURED, **more: Any) -> dict[str, Any]:
    """One that the guards allowed and that ended with its plan, a day ago."""
    radius = dataclasses.replace(BlastRadius(1, 1, 1, 1, 0.01), replay=replay)
    obj = fold_object(a_plan("drop", blast_radius=radius), "default")
    metadata = {"name": name, "uid": name, "creationTimestamp": moment(NOW_NS - DAY_NS)} | more.pop("metadata", {})
    status = {"policy": "own", "phase": phase, "conditions": [GUARDED]} | more
    return copy.deepcopy(obj | {"metadata": obj["metadata"] | metadata, "status": status})


def asked(*folds: dict[str, Any], days: float = 7.0, **policy: Any) -> Report:
    return report(POLICY | policy, folds, NOW_NS, days)


def test_a_week_in_shadow_in_which_nothing_speaks_against_it_is_ready() -> None:
    found = asked(a_fold("a"), a_fold("b"))
    assert (found.ready, found.days, found.judged, found.would, found.acted) == (True, 7.0, 2, 2, 0)
    assert (found.kinds, found.peers, found.share_of_octets) == ({"RECONFIGURE_NETWORK drop": 2}, 2, 0.01)
    assert step(found, Mode.SUGGEST)


def test_who_would_have_been_cut_besides_is_named() -> None:
    met = dataclasses.replace(MEASURED, named=("pod/shop/cart-0", "host/192.0.2.99"))
    assert asked(a_fold(replay=met)).benign == {"pod/shop/cart-0": 1}


@pytest.mark.parametrize(
    ("folds", "why"),
    [
        ([], "has not been tried"),
        (
            [a_fold("a"), a_fold("b", phase="Denied", metadata={"annotations": {"loomidi.io/deny": "no"}})],
            "denied 1 of 2",
        ),
        ([a_fold(replay=Replay(state="unknown", why="away"), phase="RolledBack")], "taken back because they failed"),
        ([a_fold(replay=dataclasses.replace(MEASURED, protected=("host/10.0.0.1",)))], "met the protected set"),
        (
            [a_fold(replay=dataclasses.replace(MEASURED, paths=("users -> web",)))],
            "1 of 1 would have cut ways of users",
        ),
    ],
)
def test_what_speaks_against_it_is_told(folds: list[dict[str, Any]], why: str) -> None:
    found = asked(*folds)
    assert any(why in reason for reason in found.reasons)
    with pytest.raises(NotReady, match=f"not ready for mode suggest.*{why}"):
        step(found, Mode.SUGGEST)


@pytest.mark.parametrize(
    "metadata",
    [
        {"creationTimestamp": moment(NOW_NS - 2 * DAY_NS)},
        {"managedFields": [{"time": moment(NOW_NS - 2 * DAY_NS), "fieldsV1": {"f:spec": {}}}]},
    ],
)
def test_a_policy_that_is_new_or_was_changed_has_to_wait(metadata: dict[str, Any]) -> None:
    found = asked(a_fold(), metadata=POLICY["metadata"] | metadata)
    assert found.reasons == ("it has been there, as it is, for 2 of 7 days",)


def test_a_report_of_fewer_days_is_no_report() -> None:
    assert asked(a_fold(), days=3.0).reasons == ("the report is of 3 days, 7 are asked for",)


def test_folds_of_other_policies_and_of_before_are_not_counted_and_one_that_was_kept_once() -> None:
    other, old = a_fold("b", policy="other"), a_fold("c", metadata={"creationTimestamp": moment(NOW_NS - 8 * DAY_NS)})
    assert asked(a_fold("a"), a_fold("a"), other, old).judged == 1


def test_a_leap_needs_an_override_and_the_way_down_needs_nothing() -> None:
    found = asked(a_fold())
    with pytest.raises(NotReady, match="a step at a time"):
        step(found, Mode.AUTONOMOUS)
    assert step(found, Mode.AUTONOMOUS, "the drill of today")
    assert not step(dataclasses.replace(found, mode=Mode.GUARDED, reasons=("anything",)), Mode.SHADOW)


def test_its_hash_covers_the_verdict_and_the_policys_spec() -> None:
    found, changed = asked(a_fold()), asked(a_fold(), spec=POLICY["spec"] | {"priority": 7})
    denied = dataclasses.replace(found, denied=1)
    assert len({one.as_dict()["hash"] for one in (found, changed, denied)}) == 3
