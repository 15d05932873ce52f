"""The library for manifests gives in process the answers of an OPA server: our samples, the corpus, mutations."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.ionic.decide import ManifestGuard
from loomidi.ionic.manifests import read_manifests
from tests.security.guardrails.corpus import LIBRARY, expectations, mapped

pytestmark = pytest.mark.timeout(1800)  # a minute of a processor in all, which others may want as well
Ask = Callable[[Any], dict[str, Any]]
MUTATED, SEED = 200, 2611
EDGES = (0, 1, -1, "", "x", "0", True, False, None, [], {}, [1], ["ALL"], {"name": "x"})


@pytest.fixture(scope="module")
def guard() -> ManifestGuard:
    return ManifestGuard()


def own_samples() -> list[dict[str, Any]]:
    return [each for path in sorted(LIBRARY.glob("samples/*/*.yaml")) for each in read_manifests(path.read_text())]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value, inner ones included."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in steps:
        yield from places(inner, (*path, key))


def mutated(manifest: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """One place of the manifest replaced by an edge case."""
    manifest = copy.deepcopy(manifest)
    *way, last = dice.choice(list(places(manifest)))
    holder: Any = manifest
    for step in way:
        holder = holder[step]
    holder[last] = copy.deepcopy(dice.choice(EDGES))
    return manifest


def differences(guard: ManifestGuard, ask: Ask, manifests: list[dict[str, Any]]) -> list[str]:
    """Where one engine allows and the other does not."""
    found = []
    for manifest in manifests:
        ours = {verdict.rule for verdict in guard.judge(manifest) if verdict.allow is True}
        theirs = set(ask({"object": manifest}).get("holds", ()))
        if ours != theirs:
            found.append(f"{sorted(ours ^ theirs)}: {json.dumps(manifest)[:2000]}")
    return found


def test_our_own_samples_are_judged_alike(ask_opa_library: Ask, guard: ManifestGuard) -> None:
    assert differences(guard, ask_opa_library, own_samples()) == []


@pytest.mark.timeout(300)
def test_mutated_samples_are_judged_alike(ask_opa_library: Ask, guard: ManifestGuard) -> None:
    dice, samples = random.Random(SEED), own_samples()
    manifests = [mutated(dice.choice(samples), dice) for _ in range(MUTATED)]
    assert differences(guard, ask_opa_library, manifests) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("one_of", [5, pytest.param(1, marks=pytest.mark.lab_long)])
def test_the_corpus_is_judged_alike(ask_opa_library: Ask, guard: ManifestGuard, kyverno: Path, one_of: int) -> None:
    samples = {json.dumps(e.manifest, sort_keys=True) for line in mapped() for e in expectations(kyverno, line)}
    assert len(samples) > 500
    assert differences(guard, ask_opa_library, [json.loads(text) for text in sorted(samples)[::one_of]]) == []
