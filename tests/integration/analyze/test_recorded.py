"""Real attack captures: the right pattern, a fitting fold, a document that fits its schema."""

import json
from pathlib import Path

import jsonschema
import pytest

import loomidi
from loomidi.insight.report import document

pytestmark = pytest.mark.data
SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "analyze.schema.json").read_text())
TRUTH = {
    "pkt.TCP.synflood.spoofed.pcap": "syn_flood",
    "amp.dns.RRSIG.fragmented.pcap": "amplification",
    "amp.UDP.snmp.src161.pcapng": "amplification",
    "amp.UDP.isakmp.pcap": "amplification",
}


@pytest.mark.parametrize("name", TRUTH)
def test_the_attack_in_the_file_is_found_and_answered(ddos: Path, name: str) -> None:
    report = loomidi.analyze(ddos / name)
    assert report.alarms[0].pattern == TRUTH[name]
    assert any(proposed.fold.action == "rate" and proposed.allowed for proposed in report.proposals(report.alarms[0]))
    assert report.balance.adds_up
    assert report.balance.received == report.flows.packets
    jsonschema.Draft202012Validator(SCHEMA).validate(document.document(report))
