"""The chart says nothing twice: its files, lists and page are what their sources say, and its values fit its schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from loomidi.ionic.act.kube import KINDS
from tools import chart

GIVEN = sorted([*chart.DEPLOYMENTS.glob("cloud/*.yaml"), *chart.DEPLOYMENTS.glob("minikube/*.yaml")])
SCHEMA: dict[str, Any] = json.loads((chart.CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((chart.CHART / "values.yaml").read_text())


def test_the_copies_in_the_chart_are_those_that_are_generated() -> None:
    there = {path: path.read_text() for path in chart.FILES.rglob("*.yaml")}
    assert there == chart.rendered(), "run: make docs"


def test_the_page_names_every_value_with_its_default() -> None:
    assert chart.PAGE.read_text() == chart.page(), "run: make docs"
    assert sorted(leaves(VALUES)) == sorted(name for name, _, _ in chart.values())


def test_every_kind_of_the_driver_can_be_allowed_and_is() -> None:
    kinds = [kind.value for kind in KINDS]
    assert VALUES["operator"]["kinds"] == kinds
    assert SCHEMA["properties"]["operator"]["properties"]["kinds"]["items"]["enum"] == kinds


def test_every_value_is_in_the_schema_and_no_other() -> None:
    jsonschema.validate(VALUES, SCHEMA)
    assert unlisted(VALUES, SCHEMA) == []


@pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.name)
def test_values_that_we_ship_fit_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_it_begins_in_shadow_and_holds_no_secret() -> None:
    assert VALUES["mode"] == "shadow"
    secrets = {name: value for name, value in leaves(VALUES).items() if name.lower().endswith("secret")}
    assert len(secrets) >= 8
    assert set(secrets.values()) == {""}


def leaves(values: dict[str, Any], place: str = "") -> dict[str, Any]:
    """By name with dots, as deep as values.yaml is written on lines of its own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        flat = name in ("requests", "limits", "nodeSelector") or not isinstance(value, dict) or not value
        found |= {f"{place}{name}": value} if flat else leaves(value, f"{place}{name}.")
    return found


def unlisted(values: dict[str, Any], schema: dict[str, Any], place: str = "") -> list[str]:
    """Names of the schema that values.yaml does not show."""
    found = []
    for name, inner in schema.get("properties", {}).items():
        if name not in values:
            found += [f"{place}{name}"] if name not in ("global", "ephemeral-storage") else []
        elif isinstance(values[name], dict):
            found += unlisted(values[name], inner, f"{place}{name}.")
    return found
