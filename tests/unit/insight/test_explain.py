"""A finding is explained in plain words, from its records alone."""

import dataclasses
import re

import pytest

from loomidi.contracts.records import Evidence, Finding, FoldKind, FoldSpec, Match, Severity, Step
from loomidi.insight.explain import explain, patterns, phrase, technique, tell
from loomidi.insight.explain.telling import packets
from loomidi.origami.forecasts import FORETOLD
from loomidi.origami.online.failures import FAILURES
from loomidi.origami.online.rules import PATTERNS, load_rules
from loomidi.services.anomalies.incident_findings import ANOMALY
from tests.unit.insight.specimens import ALLOWED, FINDING, FOLD, PLAN, REFUSED, receipts

GOLDEN = """\
What was seen: One source tried many ports of the same host, nearly all without an answer: ports 1,000 (limit 30); \
octets sent 58.6 KiB. Involved: 192.0.2.7, with 198.51.100.1. It began at 2023-11-14 22:13:20.000000 UTC and lasted 4 s.
By which rule: Distinct ports probed on one host within the window exceed the limit, while few connections succeed. \
Detector: origami.online.flows.
ATT&CK: T1046 Network Service Discovery
Why it matters: Somebody is making a list of what runs there; what follows is usually an attempt on one of the open \
ports.
What would be done: Drop the packets from 192.0.2.7, for 5 min, then it ends by itself.
Blast radius: On the traffic seen it would touch 1 peer: 1,000 flows, 2,000 packets, 58.6 KiB (60,000 octets), 25.0% \
of all octets. Nobody else would be touched.
What the guards said: Allowed by all 2 rules of floor and rego:base.
How it is undone: Remove 192.0.2.7 from the shield."""


def of(pattern: str) -> Finding:
    return dataclasses.replace(FINDING, pattern=pattern)


def test_a_proposal_is_told_from_evidence_to_undo() -> None:
    assert explain(FINDING, [FOLD], plan=PLAN, judged=[(FOLD, ALLOWED)]) == GOLDEN


def test_a_carried_out_fold_is_told_step_by_step_from_its_receipts() -> None:
    told = dict(tell(FINDING, [FOLD], receipts()))
    assert told["What was decided"].startswith("Drop the packets from 192.0.2.7")
    assert told["What was done"] == (
        "At 2023-11-14 22:13:20.000000 UTC the intent and its inverse were recorded for driver xdp (receipt-0). "
        "At 2023-11-14 22:13:21.000000 UTC xdp applied it (receipt-1). "
        "At 2023-11-14 22:13:22.000000 UTC it was verified by measurement: dropped 1,234 (receipt-2). "
        "At 2023-11-14 22:13:23.000000 UTC xdp undid it and checked that it is gone (receipt-3)."
    )


def test_what_is_not_given_is_taken_from_the_receipts() -> None:
    approval = {"verdicts": [verdict.as_dict() for verdict in ALLOWED]}
    first = dataclasses.replace(receipts()[1], detail={"plan": PLAN.as_dict(), "approval": approval, "lane": "fast"})
    told = dict(tell(FINDING, (), [first]))
    assert told["What was decided"] == "Drop the packets from 192.0.2.7, for 5 min, then it ends by itself."
    assert told["Blast radius"].startswith("On the traffic seen it would touch 1 peer")
    assert told["What the guards said"] == "Allowed by all 2 rules of floor and rego:base."


def test_a_shadow_receipt_says_that_nothing_was_touched() -> None:
    shadow = dataclasses.replace(receipts()[0], step=Step.REFUSED, detail={"why": "mode shadow: nothing was touched"})
    told = dict(tell(FINDING, [FOLD], [shadow]))
    assert "What would be done" in told
    assert told["What was done"].endswith("nothing was touched: mode shadow: nothing was touched (receipt-0).")


def test_a_failed_undo_is_told_with_its_error() -> None:
    failed = dataclasses.replace(receipts()[3], step=Step.FAILED, detail={"why": "over", "error": "OSError: gone"})
    assert "xdp failed, it will be tried again: OSError: gone (receipt-3)." in explain(FINDING, [FOLD], [failed])


def test_a_measurement_that_did_not_hold_is_not_called_verified() -> None:
    chain = receipts()
    failed = dataclasses.replace(chain[2], detail={"holds": False, "dropped": 0})
    assert "measured and does not hold: dropped 0" in explain(FINDING, [FOLD], [*chain[:2], failed])


def test_a_guard_without_an_answer_is_told_as_a_denial() -> None:
    told = dict(tell(FINDING, [FOLD], plan=PLAN, judged=[(FOLD, REFUSED)]))
    expected = "Refused to drop 192.0.2.7: rego:base/aimed gave no answer, which counts as denial (no answer: late)."
    assert told["What the guards said"] == expected


def test_each_of_several_folds_has_its_answer() -> None:
    slow = dataclasses.replace(FOLD, action="rate", rate_pps=100)
    both = dict(tell(FINDING, [slow, FOLD], plan=PLAN, judged=[(slow, ALLOWED), (FOLD, ALLOWED)]))
    one = dict(tell(FINDING, [slow, FOLD], plan=PLAN, judged=[(slow, ALLOWED), (FOLD, REFUSED)]))
    assert both["What the guards said"] == "All 2 allowed by all 2 rules of floor and rego:base."
    assert one["What the guards said"].startswith("Refused to drop 192.0.2.7: rego:base/aimed gave no answer")
    assert one["What the guards said"].endswith("The other 1 is allowed.")
    assert both["Blast radius"].startswith("On the traffic seen the first of them would touch 1 peer")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_has_words_of_its_own(pattern: str) -> None:
    assert pattern in patterns()
    told = explain(of(pattern), [FOLD])
    assert phrase(pattern).seen in told
    assert "matched the pattern" not in told


@pytest.mark.parametrize("pattern", [*PATTERNS, "never_heard_of", ""])
def test_no_placeholder_is_left_unfilled(pattern: str) -> None:
    bare = dataclasses.replace(of(pattern), evidence=(), entities=(), techniques=())
    for finding in (of(pattern), bare):
        assert not re.search(
            r"[{}]|None|\bnan\b|  ", explain(finding, [FOLD], receipts(), plan=PLAN, judged=[(FOLD, REFUSED)])
        )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_called_the_same_here_and_in_its_rule(pattern: str) -> None:
    assert phrase(pattern).title == load_rules()[pattern].title


def test_no_words_are_kept_for_patterns_that_nobody_detects() -> None:
    assert set(patterns()) == {*PATTERNS, *FAILURES, *FORETOLD, ANOMALY, "model_rolled_back"}  # told by what serves it


def test_every_technique_that_a_rule_names_has_its_name() -> None:
    used = {name for rule in load_rules().values() for name in rule.techniques}
    assert {name for name in used if technique(name) == name} == set()
    assert technique("T9999") == "T9999"


def test_an_unknown_pattern_gets_neutral_words() -> None:
    assert "The traffic matched the pattern 'odd thing'" in explain(of("odd_thing"))


def test_many_folds_of_a_kind_are_counted_not_listed() -> None:
    assert "And 7 more of the same kind." in explain(FINDING, [FOLD] * 10)


@pytest.mark.parametrize(
    ("fold", "sentence"),
    [
        (
            FoldSpec(FoldKind.RECONFIGURE_NETWORK, "host/192.0.2.7", "rate", Match(source="192.0.2.7"), rate_pps=100),
            "Let through only 100 per second of the packets from 192.0.2.7, for 1 min, then it ends by itself.",
        ),
        (
            FoldSpec(FoldKind.ISOLATE_POD, "pod/shop/cart-0", "isolate", Match(source="10.1.0.4")),
            "Cut pod/shop/cart-0 off from the network, dropping the packets from 10.1.0.4, for 1 min, "
            "then it ends by itself.",
        ),
        (
            FoldSpec(FoldKind.SCALE_OUT, "workload/shop/cart", "scale", replicas=2),
            "Add 2 replicas to workload/shop/cart, for 1 min, then it ends by itself.",
        ),
        (
            FoldSpec(FoldKind.RESTART, "workload/shop/cart", "restart"),
            "Restart workload/shop/cart (and once more when that is taken back), for 1 min, then it ends by itself.",
        ),
        (
            FoldSpec(FoldKind.TERMINATE, "pod/shop/cart-0", "terminate"),
            "End pod/shop/cart-0, for good: it does not come back.",
        ),
    ],
)
def test_each_kind_of_fold_has_its_sentence_and_its_undo(fold: FoldSpec, sentence: str) -> None:
    told = dict(tell(FINDING, [fold]))
    assert told["What would be done"] == sentence
    assert told["How it is undone"]


def test_a_match_is_told_with_all_its_parts() -> None:
    match = Match("192.0.2.1", "198.51.100.7", 53, 0, 17)
    assert packets(match) == "the UDP packets from 192.0.2.1 port 53 to 198.51.100.7"
    assert packets(Match(destination_port=22, protocol=6)) == "the TCP packets to port 22"
    assert packets(Match(protocol=200)) == "the protocol 200 packets"


def test_hostile_text_in_records_stays_text() -> None:
    evil = Evidence("a\x1b[2J", "{first}\r\n\x07", None, "{0}")
    told = explain(dataclasses.replace(FINDING, evidence=(evil,), entities=("host/{facts}",), severity=Severity.LOW))
    assert "\x1b" not in told
    assert "a?[2J {first}??? {0}" in told
