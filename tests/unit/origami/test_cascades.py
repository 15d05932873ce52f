"""Failures that follow calls in time are told as one cascade, with the direction; what fails by itself is not."""

from loomidi.contracts import Finding
from loomidi.origami.forecasts import Cascades
from loomidi.origami.forecasts.cascading import DOWN, MIXED, UP

SECOND = 10**9
CALLS = [("edge", "frontend"), ("frontend", "cart"), ("cart", "redis"), ("orders", "cart"), ("mailer", "smtp")]


def looked(**since_s: float) -> list[Finding]:
    return Cascades().look(600 * SECOND, {name: round(at * SECOND) for name, at in since_s.items()}, CALLS)


def said(finding: Finding) -> dict[str, object]:
    return {one.name: one.value for one in finding.evidence}


def test_a_dependency_that_fails_before_its_callers_is_the_origin_of_a_cascade_upwards() -> None:
    (finding,) = looked(redis=100, cart=105, frontend=112, orders=115, mailer=90)
    assert finding.entities == ("redis", "cart", "frontend", "orders")
    assert (said(finding)["direction"], said(finding)["depth"]) == (UP, 2)
    assert finding.confidence > 0.9


def test_callers_that_press_on_what_they_call_are_a_cascade_downwards() -> None:
    (finding,) = looked(frontend=100, cart=110, redis=130)
    assert finding.entities[0] == "frontend"
    assert said(finding)["direction"] == DOWN


def test_failures_at_the_same_moment_have_no_direction() -> None:
    (finding,) = looked(frontend=100, cart=100.2, redis=100.4)
    assert (said(finding)["direction"], finding.confidence) == (MIXED, 0.5)


def test_two_ends_of_one_call_and_failures_far_apart_are_no_cascade() -> None:
    assert looked(redis=100, cart=105) == []
    assert looked(redis=100, cart=400, frontend=405) == []


def test_failures_that_no_call_joins_are_not_one() -> None:
    assert looked(redis=100, frontend=101, smtp=102) == []


def test_it_keeps_its_id_as_it_grows() -> None:
    (first,), (second,) = looked(redis=100, cart=105, frontend=112), looked(redis=100, cart=105, frontend=112, edge=118)
    assert first.id == second.id
    assert said(second)["order"] == "redis > cart > frontend > edge"
