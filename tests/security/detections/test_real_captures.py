"""Real captures: the four floods are found; hardly any of nDPI's captures raises a false finding."""

from pathlib import Path

import pytest
import yaml

from loomidi.origami.online import PATTERNS
from loomidi.origami.online.rules import rules_folder
from tests.security.detections.replaying import findings_of, serious

ROOT = Path(__file__).resolve().parents[3]
FLOODS = {
    "amp.UDP.isakmp.pcap": ("amplification", 4500),
    "amp.UDP.snmp.src161.pcapng": ("amplification", 161),
    "amp.dns.RRSIG.fragmented.pcap": ("amplification", 53),
    "pkt.TCP.synflood.spoofed.pcap": ("syn_flood", None),
}


@pytest.mark.data
@pytest.mark.parametrize("capture", FLOODS)
def test_each_real_flood_is_found_with_its_pattern_and_nothing_else(capture, ddos):
    pattern, port = FLOODS[capture]
    (finding,) = serious(findings_of(ddos / capture))
    assert finding.pattern == pattern
    assert finding.confidence > 0.9
    assert port in [None, *(evidence.value for evidence in finding.evidence if evidence.name == "source_port")]


@pytest.mark.data
@pytest.mark.slow
def test_at_most_three_percent_of_the_ndpi_captures_raise_a_false_finding(ndpi):
    verdicts = yaml.safe_load((rules_folder() / "verdicts.yaml").read_text())
    captures = [path for path in sorted((ndpi / "pcap").iterdir()) if "cap" in path.suffix]
    false = [
        path.name
        for path in captures
        for finding in serious(findings_of(path))
        if not verdicts.get(path.name, {}).get(finding.pattern, {}).get("verdict")
    ]
    assert len(captures) >= 200
    assert len(set(false)) <= 0.03 * len(captures), false


def test_the_page_tells_every_pattern_and_every_verdict():
    page = (ROOT / "docs" / "detections.md").read_text()
    verdicts = yaml.safe_load((rules_folder() / "verdicts.yaml").read_text())
    assert [pattern for pattern in PATTERNS if f"`{pattern}`" not in page] == []
    assert [capture for capture in verdicts if capture not in page] == []
