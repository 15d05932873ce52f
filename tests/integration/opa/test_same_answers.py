"""The engine in process gives the answers of an OPA server: the reason why it may stand in for one."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.ionic.decide import BASE_RULES, RegoGuard
from loomidi.ionic.decide.guards.rego import question
from loomidi.ionic.documents import read_plan

SAMPLES = sorted((Path(__file__).parents[3] / "rules" / "guardrails" / "samples").rglob("*.json"))
GENERATED, SEED = 500, 1109
EDGES = (
    0,
    1,
    -1,
    0.5,
    0.8,
    0.6,
    64,
    65,
    1024,
    3600,
    3600.0,
    3600.5,
    2**63 - 1,
    1e300,
    "",
    "x",
    "1",
    True,
    False,
    None,
    [],
    {},
    [1],
    "evict",
    "CORDON",
    "node/worker-1",
    "pod/kube-system/cart-0",
    "workload/shop/cart.",
    "pod/shop/Cart_0",
    "//",
)

Ask = Callable[[Any], dict[str, Any]]


def inputs() -> list[dict[str, Any]]:
    """The input documents of all samples."""
    read = [json.loads(path.read_text()) for path in SAMPLES]
    return [question(read_plan(sample["plan"]), sample["facts"]) for sample in read]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value, inner ones included."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in steps:
        yield from leaves(inner, (*path, key))


def changed(document: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One to three places of the document taken out or replaced by an edge case."""
    document = copy.deepcopy(document)
    for _ in range(dice.randint(1, 3)):
        *way, last = dice.choice(list(leaves(document)))
        holder = document
        for step in way:
            holder = holder[step]
        if isinstance(holder, dict) and dice.random() < 0.25:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(dice.choice(EDGES))
    return document


def verdicts_of_opa(answer: dict[str, Any]) -> dict[str, bool | None]:
    holds, reason = answer.get("holds", []), answer.get("reason", {})
    return {rule: True if rule in holds else False if rule in reason else None for rule in BASE_RULES}


@pytest.mark.parametrize("document", inputs(), ids=[path.stem for path in SAMPLES])
def test_every_sample_is_judged_alike(ask_opa: Ask, document: dict[str, Any]) -> None:
    ours = {verdict.rule: verdict.allow for verdict in RegoGuard(timeout_s=5).evaluate(document)}
    assert ours == verdicts_of_opa(ask_opa(document))


def test_generated_inputs_are_judged_alike(ask_opa: Ask) -> None:
    dice, guard, samples = random.Random(SEED), RegoGuard(timeout_s=5), inputs()
    for _ in range(GENERATED):
        document = changed(dice.choice(samples), dice)
        ours = {verdict.rule: verdict.allow for verdict in guard.evaluate(document)}
        assert ours == verdicts_of_opa(ask_opa(document)), json.dumps(document)


def test_numbers_that_the_engine_would_change_are_refused_before_it_sees_them() -> None:
    document = inputs()[0]
    document["facts"]["limits"]["min_confidence"]["drop"] = 2**64
    assert {verdict.allow for verdict in RegoGuard(timeout_s=5).evaluate(document)} == {None}


def test_reasons_are_the_same_text(ask_opa: Ask) -> None:
    guard = RegoGuard(timeout_s=5)
    for document in inputs():
        against = {verdict.rule: verdict.reason for verdict in guard.evaluate(document) if verdict.allow is False}
        assert against.items() <= ask_opa(document)["reason"].items()
