"""Each brake: when it holds, what it says, until when; counted from Folds and pods as they are."""

import dataclasses
from typing import Any

import pytest

from loomidi.contracts import FoldKind, FoldSpec, Plan
from loomidi.fold.operator.braking import Around, Brake, braked, filled, storm_mode, tokens
from loomidi.fold.operator.counting import Counted
from loomidi.fold.operator.spots import Pod, Spot
from loomidi.fold.resources import Phase
from loomidi.fold.resources.objects import moment
from tests.unit.ionic.making import NOW_NS, a_finding, a_plan

S = 10**9
WEB = Spot("shop/web", "n1")
FREE: dict[str, Any] = {  # every brake so far away that only the one that a test sets can hold
    "caps": {"total": 100, "namespace": 100, "node": 100, "workload": 100},
    "bucket": {"size": 100, "refillSeconds": 1},
    "cooldownSeconds": 0,
}


def a_pod(number: int, *, healthy: bool = True, **more: str) -> Pod:
    return Pod(
        **({"namespace": "shop", "workload": "shop/web", "node": "n1"} | more), name=f"web-{number}", healthy=healthy
    )


PODS = tuple(map(a_pod, range(10)))


def another(number: int = 1, **more: Any) -> Counted:
    """A Fold in force on web-1, begun ten seconds ago."""
    given: dict[str, Any] = {
        "key": f"shop/f{number}",
        "policy": "own",
        "phase": Phase.ACTIVE,
        "target": f"pod/shop/web-{number}",
        "namespace": "shop",
        "workload": "shop/web",
        "node": "n1",
        "pattern": "horizontal_scan",
        "finding": f"finding-{number}",
        "takes": True,
        "made_ns": NOW_NS - 20 * S,
        "seen_ns": NOW_NS - 20 * S,
        "begun_ns": NOW_NS - 10 * S,
        "ended_ns": 0,
        "until_ns": NOW_NS + 50 * S,
        "held": "",
    }
    return Counted(**given | more)


def isolating(kind: FoldKind = FoldKind.ISOLATE_POD, **more: Any) -> Plan:
    return a_plan(fold=FoldSpec(kind, "pod/shop/web-0", "isolate"), finding=a_finding("horizontal_scan", **more))


def held(*folds: Counted, pods: tuple[Pod, ...] = PODS, plan: Plan | None = None, **brakes: Any) -> Brake | None:
    there = Around("shop", key="shop/f0", spot=WEB, folds=folds, pods=pods, now_ns=NOW_NS)
    return braked("own", filled(FREE | brakes), plan or isolating(), there)


def told(brake: Brake | None) -> tuple[str, int]:
    """Its name, and in how many seconds it may let go."""
    assert brake is not None
    return brake.name, (brake.until_ns - NOW_NS) // S if brake.until_ns else 0


def test_without_others_no_brake_holds() -> None:
    assert held() is None
    assert braked("own", filled({}), isolating(), Around("shop", spot=WEB, pods=PODS, now_ns=NOW_NS)) is None


@pytest.mark.parametrize(("until", "holds"), [({}, True), ({"until": "2020-01-01T00:00:00Z"}, False)])
def test_a_pause_ends_when_it_says(until: dict[str, str], holds: bool) -> None:
    brake = held(pause={"reason": "audit"} | until)
    assert (brake is not None) == holds
    assert str(held(pause={"reason": "audit", "until": "2100-01-01T00:00:00Z"})) == (
        "paused: audit; until 2100-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("cap", "share", "holds"),
    [
        ("total", 2, True),
        ("total", 3, False),
        ("total", "20%", True),
        ("total", "30%", False),
        ("namespace", 2, True),
        ("namespace", "29%", True),
        ("node", "30%", False),
        ("node", 2, True),
        ("workload", 2, True),
        ("workload", "1%", True),
        ("workload", "0%", True),
    ],
)
def test_a_cap_holds_at_its_number_or_at_its_share_of_the_pods_there(cap: str, share: int | str, holds: bool) -> None:
    brake = held(another(1), another(2, until_ns=NOW_NS + 30 * S), caps=FREE["caps"] | {cap: share})
    assert (brake is not None) == holds
    assert not holds or told(brake) == (f"Cap{cap.title()}", 30)


def test_a_share_of_less_than_one_pod_is_one() -> None:
    assert held(pods=PODS[:3], caps=FREE["caps"] | {"namespace": "10%"}) is None
    assert held(another(), pods=PODS[:3], caps=FREE["caps"] | {"namespace": "10%"}) is not None


def test_caps_count_who_is_there_and_not_who_is_elsewhere_or_over() -> None:
    elsewhere = another(1, namespace="a", workload="a/web", node="n2", policy="other")
    over, waiting = another(2, ended_ns=NOW_NS - 1), another(3, begun_ns=0)
    ones = dict.fromkeys(FREE["caps"], 1)
    assert held(elsewhere, over, waiting, caps=ones) is None
    assert (
        held(another(1, namespace="a", node="n2", policy="other"), caps=ones) is None
    )  # a host, cut in two namespaces
    assert told(held(another(policy="other", namespace="a", workload="a/a"), caps=ones))[0] == "CapNode"
    assert told(held(another(policy="", namespace="a", workload="a/a", node=""), caps=ones))[0] == "CapTotal"


def test_the_fold_itself_is_not_counted_against_its_own_caps() -> None:
    assert held(another(0), caps=dict.fromkeys(FREE["caps"], 1), bucket={"size": 1, "refillSeconds": 99}) is None


@pytest.mark.parametrize(
    ("brakes", "holds"),
    [
        ({"minHealthy": 9}, False),
        ({"minHealthy": 10}, True),
        ({"minHealthy": "90%"}, False),
        ({"minHealthy": "91%"}, True),
        ({"maxUnhealthy": 1}, False),
        ({"maxUnhealthy": 0}, True),
        ({"maxUnhealthy": "19%"}, False),
        ({"maxUnhealthy": "9%"}, True),
    ],
)
def test_so_many_pods_of_the_workload_stay_healthy(brakes: dict[str, Any], holds: bool) -> None:
    others = (a_pod(0, workload="shop/db"), a_pod(1, namespace="a", workload="a/web"))
    brake = held(pods=PODS + others, **brakes)
    assert (brake.name if brake else "") == ("" if not holds else next(iter(brakes)).replace("m", "M", 1))


def test_pods_that_are_ill_or_folded_already_are_not_healthy() -> None:
    ill = (a_pod(9, healthy=False), *PODS[:9])
    assert held(pods=ill, minHealthy=9) is not None
    assert held(another(1), minHealthy=9) is not None
    assert held(another(1, takes=False), minHealthy=9) is None


def test_a_fold_that_takes_no_healthy_pod_away_is_not_held_by_health() -> None:
    ill = (a_pod(0, healthy=False), *PODS[1:])
    assert held(pods=ill, minHealthy="100%") is None
    assert held(minHealthy="100%", plan=isolating(FoldKind.RESIZE)) is None


@pytest.mark.parametrize(
    ("ages", "left"),
    [
        ([], 3),
        ([0, 0, 0], 0),
        ([10, 10, 10], 1),
        ([25, 25, 25, 4], 1.5),
        ([1000, 900], 3),
    ],
)
def test_each_fold_takes_a_token_and_time_brings_it_back(ages: list[int], left: float) -> None:
    bucket = {"size": 3, "refillSeconds": 10}
    assert tokens(bucket, [NOW_NS - age * S for age in ages], NOW_NS) == pytest.approx(left)


def test_an_empty_bucket_says_when_the_next_one_may_follow() -> None:
    folds = [another(number, ended_ns=NOW_NS, begun_ns=NOW_NS - 15 * S) for number in (1, 2)]
    brake = held(*folds, bucket={"size": 2, "refillSeconds": 60})
    assert told(brake) == ("TokenBucket", 45)
    assert held(folds[0], bucket={"size": 2, "refillSeconds": 60}) is None


def test_a_target_rests_after_the_end_of_a_fold_that_was_begun() -> None:
    ended = {"target": "pod/shop/web-0", "ended_ns": NOW_NS - 20 * S}
    assert told(held(another(1, **ended), cooldownSeconds=60)) == ("Cooldown", 40)
    assert held(another(1, **ended), cooldownSeconds=20) is None
    assert held(another(1, **ended, begun_ns=0), another(2, ended_ns=NOW_NS), cooldownSeconds=60) is None


def test_a_finding_has_to_last_or_to_be_seen_again() -> None:
    plan = isolating(first_ns=NOW_NS - 3 * S, last_ns=NOW_NS - S)
    assert held(plan=plan, antiFlapSeconds=2) is None
    assert told(held(plan=plan, antiFlapSeconds=5)) == ("AntiFlap", 0)
    again = another(2, target="pod/shop/web-0", seen_ns=NOW_NS + 2 * S)
    assert held(again, plan=plan, antiFlapSeconds=5) is None
    assert held(dataclasses.replace(again, pattern="beaconing"), plan=plan, antiFlapSeconds=5) is not None


@pytest.mark.parametrize(
    ("ages", "until"),
    [
        ([1, 2, 3], 107),  # the oldest of them leaves the window in 7 s, and 100 s are quiet
        ([1, 2], None),
        ([1, 5, 12], None),
        ([51, 55, 60], 50),
        ([151, 155, 159], None),
    ],
)
def test_a_storm_lasts_for_as_long_as_enough_is_found_and_a_quiet_time_after(
    ages: list[int], until: int | None
) -> None:
    folds = [another(at, begun_ns=0, made_ns=NOW_NS - age * S) for at, age in enumerate(ages, 1)]
    storm = {"findings": 3, "withinSeconds": 10, "mode": "shadow", "quietSeconds": 100}
    brake = held(*folds, storm=storm)
    assert (brake is None) if until is None else told(brake) == ("Storm", until)


def test_one_finding_told_by_many_folds_is_no_storm_and_a_storm_may_only_lower_the_mode() -> None:
    same = [another(at, begun_ns=0, finding="one", made_ns=NOW_NS - S) for at in range(5)]
    storm = {"findings": 3, "withinSeconds": 10, "mode": "suggest", "quietSeconds": 100}
    many = [dataclasses.replace(one, finding=one.key) for one in same]
    assert held(*same, storm=storm | {"mode": "shadow"}) is None
    assert held(*many, storm=storm) is None
    modes = [storm_mode(storm, Around(folds=tuple(folds), now_ns=NOW_NS)) for folds in (same, many)]
    assert modes == ["autonomous", "suggest"]


def test_what_cannot_be_counted_holds() -> None:
    there = Around("shop", spot=WEB, uncounted="the pods are not known", now_ns=NOW_NS)
    brake = braked("own", filled(FREE), isolating(), there)
    assert str(brake) == "not counted: the pods are not known"


def test_a_brake_says_until_when() -> None:
    assert str(Brake("x", "why", NOW_NS)) == f"why; until {moment(NOW_NS)[:19]}Z"


DAY_S = 86_400


@pytest.mark.parametrize(
    ("ages_s", "holds_s"),
    [([10, 20], None), ([10, 20, DAY_S - 60], 60), ([10, 20, DAY_S + 1], None), ([10, 20, 30, 40], DAY_S - 30)],
)
def test_a_budget_of_folds_holds_until_enough_have_left_its_window(ages_s: list[int], holds_s: int | None) -> None:
    folds = [
        another(at, begun_ns=NOW_NS - age * S, ended_ns=NOW_NS - 1, policy="other") for at, age in enumerate(ages_s, 1)
    ]
    brake = held(*folds, budget={"folds": 3})
    assert (brake is None) if holds_s is None else told(brake) == ("BudgetFolds", holds_s)


@pytest.mark.parametrize(
    ("minutes", "holds"),
    [
        (4, False),  # 10 s gone and 50 s promised, 120 s over, and 60 s of this one
        (3, True),
        (0, True),
    ],
)
def test_a_budget_of_minutes_counts_what_was_and_what_is_promised_and_what_would_come(
    minutes: int, holds: bool
) -> None:
    over = another(2, begun_ns=NOW_NS - 400 * S, ended_ns=NOW_NS - 280 * S)
    brake = held(another(1), over, budget={"podMinutes": minutes})
    assert (told(brake) == ("BudgetPodMinutes", 0)) if holds else brake is None


def test_a_budget_is_of_one_namespace_and_minutes_are_of_pods_that_are_taken_out() -> None:
    elsewhere = another(1, namespace="other", workload="other/web", until_ns=NOW_NS + 9000 * S)
    limits = another(2, takes=False, until_ns=NOW_NS + 9000 * S)
    assert held(elsewhere, limits, budget={"podMinutes": 2}) is None
    assert held(elsewhere, budget={"folds": 1}) is None
    slowing = a_plan(fold=FoldSpec(FoldKind.RECONFIGURE_NETWORK, "host/192.0.2.7", "rate"), finding=a_finding())
    assert held(another(1), plan=slowing, budget={"podMinutes": 0}) is None


def test_what_ended_before_the_window_counts_only_with_its_part_inside() -> None:
    long_ago = another(1, begun_ns=NOW_NS - 3 * 3600 * S, ended_ns=NOW_NS - 3570 * S)
    assert held(long_ago, budget={"podMinutes": 2, "windowHours": 1}) is None
    assert held(long_ago, budget={"podMinutes": 2, "windowHours": 24}) is not None
