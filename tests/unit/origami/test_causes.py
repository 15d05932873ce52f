"""Root causes on systems that one can see through."""

import dataclasses

from loomidi.origami.causes import RANKED, CauseSettings, Observed, Role, Symptom, Window, as_table, rank
from tests.unit.origami.systems import START_NS, WINDOW, system

CHAIN = (("front", "cart"), ("cart", "store"), ("front", "ads"))


def slow_store() -> Observed:
    """The store is slow, and so are all who wait for it."""
    return system(
        [
            ("front", "", Role.LATENCY, 0.1, 0.5),
            ("cart", "", Role.LATENCY, 0.05, 0.45),
            ("store", "", Role.LATENCY, 0.02, 0.42),
            ("ads", "", Role.LATENCY, 0.03, 0.03),
        ],
        CHAIN,
    )


def first(observed: Observed, **given: object) -> str:
    return rank(observed, WINDOW, **given)[0].entity  # type: ignore[arg-type]


def test_a_slow_callee_explains_those_who_wait_for_it() -> None:
    causes = rank(slow_store(), WINDOW)
    assert causes[0].entity == "store"
    assert causes[0].share > 0.8
    assert [cause.entity for cause in causes if cause.entity == "ads"] == []


def test_a_caller_that_is_slow_by_itself_is_not_explained_by_its_callees() -> None:
    told = [("front", "", Role.LATENCY, 0.1, 0.5), ("cart", "", Role.LATENCY, 0.05, 0.05)]
    assert first(system(told, CHAIN)) == "front"


def test_a_callee_explains_only_as_much_as_it_brings() -> None:
    told = [("front", "", Role.LATENCY, 0.1, 2.1), ("cart", "", Role.LATENCY, 0.05, 0.15)]
    causes = rank(system(told, CHAIN), WINDOW)
    assert causes[0].entity == "front"
    assert 0 < dict(causes[0].signs[0].explained)["cart"] < 0.1


def test_delay_on_the_wire_is_seen_by_the_gap_of_the_edges_only() -> None:
    told = [
        ("front", "cart", Role.CLIENT, 0.05, 0.35),
        ("front", "cart", Role.SERVER, 0.04, 0.04),
        ("front", "ads", Role.CLIENT, 0.03, 0.03),
        ("front", "ads", Role.SERVER, 0.02, 0.02),
        ("cart", "", Role.RESOURCE, 100, 100),
    ]
    cause = rank(system(told), WINDOW)[0]
    assert (cause.entity, cause.kind) == ("cart", "gap")


def test_a_gap_on_all_calls_of_one_caller_is_the_callers() -> None:
    told = [(caller, callee, role, 0.05, now) for caller, callee, role, now in (
        ("front", "cart", Role.CLIENT, 0.4), ("front", "cart", Role.SERVER, 0.05),
        ("front", "ads", Role.CLIENT, 0.4), ("front", "ads", Role.SERVER, 0.05),
        ("front", "store", Role.CLIENT, 0.4), ("front", "store", Role.SERVER, 0.05),
        ("batch", "cart", Role.CLIENT, 0.05), ("batch", "cart", Role.SERVER, 0.04),
    )]  # fmt: skip
    assert first(system(told)) == "front"


def test_a_resource_that_rose_with_its_load_is_no_cause() -> None:
    told = [
        ("cart", "", Role.RESOURCE, 100, 300),
        ("cart", "", Role.TRAFFIC, 10, 30),
        ("ads", "", Role.RESOURCE, 9, 15),
    ]
    assert first(system(told)) == "ads"


def test_errors_are_passed_down_to_the_dependency_that_fell_silent() -> None:
    told = [
        ("front", "", Role.ERRORS, 0.0, 0.4),
        ("front", "", Role.TRAFFIC, 100, 100),
        ("store", "", Role.TRAFFIC, 50, 0),
        ("ads", "", Role.TRAFFIC, 50, 50),
    ]
    assert first(system(told, (("front", "store"), ("front", "ads")))) == "store"


def test_a_node_that_is_short_explains_all_that_runs_on_it_and_the_greediest_explains_the_node() -> None:
    slow = [(name, "", Role.LATENCY, 0.1, 0.3) for name in ("front", "cart")]
    places = (("front", "node-1"), ("cart", "node-1"), ("batch", "node-1"))
    node = ("node-1", "", Role.RESOURCE, 30, 95)
    assert first(system([*slow, node], places=places)) == "node-1"
    assert first(system([*slow, node, ("batch", "", Role.RESOURCE, 100, 900)], places=places)) == "batch"


def test_a_rollout_explains_the_workload_that_rests_on_it() -> None:
    told = [("cart", "", Role.ERRORS, 0.01, 0.3), ("cart@7", "", Role.CHANGE, 0, 1)]
    cause = rank(system(told, places=(("cart", "cart@7"),)), WINDOW)[0]
    assert (cause.entity, cause.kind) == ("cart@7", "errors")


def test_a_caller_that_asks_differently_explains_what_its_callee_does_differently() -> None:
    told = [("front", "ads", Role.CALLS, 0.6, 0.1), ("ads", "", Role.BRANCH, 1.0, 0.6)]
    assert first(system(told)) == "front"


def test_nobody_is_named_when_the_symptom_is_as_it_always_is() -> None:
    quiet = [("front", "", Role.LATENCY, 0.1, 0.1), ("store", "", Role.LATENCY, 0.02, 0.02)]
    assert rank(system(quiet, CHAIN), WINDOW, Symptom("front")) == []
    assert rank(system(quiet, CHAIN), WINDOW, Symptom("unheard-of")) == []


def test_only_what_the_symptom_rests_on_is_asked() -> None:
    told = [("front", "", Role.LATENCY, 0.1, 0.5), ("other", "", Role.RESOURCE, 1, 900)]
    observed = system(told, CHAIN)
    assert first(observed) == "other"
    assert first(observed, symptom=Symptom("front")) == "front"


def test_what_is_only_seen_from_outside_is_believed_less() -> None:
    told = [(name, "", Role.LATENCY, 0.02, 0.42) for name in ("balancer", "store")]
    assert first(system(told, remote=("balancer",))) == "store"


def test_a_walk_from_the_symptom_answers_when_nobody_keeps_blame() -> None:
    told = [("front", "", Role.LATENCY, 0.1, 0.5), ("cart", "", Role.LATENCY, 0.05, 0.3)]
    causes = rank(system(told, CHAIN), WINDOW, Symptom("front"), CauseSettings(latency_weight=0.0, sure=0.0))
    assert {cause.kind for cause in causes} == {"walk"}
    assert {cause.entity for cause in causes} == {"front", "cart"}


def test_blame_in_a_circle_of_calls_comes_to_rest() -> None:
    told = [(name, "", Role.LATENCY, 0.1, 0.5) for name in ("a", "b")]
    causes = rank(system(told, (("a", "b"), ("b", "a"))), WINDOW)
    assert sum(cause.share for cause in causes) == 1.0


def test_the_same_question_has_the_same_answer_in_any_order_of_rows() -> None:
    observed = slow_store()
    turned = dataclasses.replace(observed, signals=observed.signals.take(list(range(len(observed.signals)))[::-1]))
    assert as_table(rank(observed, WINDOW)).equals(as_table(rank(turned, WINDOW)))


def test_what_lies_after_the_window_is_not_looked_at() -> None:
    observed = slow_store()
    early = Window(START_NS - WINDOW.step_ns * 10, START_NS)
    assert [cause for cause in rank(observed, early) if cause.score > 1] == []


def test_the_table_says_in_words_what_each_cause_rests_on() -> None:
    found = as_table(rank(slow_store(), WINDOW))
    assert found.schema == RANKED
    assert found["evidence"][0].as_py()[0].startswith("latency 0.0")
    assert any("explained by" in line for row in found["evidence"].to_pylist() for line in row)


def test_no_signals_no_causes() -> None:
    assert rank(system([("a", "", Role.LATENCY, 1, 1)]), Window(0, 1)) == []
