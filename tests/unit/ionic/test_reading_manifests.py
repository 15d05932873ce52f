"""Manifests reach the guards as the API server would get them."""

import pytest

from loomidi.ionic.errors import BadManifest
from loomidi.ionic.manifests import read_manifests


def test_times_and_keys_stay_text() -> None:
    (read,) = read_manifests("kind: ConfigMap\ndata: {2026-11-26: 2026-11-26, 7: x}\n")
    assert read["data"] == {"2026-11-26": "2026-11-26", "7": "x"}


def test_lists_within_lists_are_taken_apart_and_items_of_a_typed_list_get_its_kind() -> None:
    text = "kind: List\nitems:\n- kind: PodList\n  items: [{metadata: {name: a}}]\n- {kind: Service}\n"
    assert [each["kind"] for each in read_manifests(text)] == ["Pod", "Service"]


def test_merged_keys_may_be_overridden_as_yaml_means_it() -> None:
    text = "kind: ConfigMap\nx: &x {a: '1', b: '2'}\ndata: {<<: *x, a: '3'}\n"
    assert read_manifests(text)[0]["data"] == {"a": "3", "b": "2"}


def test_empty_documents_are_passed_over() -> None:
    assert len(read_manifests("---\n---\nkind: Pod\n---\n")) == 1


@pytest.mark.parametrize(
    "text",
    ["kind: 7", "7", "kind: List\nitems: 7", "kind: Pod\nkind: Pod", "a: !!python/none x", "kind: Pod\nx: !!set {a}"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadManifest):
        read_manifests(text)


def test_lists_without_an_end_are_refused() -> None:
    text = "{kind: List, items: [" * 20 + "{kind: Pod}" + "]}" * 20
    with pytest.raises(BadManifest, match="not a Kubernetes object"):
        read_manifests(text)
