"""Rules as data: complete, and a broken one says which file."""

import pytest

from loomidi.contracts import InputError
from loomidi.origami.online import PATTERNS, load_rules
from loomidi.origami.online.rules import rules_folder


def test_every_pattern_has_techniques_a_sentence_and_thresholds():
    rules = load_rules()
    assert tuple(rules) == PATTERNS
    for rule in rules.values():
        assert all(technique.startswith("T1") for technique in rule.techniques)
        assert rule.sentence.endswith(".")
        assert rule.thresholds


def test_each_threshold_has_its_reason_beside_it_or_a_name_that_says_it():
    for path in rules_folder().glob("*/rule.yaml"):
        text = path.read_text()
        assert text.startswith("# "), path
        assert "thresholds:" in text


def test_a_broken_rule_names_the_detection(tmp_path):
    for pattern in PATTERNS:
        (tmp_path / pattern).mkdir()
        text = (rules_folder() / pattern / "rule.yaml").read_text()
        (tmp_path / pattern / "rule.yaml").write_text(text if pattern != "udp_flood" else "pattern: udp_flood\n")
    with pytest.raises(InputError, match="udp_flood"):
        load_rules(tmp_path)
