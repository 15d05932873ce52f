"""Drafts of patches, and selectors, against what the API does with them."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomidi.ionic.act.kube import changes
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import At, Draft, Field, value
from loomidi.ionic.act.kube.removals import Removal
from loomidi.ionic.act.kube.selectors import matches, needed
from tests.unit.ionic.kube.fake_api import FakeApi

KEYS = st.sampled_from(["a", "b/c", "d~e", "f"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(KEYS, st.text("xy", max_size=2), max_size=2), lambda inner: st.dictionaries(KEYS, inner, max_size=2)
)


def patched(obj: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """As an API does it."""
    fake = FakeApi()
    fake.put("/x", {"spec": copy.deepcopy(obj)})
    answer = fake.client().patch("/x", json=[step | {"path": "/spec" + step["path"]} for step in operations])
    assert answer.status_code == 200
    spec: dict[str, Any] = answer.json()["spec"]
    return spec


@given(TREES, st.lists(KEYS, min_size=1, max_size=3), st.none() | st.text("xy", min_size=1, max_size=2))
def test_a_draft_sets_exactly_its_field(tree: dict[str, Any], way: list[str], wanted: str | None) -> None:
    at: At = tuple(way)
    if any(isinstance(value(tree, at[:depth]), str) for depth in range(1, len(at))):
        return  # text is no place for fields
    draft = Draft(tree)
    draft.put(at, wanted)
    assert value(patched(tree, draft.operations), at) == wanted
    assert not draft.operations or value(tree, at) != wanted


def test_two_new_fields_of_one_new_map_are_both_there() -> None:
    draft = Draft({})
    draft.put(("labels", "a"), "1")
    draft.put(("labels", "b"), "2")
    assert patched({}, draft.operations) == {"labels": {"a": "1", "b": "2"}}


@pytest.mark.parametrize(
    "change",
    [
        Edit("/x", "uid", (Field(("spec", 0, "n"), None, 3), Field(("a/b",), "x", None)), "scale"),
        Create("/x", {"metadata": {"name": "n"}}),
        Removal("/x", "uid", "evict"),
    ],
)
def test_a_change_is_the_same_after_it_was_stored(change: changes.Change) -> None:
    assert changes.read(json.loads(json.dumps(changes.stored(change)))) == change


LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("selector", "held", "keys"),
    [
        ({}, True, set()),
        ({"matchLabels": {"app": "web"}}, True, {"app"}),
        ({"matchLabels": {"app": "db"}}, False, {"app"}),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}, True, {"tier"}),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, False, set()),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["x"]}]}, True, set()),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True, {"app"}),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False, set()),
    ],
)
def test_selectors_choose_as_the_api_says(selector: dict[str, Any], held: bool, keys: set[str]) -> None:
    assert matches(selector, LABELS) is held
    assert needed(selector) == keys
    if held:
        for key in keys:
            assert not matches(selector, {name: text for name, text in LABELS.items() if name != key})
