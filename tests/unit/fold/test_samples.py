"""The samples say what they show, and there is one for whatever can be said; the API server judges them elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loomidi.contracts import FoldKind, Mode
from loomidi.fold.resources import fold_definition, fold_policy_definition

SAMPLES = Path(__file__).resolve().parents[3] / "deployments" / "samples"
ALLOWED, REFUSED = (sorted((SAMPLES / name).glob("*.yaml")) for name in ("allowed", "refused"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", [*ALLOWED, *REFUSED], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_sample_says_in_its_first_line_what_it_shows(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# Refused: ") is (path.parent.name == "refused")
    assert len(first) > 20
    assert read(path)["metadata"]["name"] in path.stem


def rules(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Every rule on a schema and below it."""
    yield from schema.get("x-kubernetes-validations", ())
    for inner in (*schema.get("properties", {}).values(), schema.get("items")):
        if inner:
            yield from rules(inner)


@pytest.mark.parametrize("definition", [fold_definition(), fold_policy_definition()], ids=["Fold", "FoldPolicy"])
def test_there_is_a_refused_sample_for_every_rule_on_a_spec(definition: dict[str, Any]) -> None:
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    shown = {path.read_text().splitlines()[0].removeprefix("# Refused: ") for path in REFUSED}
    plain = {rule["message"] for rule in rules(spec) if "messageExpression" not in rule}
    assert len(plain) > 8
    assert plain - shown == set()


def test_there_is_an_allowed_sample_of_every_kind_and_every_mode() -> None:
    specs = [read(path)["spec"] for path in ALLOWED if read(path)["kind"] == "Fold"]
    assert {spec["kind"] for spec in specs} == set(FoldKind)
    assert {spec.get("mode", "shadow") for spec in specs} == set(Mode)
