"""A finding as a STIX 2.1 bundle: who saw it, what was seen, by which sign to know it again, the sighting.

Called by `services.events` and `loomidi events`. In: a `Finding`. Out: a bundle as a dict; the same finding gives the
same ids (UUIDv5), so that who holds them merges instead of collecting. An address becomes an indicator only where it is
the entity to act on first and stands outside: an indicator of a victim's address would have others block the victim.
Source: STIX 2.1 (OASIS, 2021), sections 2.9, 4.7, 4.14, 5.2, 6. Pure.
"""

import dataclasses
import datetime
import json
import uuid
from typing import Any

from loomidi.contracts import Finding
from loomidi.ionic.decide.places import REMOTE_KINDS, place
from loomidi.ionic.events.framing import About, cleaned

_OBSERVABLES = uuid.UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")  # STIX 2.1, section 2.9: of deterministic ids
_OURS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:loomidi:stix")
_BEGIN = "2026-01-01T00:00:00.000Z"  # of what never changes
_LAST_NS = 253_402_300_799_999_000_000  # the end of year 9999, which no timestamp of STIX passes


def sighting(finding: Finding, about: About) -> dict[str, Any]:
    """The bundle; objects in the order in which they refer to each other."""
    finding = _bounded(finding)
    identity = _identity(about)
    seen = [_address(one) for one in dict.fromkeys(filter(None, (place(one).address for one in finding.entities)))]
    indicator = _indicator(finding, identity["id"])
    attacks = [_attack(one, about, identity["id"]) for one in dict.fromkeys(finding.techniques)]
    means = [_indicates(indicator, one, identity["id"]) for one in attacks]
    observed = [_observed(finding, identity["id"], seen)] if seen else []
    sighted = _sighted(finding, identity["id"], indicator["id"], observed)
    objects = [identity, *seen, *observed, indicator, *attacks, *means, sighted]
    bundle = {"type": "bundle", "id": _id("bundle", finding.id, sighted["id"]), "objects": objects}
    cleaned_bundle: dict[str, Any] = cleaned(bundle)
    return cleaned_bundle


def _bounded(finding: Finding) -> Finding:
    first = min(max(finding.first_ns, 0), _LAST_NS)
    return dataclasses.replace(finding, first_ns=first, last_ns=min(max(finding.last_ns, first), _LAST_NS))


def _identity(about: About) -> dict[str, Any]:
    name = f"Loomidi on {about.node}" if about.node else "Loomidi"
    told = _common("identity", name, "", 0) | {"created": _BEGIN, "modified": _BEGIN}
    del told["created_by_ref"]
    return told | {"name": name, "identity_class": "system"}


def _address(address: str) -> dict[str, Any]:
    kind = "ipv6-addr" if ":" in address else "ipv4-addr"
    contributes = json.dumps({"value": address}, separators=(",", ":"))
    return {
        "type": kind,
        "spec_version": "2.1",
        "id": f"{kind}--{uuid.uuid5(_OBSERVABLES, contributes)}",
        "value": address,
    }


def _observed(finding: Finding, by: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    told = _common("observed-data", f"{finding.id} {finding.last_ns}", by, finding.last_ns)
    when = {"first_observed": _time(finding.first_ns), "last_observed": _time(finding.last_ns)}
    return told | when | {"number_observed": 1, "object_refs": [one["id"] for one in seen]}


def _indicator(finding: Finding, by: str) -> dict[str, Any]:
    """What to look for: an address outside; else our own pattern, in a language of its own."""
    told = _common("indicator", finding.id, by, finding.first_ns)
    language, pattern = _pattern(finding)
    told |= {"name": finding.pattern.replace("_", " "), "pattern_type": language, "pattern": pattern}
    told |= {
        "modified": _time(finding.last_ns),
        "valid_from": _time(finding.first_ns),
        "confidence": round(100 * finding.confidence),
    }
    return told | ({"description": finding.explanation} if finding.explanation else {})


def _pattern(finding: Finding) -> tuple[str, str]:
    there = place(finding.entities[0]) if finding.entities else None
    if there is None or there.kind not in REMOTE_KINDS or not there.address:
        return "loomidi", json.dumps({"pattern": finding.pattern, "entities": finding.entities})
    kind = "ipv6-addr" if ":" in there.address else "ipv4-addr"
    compares = "ISSUBSET" if "/" in there.address else "="
    return "stix", f"[{kind}:value {compares} '{there.address}']"


def _attack(technique: str, about: About, by: str) -> dict[str, Any]:
    told = _common("attack-pattern", f"{technique} {by}", by, 0) | {"created": _BEGIN, "modified": _BEGIN}
    return told | {
        "name": about.technique(technique) or technique,
        "external_references": [{"source_name": "mitre-attack", "external_id": technique}],
    }


def _indicates(indicator: dict[str, Any], attack: dict[str, Any], by: str) -> dict[str, Any]:
    told = _common("relationship", f"{indicator['id']} {attack['id']}", by, 0)
    told |= {"created": indicator["created"], "modified": indicator["modified"]}
    return told | {"relationship_type": "indicates", "source_ref": indicator["id"], "target_ref": attack["id"]}


def _sighted(finding: Finding, by: str, of: str, observed: list[dict[str, Any]]) -> dict[str, Any]:
    told = _common("sighting", f"{finding.id} {finding.last_ns}", by, finding.last_ns)
    told |= {"first_seen": _time(finding.first_ns), "last_seen": _time(finding.last_ns), "sighting_of_ref": of}
    told |= {"where_sighted_refs": [by], "confidence": round(100 * finding.confidence)}
    return told | ({"observed_data_refs": [one["id"] for one in observed]} if observed else {})


def _common(kind: str, name: str, by: str, at_ns: int) -> dict[str, Any]:
    when = _time(at_ns)
    told = {"type": kind, "spec_version": "2.1", "id": _id(kind, name), "created": when, "modified": when}
    return told | {"created_by_ref": by}


def _id(kind: str, *parts: str) -> str:
    text = json.dumps([kind, *parts])
    return f"{kind}--{uuid.uuid5(_OURS, text)}"


def _time(at_ns: int) -> str:
    """RFC 3339 with ms, as STIX writes it."""
    seconds, rest = divmod(at_ns, 10**9)
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"
