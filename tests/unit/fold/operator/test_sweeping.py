"""Folds that are over go once they are old or too many, and their record is kept; nothing else goes."""

from typing import Any

import pytest

from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.sweeping import Sweeper, SweepSettings, due
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import moment
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.errors import BadStore
from tests.unit.ionic.kube.fake_api import FakeApi
from tests.unit.ionic.making import NOW_NS

DAY_S = 86_400
FOLDS = "/apis/loomidi.io/v1alpha1/namespaces/shop/folds"


def a_fold(name: str, days: float, phase: str = "Released", **metadata: Any) -> dict[str, Any]:
    ended = moment(NOW_NS - round(days * DAY_S * 1e9))
    about = {"name": name, "namespace": "shop", "uid": f"uid-{name}", **metadata}
    return {"metadata": about, "spec": {}, "status": {"phase": phase, "since": ended}}


def names(folds: list[dict[str, Any]], policies: Any = (), **settings: Any) -> list[str]:
    return [view.metadata["name"] for view in due(folds, policies, SweepSettings(**settings), NOW_NS)]


def test_what_is_over_for_longer_than_it_is_kept_goes_the_oldest_first() -> None:
    folds = [a_fold("new", 6.9), a_fold("old", 7.1), a_fold("older", 30, "Denied")]
    assert names(folds) == ["older", "old"]
    assert names(folds, kept_s=DAY_S, at_once=2) == ["older", "old"]


def test_of_too_many_in_a_namespace_the_oldest_go() -> None:
    folds = [a_fold(f"f{day}", day) for day in (1, 2, 3, 4)]
    assert names(folds, most=2) == ["f4", "f3"]
    assert names([*folds, a_fold("g", 5, namespace="other")], most=4) == []


@pytest.mark.parametrize(("settings", "left"), [({"kept_s": 0, "most": 0}, []), ({"kept_s": 0, "most": 1}, ["b"])])
def test_nought_keeps_for_ever(settings: dict[str, Any], left: list[str]) -> None:
    assert names([a_fold("a", 400), a_fold("b", 500)], **settings) == left


@pytest.mark.parametrize("phase", [phase.value for phase in Phase])
def test_only_an_end_goes(phase: str) -> None:
    gone = names([a_fold("a", 30, phase)])
    assert bool(gone) is (phase in ("Released", "RolledBack", "Expired", "Denied", "Superseded"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"finalizers": ["loomidi.io/undo"]},
        {"finalizers": ["example.com/other"]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"labels": {"loomidi.io/at-hand": "plan-1"}},
    ],
)
def test_one_with_anything_left_to_do_stays(metadata: dict[str, Any]) -> None:
    assert names([a_fold("a", 30, **metadata)]) == []


def test_what_a_brake_still_counts_by_stays_however_many_there_are() -> None:
    policy = {"spec": {"brakes": {"cooldownSeconds": 2 * DAY_S}}}
    folds = [a_fold("a", 1), a_fold("b", 3)]
    assert names(folds, [policy], most=0, kept_s=1) == ["b"]
    assert names([a_fold("a", 0.01)], kept_s=1) == []


class Yard:
    """An API server with two old Folds, and records."""

    def __init__(self) -> None:
        self.api, self.kept = FakeApi(), list[str]()
        for name in ("a", "b"):
            self.api.put(f"{FOLDS}/{name}", a_fold(name, 30))
        self.failing: Exception | None = None
        self.sweeper = Sweeper(KubeApi(self.api.client()), self.keep)

    def keep(self, view: View) -> None:
        assert f"{FOLDS}/{view.metadata['name']}" in self.api.objects, "kept before it goes"
        if self.failing:
            raise self.failing
        self.kept.append(view.metadata["name"])

    def sweep(self) -> None:
        self.sweeper.sweep([one for path, one in self.api.objects.items() if "/folds/" in path], (), NOW_NS)

    @property
    def left(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.api.objects if "/folds/" in path]


def test_the_record_is_kept_first_then_it_goes_with_an_event() -> None:
    yard = Yard()
    yard.sweep()
    assert (yard.kept, yard.left, dict(yard.sweeper.counts)) == (["a", "b"], [], {"removed": 2})
    (told,) = yard.api.objects.values()
    assert (told["reason"], told["involvedObject"]["name"]) == ("Removed", "b")


def test_without_a_record_it_stays() -> None:
    yard = Yard()
    yard.failing = BadStore("the disk is full")
    yard.sweep()
    assert (yard.left, dict(yard.sweeper.counts)) == (["a", "b"], {"not_kept": 2})
    assert not Sweeper(KubeApi(yard.api.client()), None).on


def test_one_that_was_written_meanwhile_stays_and_a_lost_lease_ends_it() -> None:
    yard = Yard()
    seen = list(yard.api.objects.values())
    yard.api.put(f"{FOLDS}/a", a_fold("a", 30, finalizers=["example.com/other"]))
    yard.sweeper.sweep(seen, (), NOW_NS)
    assert (yard.left, yard.sweeper.counts["not_removed"]) == (["a"], 1)
    yard = Yard()
    yard.api.failures["DELETE"] = [NotLeading("another holds the lease")]
    with pytest.raises(NotLeading):
        yard.sweep()
    assert yard.left == ["a", "b"]


def test_a_fold_that_a_budget_looks_back_on_stays() -> None:
    policy = {"spec": {"brakes": {"budget": {"folds": 5, "windowHours": 48}}}}
    assert names([a_fold("a", 1), a_fold("b", 3)], [policy], most=0, kept_s=1) == ["b"]
