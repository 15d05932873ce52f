"""Whom findings blame, and whether they say so in words."""

import dataclasses
import json
from typing import Any

import pyarrow as pa

from loomidi.contracts.schemas import FINDINGS
from loomidi_lab.drills.telling import about, told_of

SCANNER = {"entity": {"kind": "Pod", "namespace": "tenants", "name": "feed-reader"}, "pods": []}
CATALOG = {"entity": {"kind": "Deployment", "namespace": "shop", "name": "catalog"}, "pods": []}
WORDS = "What was seen: much.\nLikely cause: Most likely: workload/shop/catalog, 80% of the blame, by latency.\n"


def row(told: int, **changes: Any) -> dict[str, Any]:
    """A finding of the model that blames the catalog first."""
    causes = [("root_cause_1", "workload/shop/catalog"), ("root_cause_2", "node/n1")]
    evidence = [{"name": name, "value": value} for name, value in causes]
    plain = {"finding_id": "f", "state": "new", "pattern": "anomaly", "severity": "medium", "source": "origami.scoring"}
    times = {"told": told, "first": 1, "last": 2, "confidence": 0.9, "techniques": [], "folds": "[]"}
    more = {"entities": ["workload/shop/catalog", "workload/shop/cart"], "explanation": WORDS}
    return plain | times | more | {"evidence": json.dumps(evidence)} | changes


def table(*rows: dict[str, Any]) -> pa.Table:
    """As the lake gives it."""
    return pa.Table.from_pylist(list(rows), schema=FINDINGS)


def test_findings_come_in_the_order_of_telling_with_their_causes() -> None:
    first, second = told_of(table(row(9, state="over"), row(3)))
    assert (first.state, second.state) == ("new", "over")
    assert first.causes == ("workload/shop/catalog", "node/n1")
    assert first.alarm
    assert not dataclasses.replace(first, severity="info").alarm


def test_a_cause_counts_only_where_it_is_also_said_in_words() -> None:
    (told,) = told_of(table(row(3)))
    assert told.blames([CATALOG])
    assert not told.blames([SCANNER])
    assert not dataclasses.replace(told, explanation="What was seen: much.").blames([CATALOG])


def test_who_is_only_named_is_not_blamed() -> None:
    (told,) = told_of(table(row(3, entities=["pod/tenants/feed-reader"])))
    assert about([told], [SCANNER]) == [told]
    assert not told.blames([SCANNER])


def test_a_rule_without_causes_blames_whom_it_names_first() -> None:
    words = "What was seen: ports. Involved: pod/tenants/feed-reader, with workload/shop/catalog.\nBy which rule: x"
    ends = ["pod/tenants/feed-reader", "workload/shop/catalog"]
    (told,) = told_of(table(row(3, evidence="[]", entities=ends, explanation=words)))
    assert told.blames([SCANNER])
    assert not told.blames([CATALOG])
    assert not dataclasses.replace(told, explanation="What was seen: ports.").blames([SCANNER])


def test_what_is_about_others_is_left_out() -> None:
    assert about(told_of(table(row(3))), [SCANNER]) == []
