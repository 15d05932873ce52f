"""A finding becomes a STIX bundle that OASIS's library takes, with ids that do not change."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings

from loomidi.contracts import Finding
from loomidi.ionic.events import sighting
from tests.unit.ionic.events import judging
from tests.unit.ionic.events.judging import ABOUT, FLOOD, stix


def objects(finding: Finding) -> dict[str, Any]:
    return {one["type"]: one for one in stix(sighting(finding, ABOUT))["objects"]}


def test_a_finding_is_a_sighting_of_an_indicator_by_us() -> None:
    found = objects(FLOOD)
    assert found["sighting"]["sighting_of_ref"] == found["indicator"]["id"]
    assert found["sighting"]["where_sighted_refs"] == [found["identity"]["id"]]
    assert found["sighting"]["observed_data_refs"] == [found["observed-data"]["id"]]
    assert found["relationship"]["target_ref"] == found["attack-pattern"]["id"]
    assert found["attack-pattern"]["external_references"][0]["external_id"] == "T1498.001"


@pytest.mark.parametrize(
    ("first", "language", "pattern"),
    [
        ("host/203.0.113.9", "stix", "[ipv4-addr:value = '203.0.113.9']"),
        ("external/2001:db8::1", "stix", "[ipv6-addr:value = '2001:db8::1']"),
        ("network/203.0.113.0/24", "stix", "[ipv4-addr:value ISSUBSET '203.0.113.0/24']"),
        ("service/10.0.0.2:80/tcp", "loomidi", '{"pattern": "syn_flood", "entities": ["service/10.0.0.2:80/tcp"]}'),
        ("host/1.2.3.4' OR '1'='1", "loomidi", None),
    ],
)
def test_only_an_address_outside_becomes_a_pattern(first: str, language: str, pattern: str | None) -> None:
    indicator = objects(dataclasses.replace(FLOOD, entities=(first,)))["indicator"]
    assert indicator["pattern_type"] == language
    assert pattern in (None, indicator["pattern"])


def test_the_address_of_an_object_has_the_id_that_the_standard_gives_it() -> None:
    address = objects(FLOOD)["ipv4-addr"]
    import stix2

    assert address["id"] == stix2.v21.IPv4Address(value=address["value"]).id


def test_the_same_finding_gives_the_same_bundle_and_a_later_telling_the_same_indicator() -> None:
    later = dataclasses.replace(FLOOD, last_ns=FLOOD.last_ns + 10**9)
    assert sighting(FLOOD, ABOUT) == sighting(FLOOD, ABOUT)
    before, after = objects(FLOOD), objects(later)
    assert before["indicator"]["id"] == after["indicator"]["id"]
    assert before["indicator"]["modified"] < after["indicator"]["modified"]
    assert before["sighting"]["id"] != after["sighting"]["id"]


@settings(deadline=None)
@given(judging.FINDINGS)
def test_every_finding_renders_to_a_valid_bundle(finding: Finding) -> None:
    bundle = stix(sighting(finding, ABOUT))
    assert [one["type"] for one in bundle["objects"]].count("sighting") == 1
