"""Schedules: the same for the same seed, inside their bounds, nothing that disturbs something else."""

import functools
import itertools

import pytest

from loomidi.contracts.errors import UsageError
from loomidi_lab import staging
from loomidi_lab.recording.loads import profile
from loomidi_lab.recording.planning import BadPlan, Item, Schedule, disturbs, load_plan, plan_names, schedule, wide
from loomidi_lab.staging.records import Drawn
from tests.unit.lab.recording.making import PLAN, FakeCatalog, made_schedule, tiny


class Remembering:
    """The lab's own scenarios, each file read once."""

    names = staticmethod(staging.names)
    load = staticmethod(functools.cache(staging.load))
    draw = staticmethod(staging.draw)


CATALOG = Remembering()


def drawn(item: Item) -> Drawn:
    return CATALOG.draw(CATALOG.load(item.scenario), item.seed)


@functools.cache
def of_plan(name: str) -> Schedule:
    return schedule(load_plan(name), 7, CATALOG)


@pytest.fixture(params=["smoke", "standard"])
def shipped(request: pytest.FixtureRequest) -> Schedule:
    return of_plan(request.param)


def test_the_same_seed_gives_the_same_schedule_and_truth() -> None:
    one, other = made_schedule(7), made_schedule(7)
    assert one.as_dict() == other.as_dict()
    assert one.planned() == other.planned()


def test_another_seed_gives_another() -> None:
    assert made_schedule(7).as_dict()["items"] != made_schedule(8).as_dict()["items"]


def test_acts_with_their_margins_lie_inside_the_plan_and_outside_of_quiet(shipped: Schedule) -> None:
    plan = shipped.plan
    for item in shipped.items:
        start, end = item.offset_s - plan.before_s, item.offset_s + item.duration_s + plan.after_s
        assert start >= 0
        assert end <= plan.length_s
        assert all(end <= span.from_s or start >= span.to_s for span in plan.quiet), item.scenario


def test_what_overlaps_does_not_disturb_each_other_and_lanes_hold(shipped: Schedule) -> None:
    clear_s = shipped.plan.before_s + shipped.plan.after_s
    for one, other in itertools.combinations(shipped.items, 2):
        if (
            one.offset_s < other.offset_s + other.duration_s + clear_s
            and other.offset_s < one.offset_s + one.duration_s + clear_s
        ):
            assert disturbs(drawn(one), drawn(other)) == ""
    failures = [item for item in shipped.items if item.planned["category"] == "failure"]
    for before, after in itertools.pairwise(failures):
        assert before.offset_s + before.duration_s + clear_s <= after.offset_s


def test_smoke_has_one_of_each_category_and_quiet() -> None:
    found = of_plan("smoke")
    assert sorted(item.planned["category"] for item in found.items) == ["attack", "benign", "failure"]
    assert found.plan.length_s == 240
    assert sum(span.to_s - span.from_s for span in found.plan.quiet) >= 60


def test_standard_is_an_hour_with_25_quiet_minutes_and_every_family_twice() -> None:
    found = of_plan("standard")
    assert 3300 <= found.plan.length_s <= 4200
    assert sum(span.to_s - span.from_s for span in found.plan.quiet) >= 25 * 60
    wanted = {(CATALOG.load(name).category, CATALOG.load(name).family) for name in CATALOG.names()}
    seen = [(item.planned["category"], item.planned["family"]) for item in found.items]
    assert all(seen.count(family) >= 2 for family in wanted)


def test_every_plan_that_comes_along_can_be_read_and_its_load_too() -> None:
    assert plan_names() == ["long", "smoke", "standard"]
    for name in plan_names():
        assert profile(load_plan(name).load).rate > 0


def test_a_node_taken_down_stands_alone() -> None:
    catalog = FakeCatalog({"down": ("failure", "node", "Node", "n1", 9.0), "scan": ("attack", "s", "Pod", "p", 9.0)})
    down, scan = (catalog.draw(catalog.load(name), 1) for name in ("down", "scan"))
    assert wide(down)
    assert not wide(scan)
    assert "node" in disturbs(down, scan)


def test_parameters_are_drawn_until_the_act_is_short_enough() -> None:
    plan = tiny(scenarios=[{"category": "attack", "times": 2, "most_s": 11}])
    assert all(item.duration_s <= 11 for item in schedule(plan, 3, FakeCatalog()).items)


def test_a_plan_without_scenarios_is_quiet() -> None:
    assert schedule(tiny(scenarios=[]), 1, FakeCatalog()).items == ()


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(BadPlan, match="find no room in 120 s; make it longer"):
        schedule(tiny(scenarios=[{"category": "attack", "times": 9}]), 1, FakeCatalog())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lenght_s": 3}, "unknown key `lenght_s`; did you mean `length_s`"),
        ({"length_s": "long"}, "`length_s` must be a number of at least 10"),
        ({"length_s": float("nan")}, "`length_s` must be a number of at least 10"),
        ({"quiet": [{"from_s": 50, "to_s": 20}]}, r"quiet\[0\] goes from 50 to 20"),
        ({"quiet": [{"from_s": 0, "to_s": 500}]}, "within 0 to 120 s"),
        ({"lanes": {"attacks": 1}}, "unknown key `attacks`; did you mean `attack`"),
        ({"scenarios": [{}]}, "give either `names` or `category`"),
        ({"scenarios": [{"category": "odd"}]}, "category 'odd' is not known"),
        ({"scenarios": [{"category": "attack", "per": "day"}]}, "per 'day' is not known"),
        ({"scenarios": 3}, "`scenarios` must be a list"),
        ({"network": "flat"}, "network 'flat' is not known"),
        ({"load": 3}, "`load` must be a mapping"),
    ],
)
def test_a_bad_plan_gives_one_line_that_names_the_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadPlan, match=message) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_no_mapping_or_lacks_a_key_is_refused(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "bad.yaml"  # type: ignore[operator]
    for text, message in (("[1, 2]", "key: value"), ("a: [", "no YAML"), ("name: x\n", "`length_s` is missing")):
        path.write_text(text)
        with pytest.raises(BadPlan, match=message):
            load_plan(str(path))


def test_an_unknown_plan_and_an_unknown_scenario_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean smoke"):
        load_plan("smok")
    with pytest.raises(UsageError, match="no scenario 'gone'"):
        schedule(tiny(scenarios=[{"names": ["gone"]}]), 1, FakeCatalog())


def test_a_bad_load_is_refused() -> None:
    with pytest.raises(BadPlan, match="unknown key `rates`; use rate"):
        profile(PLAN["load"] | {"rates": 3})  # type: ignore[operator]
    with pytest.raises(BadPlan, match="rate is -1"):
        profile({"rate": -1})
