"""What one Fold has made us read is expected of the next of its kind, for that one's own target."""

from loomidi.fold.operator.expecting import Habits
from loomidi.fold.operator.views import View

CORE = "/api/v1/namespaces"


def a_view(target: str, kind: str = "ISOLATE_POD") -> View:
    return View({"metadata": {}, "spec": {"kind": kind, "target": target}})


def test_namespace_and_name_are_those_of_the_next_target() -> None:
    habits = Habits()
    habits.note(a_view("pod/shop/cart-0"), [(f"{CORE}/shop", None), (f"{CORE}/shop/pods/cart-0", None)])
    assert habits.of(a_view("pod/bank/till-1")) == [(f"{CORE}/bank", None), (f"{CORE}/bank/pods/till-1", None)]


def test_a_namespace_that_is_called_like_its_pod_stays_a_namespace() -> None:
    habits = Habits()
    habits.note(a_view("pod/shop/shop"), [(f"{CORE}/shop/pods/shop", None)])
    assert habits.of(a_view("pod/bank/till-1")) == [(f"{CORE}/bank/pods/till-1", None)]


def test_collections_are_expected_and_what_only_the_last_one_was_about_is_not() -> None:
    habits = Habits()
    own = [("/api/v1/nodes/n1", None), (f"{CORE}/shop/pods", "app=cart"), (f"{CORE}/shop/pods/cart-1", None)]
    habits.note(a_view("pod/shop/cart-0"), [*own, (f"{CORE}/shop/services", ""), ("/api/v1/namespaces", "")])
    assert habits.of(a_view("pod/bank/till-1")) == [(f"{CORE}/bank/services", ""), ("/api/v1/namespaces", "")]


def test_of_a_kind_that_was_not_seen_nothing_is_expected() -> None:
    habits = Habits()
    habits.note(a_view("pod/shop/cart-0"), [(f"{CORE}/shop", None)])
    assert habits.of(a_view("pod/shop/cart-0", "SCALE_OUT")) == []
    assert habits.of(a_view("workload/shop/cart")) == []
