"""What people see: columns, selectors, short names, and a word on every field."""

from typing import Any

import pytest

from loomidi.fold.resources import Phase
from loomidi_lab.cluster.api import ApiRefused
from tests.integration.kube.crd.definitions import FOLDS, POLICIES, fold, made, move
from tests.integration.kube.crd.servers import Kube

FINDING = {"id": "test", "pattern": "horizontal_scan", "severity": "high", "confidence": 0.9}


def test_the_table_of_folds_reads_like_a_story(kube: Kube) -> None:
    path = made(kube, Phase.PROPOSED, finding=FINDING)
    move(kube, path, Phase.GUARDED, until="2026-01-01T12:15:00Z", message="waits for approvals")
    row = next(row for row in kube.table(FOLDS) if row["Name"] == path.rpartition("/")[2])
    story = [row[name] for name in ("Kind", "Target", "Mode", "Phase", "Because", "Until")]
    assert story == [
        "ISOLATE_POD", "pod/default/a", "guarded", "Guarded", "horizontal_scan", "2026-01-01T12:15:00Z",
    ]  # fmt: skip
    assert (row["Finding"], row["Severity"], row["Message"]) == ("test", "high", "waits for approvals")


def test_kubectl_shows_more_with_wide(kube: Kube) -> None:
    made(kube, Phase.PROPOSED)
    head, wide = (kube.kubectl("get", "fd", *more).splitlines()[0].split() for more in ((), ("-o", "wide")))
    assert head == ["NAME", "KIND", "TARGET", "MODE", "PHASE", "BECAUSE", "UNTIL", "AGE"]
    assert wide == [*head, "ACTION", "FINDING", "SEVERITY", "PEERS", "POLICY", "MESSAGE"]


def test_the_table_of_policies_says_how_far_and_why_not(kube: Kube) -> None:
    when, allow = {"patterns": ["syn_flood"]}, [{"kind": "SCALE_OUT"}]
    spec = {"when": when, "allow": allow, "brakes": {"pause": {"reason": "load test"}}}
    policy = {"apiVersion": "loomidi.io/v1alpha1", "kind": "FoldPolicy", "metadata": {"generateName": "paused-"}}
    name = kube.api.post(POLICIES, policy | {"spec": spec})["metadata"]["name"]
    ready = {"type": "Ready", "status": "True", "reason": "Followed", "message": ""}
    condition = ready | {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    counts = {"active": 0, "waiting": 3, "denied": 2, "held": "CapNode (1)"}
    kube.api.patch(f"{POLICIES}/{name}/status", {"status": counts | {"conditions": [condition]}})
    row = next(row for row in kube.table(POLICIES) if row["Name"] == name)
    shown = [
        row[column] for column in ("Mode", "Active", "Waiting", "Denied", "Held", "Approvals", "Paused", "Ready", "TTL")
    ]
    assert shown == ["shadow", 0, 3, 2, "CapNode (1)", 0, "load test", "True", 300]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec.kind", "SCALE_OUT"),
        ("spec.target", "workload/shop/selected"),
        ("spec.mode", "autonomous"),
        ("spec.because", "selected"),
        ("spec.policy", "selecting"),
        ("status.phase", "Denied"),
    ],
)
def test_folds_are_selected_by_field(kube: Kube, field: str, value: str) -> None:
    chosen = {"kind": "SCALE_OUT", "action": "scale", "replicas": 1, "target": "workload/shop/selected"}
    named = {"mode": "autonomous", "because": "selected", "policy": "selecting"}
    wanted = made(kube, Phase.PROPOSED, Phase.DENIED, **chosen, **named).rpartition("/")[2]
    other = made(kube, Phase.PROPOSED).rpartition("/")[2]
    found = {obj["metadata"]["name"] for obj in kube.api.list(FOLDS, fieldSelector=f"{field}={value}")}
    assert wanted in found
    assert other not in found


def test_a_field_that_is_not_selectable_is_refused(kube: Kube) -> None:
    with pytest.raises(ApiRefused, match="field label not supported"):
        kube.api.list(FOLDS, fieldSelector="spec.ttlSeconds=60")


def test_short_names_and_the_category_work(kube: Kube) -> None:
    name = kube.api.post(FOLDS, fold())["metadata"]["name"]
    for asked in ("fold", "folds", "fd", "loomidi"):
        assert name in kube.kubectl("get", asked, "-o", "name")
    kube.kubectl("get", "fpol")


@pytest.mark.parametrize("kind", ["Fold", "FoldPolicy"])
def test_every_field_that_is_published_says_what_it_is(kube: Kube, kind: str) -> None:
    document = kube.api.get("/openapi/v3/apis/loomidi.io/v1alpha1")["components"]["schemas"]
    fields = dict(every_field(document[f"io.loomidi.v1alpha1.{kind}"]))
    assert len(fields) > 60
    assert [path for path, field in fields.items() if not told(field)] == []


@pytest.mark.parametrize("kind", ["folds", "foldpolicies"])
def test_explain_has_a_word_on_every_field(kube: Kube, kind: str) -> None:
    text = kube.kubectl("explain", kind, "--recursive")
    for part in ("spec", "status"):
        text = kube.kubectl("explain", f"{kind}.{part}")
        assert "<no description>" not in text
    assert "DESCRIPTION" in text


def every_field(schema: dict[str, Any], path: str = "") -> Any:
    """Each property below a schema, with its path; items of lists are below their list."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from every_field(field, f"{path}.{name}")
        yield from every_field(field.get("items", {}), f"{path}.{name}[]")


def told(field: dict[str, Any]) -> str:
    """The field's description, or of what it refers to."""
    return str(field.get("description") or (field.get("allOf") or field.get("$ref") or ""))
