"""Every detection finds its attack, with the right pattern and actors, and is silent on its look-alikes."""

import pytest

from loomidi.loom.capture.synthetic import SCENARIOS, Scenario, benign_http, mixed
from loomidi.origami.online import PATTERNS, load_rules
from loomidi.origami.online.rules import rules_folder
from tests.security.detections.look_alikes import LOOK_ALIKES
from tests.security.detections.replaying import replay, serious

RULES = load_rules()
TWINS = [
    (rule.pattern, twin["scenario"], twin.get("arguments", {})) for rule in RULES.values() for twin in rule.look_alikes
]


def attack_of(pattern: str) -> Scenario:
    how = RULES[pattern].replay
    return SCENARIOS[how["scenario"]](**how.get("arguments", {}))


def test_each_folder_of_rules_is_a_pattern_and_each_pattern_a_folder():
    assert {path.parent.name for path in rules_folder().glob("*/rule.yaml")} == set(PATTERNS)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_detection_has_an_attack_replay_of_its_own_pattern_and_a_look_alike(pattern):
    rule = RULES[pattern]
    assert rule.pattern == pattern
    assert attack_of(pattern).pattern == pattern
    assert rule.look_alikes
    assert rule.thresholds
    assert rule.techniques


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_attack_gives_exactly_one_finding_that_names_its_actors(pattern, tmp_path):
    attack = attack_of(pattern)
    (finding,) = serious(replay(attack.packets, tmp_path))
    assert finding.pattern == pattern
    assert all(any(actor in entity for entity in finding.entities) for actor in attack.actors)
    assert attack.first_ns <= finding.first_ns < finding.last_ns <= attack.last_ns
    assert any(evidence.threshold is not None for evidence in finding.evidence)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_attack_is_found_amid_other_traffic_and_blames_nobody_else(pattern, tmp_path):
    attack = attack_of(pattern)
    found = serious(replay(mixed(attack, benign_http()), tmp_path))
    assert [finding.pattern for finding in found] == [pattern]
    assert not any(entity.startswith("host/10.1.0.") for entity in found[0].entities)


@pytest.mark.parametrize(("pattern", "scenario", "arguments"), TWINS, ids=[f"{p}-{s}" for p, s, _ in TWINS])
def test_the_look_alike_stays_silent(pattern, scenario, arguments, tmp_path):
    assert serious(replay(LOOK_ALIKES[scenario](**arguments).packets, tmp_path)) == []


def test_a_flood_names_the_service_and_a_single_flooder_comes_first(tmp_path):
    (many,) = replay(SCENARIOS["syn_flood"]().packets, tmp_path)
    (single,) = replay(SCENARIOS["syn_flood"](sources=1).packets, tmp_path)
    assert many.entities == ("service/10.0.0.80:443/tcp",)
    assert single.entities == ("host/198.51.100.66", "service/10.0.0.80:443/tcp")


@pytest.mark.parametrize("scenario", ["syn_ack_reflection", "middlebox_reflection"])
def test_tcp_reflection_is_told_as_amplification(scenario, tmp_path):
    (finding,) = replay(SCENARIOS[scenario]().packets, tmp_path)
    assert finding.pattern == "amplification"
    assert "T1498.002" in finding.techniques


@pytest.mark.parametrize("port", [19, 53, 123, 161, 389, 1900, 3283, 3702, 4500, 7777, 11211, 37810])
def test_amplification_is_found_from_listed_and_unlisted_ports(port, tmp_path):
    attack = SCENARIOS["amplification"](packets=1000, reflectors=120, rate=500, port=port)
    (finding,) = replay(attack.packets, tmp_path)
    assert (finding.pattern, finding.entities[0]) == ("amplification", "host/10.0.0.80")
    assert next(e.value for e in finding.evidence if e.name == "source_port") == port


def test_later_fragments_are_counted_to_their_amplification(tmp_path):
    attack = SCENARIOS["amplification"](packets=500, port=11211, octets=8000)
    (finding,) = replay(attack.packets, tmp_path)
    assert next(e.value for e in finding.evidence if e.name == "fragments") == 5 * 500


@pytest.mark.parametrize("flags", [0, 1, 4, 16, 0x29, 0x3F, 0x03])
def test_floods_of_any_flags_without_connection_are_told(flags, tmp_path):
    (finding,) = replay(SCENARIOS["tcp_flag_flood"](packets=3000, flags=flags).packets, tmp_path)
    assert finding.pattern == "tcp_flag_flood"


def test_a_mix_of_reflectors_is_told_once_for_each_service(tmp_path):
    ports = (123, 389, 11211)
    attacks = [SCENARIOS["amplification"](packets=800, reflectors=90, rate=400, port=port, seed=port) for port in ports]
    found = replay(mixed(*attacks), tmp_path)
    assert {finding.pattern for finding in found} == {"amplification"}
    assert sorted(e.value for f in found for e in f.evidence if e.name == "source_port") == sorted(ports)
