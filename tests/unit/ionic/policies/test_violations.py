"""Violations are added up by kind, bounded whatever comes, from reports, constraints and decision logs alike."""

from collections import Counter
from typing import Any

import pytest

from loomidi.ionic.policies import Tally
from loomidi.ionic.policies.decisions import violations
from loomidi.ionic.policies.reports import of_constraint, of_report
from loomidi.ionic.policies.violations import MOST_KINDS, MOST_POLICIES, Violation, summary

OWNERS = {"shop/images": ("no-latest", ("deny",)), "shop/gate": ("gate", ("allow",))}
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "shop"}}


def one(resource: str = "Pod shop/web", at_ns: int = 1, policy: str = "p") -> Violation:
    return Violation(policy, "rule", resource, "message", "opa", at_ns)


def test_those_of_a_kind_are_one_entry_with_a_count_and_both_ends() -> None:
    tally = Tally()
    tally.add([one(at_ns=2_000_000_000), one(at_ns=1_000_000_000), one("Pod shop/db")])
    entries, beyond = tally.of("p")
    assert beyond == 0
    assert entries[0] == {
        "rule": "rule", "resource": "Pod shop/web", "message": "message", "source": "opa", "count": 2,
        "first_seen": "1970-01-01T00:00:01.000Z", "last_seen": "1970-01-01T00:00:02.000Z",
    }  # fmt: skip


def test_kinds_beyond_the_limit_are_counted_with_the_reason() -> None:
    tally = Tally()
    tally.add(one(f"Pod shop/{number}") for number in range(MOST_KINDS + 7))
    told = summary([tally], "p")
    assert (len(told["violations"]), told["violations_beyond"]["count"]) == (MOST_KINDS, 7)
    assert "more than 1000 kinds of a policy" in told["violations_beyond"]["reason"]


def test_kinds_of_all_policies_together_are_capped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loomidi.ionic.policies.violations.MOST_IN_ALL", 3)
    tally = Tally()
    tally.add(one(f"Pod {pod}", policy=f"p{pod % 2}") for pod in range(10))
    tally.add([one("Pod 0", policy="p0")])
    assert [(len(tally.of(policy)[0]), tally.of(policy)[1]) for policy in ("p0", "p1")] == [(2, 3), (1, 4)]


def test_several_tallies_together_hold_no_more_than_one() -> None:
    tallies = [Tally(), Tally()]
    for number, tally in enumerate(tallies):
        tally.add(one(f"Pod {number}/{pod}") for pod in range(MOST_KINDS - 1))
    assert len(summary(tallies, "p")["violations"]) == MOST_KINDS
    assert summary(tallies, "p")["violations_beyond"]["count"] == MOST_KINDS - 2


def test_texts_are_cut_and_policies_are_capped() -> None:
    tally = Tally()
    tally.add(one(policy=f"p{number}") for number in range(MOST_POLICIES + 3))
    tally.add([Violation("p0", "r", "x" * 10_000, "m", "opa", 1)])
    assert tally.strangers == 3
    assert max(len(entry["resource"]) for entry in tally.of("p0")[0]) == 300


REPORT: dict[str, Any] = {
    "scope": {"kind": "Pod", "namespace": "shop", "name": "web"},
    "results": [
        {"policy": "p", "rule": "r", "result": "fail", "message": "m", "source": "kyverno",
         "timestamp": {"seconds": 7, "nanos": 5}},
        {"policy": "shop/p", "rule": "r", "result": "error", "message": "m",
         "resources": [{"kind": "Service", "namespace": "shop", "name": "a"}, {"kind": "Node", "name": "n"}]},
        {"policy": "p", "result": "pass"}, {"policy": "p", "result": "skip"}, "nonsense",
    ],
}  # fmt: skip


def test_results_of_a_report_that_are_against_are_violations() -> None:
    found = list(of_report(REPORT, 99))
    assert [each.resource for each in found] == ["Pod shop/web", "Service shop/a", "Node n"]
    assert [(each.policy, each.source, each.at_ns) for each in found][:2] == [
        ("p", "kyverno", 7_000_000_005),
        ("p", "policyreport", 99),
    ]


def test_the_audit_of_a_constraint_is_read_and_what_it_leaves_out_is_counted() -> None:
    status = {
        "auditTimestamp": "2026-11-26T12:00:00Z",
        "totalViolations": 25,
        "violations": [{"kind": "Pod", "namespace": "shop", "name": "web", "message": "m"}],
    }
    constraint = {"kind": "K8sNoLatest", "metadata": {"name": "p"}, "status": status}
    first, rest = of_constraint(constraint, 1)
    assert (first.policy, first.rule, first.resource) == ("p", "K8sNoLatest", "Pod shop/web")
    assert (rest.count, rest.at_ns) == (24, 1795694400000000000)


@pytest.mark.parametrize(
    ("path", "result", "found"),
    [
        ("shop/images", {"deny": ["a", "b"]}, [("deny", "a"), ("deny", "b")]),
        ("shop/images/deny", ["a"], [("deny", "a")]),
        ("shop/images", {"deny": []}, []),
        ("shop/images", None, [("any", "no answer")]),
        ("shop/gate/allow", False, [("allow", "allow is not true")]),
        ("shop/gate/allow", True, []),
        ("shop/gate", {}, [("allow", "allow is not true")]),
    ],
)
def test_decisions_that_refuse_are_violations_of_the_policy_with_that_package(
    path: str, result: object, found: list[tuple[str, str]]
) -> None:
    event = {"path": path, "result": result, "input": {"object": POD}, "timestamp": "2026-11-26T12:00:00.123456789Z"}
    told = list(violations([event], OWNERS, Counter(), 1))
    assert [(each.rule, each.message) for each in told] == found
    assert {each.resource for each in told} <= {"Pod shop/web"}
    assert {each.at_ns // 10**9 for each in told} <= {1795694400}


def test_events_that_say_nothing_of_our_policies_are_counted_by_cause() -> None:
    unused: Counter[str] = Counter()
    events = ["x", {}, {"path": "other/deny"}, {"path": "shop/images", "error": {}}, {"path": "shop/images/names"}]
    assert list(violations(events, OWNERS, unused, 1)) == []
    assert unused == {"no path": 2, "not a policy of ours": 2, "an error of the engine": 1}


@pytest.mark.parametrize(
    ("question", "resource"),
    [
        ({"request": {"object": POD}}, "Pod shop/web"),
        ({"review": {"object": POD}}, "Pod shop/web"),
        (POD, "Pod shop/web"),
        ({"plan": {"id": "plan-1"}}, "plan plan-1"),
        ({"x": 1}, '{"x": 1}'),
        ("text", ""),
    ],
)
def test_what_was_judged_is_found_in_every_envelope(question: object, resource: str) -> None:
    event = {"path": "shop/images", "result": {"deny": ["a"]}, "input": question}
    assert [each.resource for each in violations([event], OWNERS, Counter(), 1)] == [resource]
