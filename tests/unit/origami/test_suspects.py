"""The fast lane's detectors: what they tell, what they learn, and what they do without."""

import dataclasses
import json
import subprocess
import sys

import pytest

from loomidi.contracts import Severity
from loomidi.contracts.ports import Suspect
from loomidi.origami.online import SuspectDetectors
from tests.unit.origami.making import START

WINDOW = 100_000_000  # ns


def suspect(**values):
    given = {
        "kind": "service",
        "reasons": ("packets",),
        "at_ns": START + WINDOW,
        "first_ns": START,
        "source": "198.51.100.66",
        "destination": "10.0.0.80",
        "source_port": 50000,
        "destination_port": 443,
        "protocol": 6,
        "packets": 0,
        "octets": 0,
        "syns": 0,
        "ports": 1,
        "hosts": 1,
    }
    return Suspect(**given | values)


ATTACKS = {
    "syn_flood": suspect(packets=500, syns=500, octets=20000, hosts=200),
    "udp_flood": suspect(protocol=17, packets=2000, octets=1_000_000, destination_port=9999),
    "amplification": suspect(protocol=17, source_port=123, packets=500, octets=220_000, hosts=120),
    "icmp_flood": suspect(protocol=1, packets=500, octets=50_000, destination_port=0, source_port=0),
    "ip_flood": suspect(protocol=47, packets=4000, octets=50_000, destination_port=0, source_port=0),
    "tcp_flag_flood": suspect(packets=1000, octets=40_000, hosts=800),
    "vertical_scan": suspect(kind="source", packets=40, syns=40, ports=40),
    "horizontal_scan": suspect(kind="source", packets=50, syns=50, hosts=50, destination_port=445),
    "brute_force": suspect(kind="source", packets=80, syns=16, destination_port=22),
}


@pytest.mark.parametrize("pattern", ATTACKS)
def test_each_pattern_is_told_from_one_short_window(pattern):
    finding = SuspectDetectors().judge(ATTACKS[pattern])
    assert finding.pattern == pattern
    assert finding.severity is not Severity.INFO
    assert any(evidence.threshold is not None for evidence in finding.evidence)
    assert finding.techniques[0].startswith("T1")


def test_many_sources_are_not_blamed_but_one_is():
    many = SuspectDetectors().judge(ATTACKS["syn_flood"])
    two = SuspectDetectors().judge(dataclasses.replace(ATTACKS["syn_flood"], hosts=2))
    one = SuspectDetectors().judge(dataclasses.replace(ATTACKS["syn_flood"], kind="source", hosts=1))
    assert many.entities == ("service/10.0.0.80:443/tcp",)
    assert two.entities == ("service/10.0.0.80:443/tcp",)  # whose packet crossed the threshold may be anybody's
    assert one.entities == ("host/198.51.100.66", "service/10.0.0.80:443/tcp")


@pytest.mark.parametrize(
    "benign",
    [
        suspect(packets=3000, syns=300, octets=2_000_000, hosts=200),  # a busy server: ten packets a connection
        suspect(kind="source", packets=5000, syns=2, octets=7_000_000),  # an upload
        suspect(protocol=17, packets=200, octets=240_000, destination_port=50004),  # video, 2,000 packets/s
        suspect(protocol=17, source_port=53, packets=30, octets=4000, destination_port=40000),  # a resolver's answers
        suspect(kind="source", protocol=17, source_port=443, packets=900, octets=1_200_000),  # a QUIC download
        suspect(kind="source", protocol=17, source_port=4500, packets=900, octets=1_200_000),  # a VPN
        suspect(kind="source", packets=80, syns=16, destination_port=5432),  # an application and its database
        suspect(kind="source", protocol=17, source_port=53, packets=60, ports=60),  # a resolver to many clients' ports
        suspect(kind="source", packets=60, syns=60, hosts=60, destination_port=8333),  # peers
    ],
)
def test_what_is_busy_but_benign_is_not_told(benign):
    assert SuspectDetectors().judge(benign) is None


def test_a_rate_that_is_usual_for_a_service_is_no_longer_told():
    busy = suspect(protocol=17, packets=600, octets=600_000, destination_port=9999)
    detectors = SuspectDetectors()
    assert detectors.judge(busy) is not None
    for _ in range(20):
        detectors.learn(busy)
    assert detectors.judge(busy) is None
    louder = dataclasses.replace(busy, packets=6000)
    assert detectors.judge(louder).pattern == "udp_flood"


def test_what_was_learned_survives_as_json():
    detectors, other = SuspectDetectors(), SuspectDetectors()
    busy = suspect(protocol=17, packets=600, octets=600_000, destination_port=9999)
    for _ in range(20):
        detectors.learn(busy)
    other.restore(json.loads(json.dumps(detectors.snapshot())))
    assert other.judge(busy) is None


def test_a_finding_is_the_same_for_the_same_suspect():
    assert SuspectDetectors().judge(ATTACKS["syn_flood"]) == SuspectDetectors().judge(ATTACKS["syn_flood"])


def test_ipv6_services_are_named_with_brackets():
    finding = SuspectDetectors().judge(dataclasses.replace(ATTACKS["syn_flood"], destination="2001:db8::1"))
    assert finding.entities == ("service/[2001:db8::1]:443/tcp",)


def test_the_fast_lane_loads_neither_numpy_nor_pyarrow():
    code = (
        "import sys; from loomidi.origami.online import SuspectDetectors; SuspectDetectors();"
        "sys.exit(bool({'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
