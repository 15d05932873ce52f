"""Incidents as findings: budget, figures and pairs as evidence, rules beside the model, causes in words."""

import dataclasses

import pyarrow as pa

from loomidi.contracts import Finding, Severity
from loomidi.contracts.records import Evidence
from loomidi.insight.explain import explain
from loomidi.ionic.decide import propose
from loomidi.origami.causes import Cause, Role, Sign
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.incident_findings import Seen, Told, entity_of, finding_of
from loomidi.services.anomalies.reasoning import Reasons
from loomidi.services.anomalies.rule_findings import RuleFindings
from loomidi.services.shared.findings import finding_row
from loomidi.services.sightings import NEW
from tests.unit.ionic.making import a_finding
from tests.unit.origami.shops import CART, DB, FRONT, SCANNER, SECOND, START, STEP_NS, Shop

TOLD = Told("floor", 1e-5, 1e-2, 1.0)
INCIDENT = Incident(
    incident_id="incident-1",
    state="new",
    first_ns=START,
    last_ns=START + 20 * SECOND,
    entities=(SCANNER, DB, CART),
    unnamed=0,
    alerts=3,
    edges=30,
    score=7.0,
    p_value=1.23456e-7,
    contributions=(("source_degree", 0.61), ("first_seen", 0.2)),
    quoted=(("source_degree", 41.0, 3.0), ("octets_per_flow", 90_000.0, 800.0)),
    pairs=((SCANNER, DB, 2), (SCANNER, CART, 1)),
    frozen=1e-6,
    learning=2e-6,
)
CAUSE = Cause(DB, 4.0, 0.71, "latency", (Sign("response", Role.LATENCY, "", 0.004, 0.8, 30.0, 5.0),))


def facts(finding: Finding) -> dict[str, Evidence]:
    return {one.name: one for one in finding.evidence}


def test_an_incident_is_told_with_its_budget_its_pairs_and_what_is_unusual() -> None:
    finding = finding_of(INCIDENT, TOLD)
    found = facts(finding)
    assert (found["p_value"].value, found["p_value"].threshold) == (1.23e-7, 1e-5)
    assert found["budget"].value == 1.0
    assert found["strange_edges"].meaning == f"with alerts: {SCANNER} to {DB} (2); {SCANNER} to {CART} (1)"
    assert (found["source_degree"].value, found["source_degree"].threshold) == (41.0, 3.0)
    assert found["source_degree"].meaning == "61% of how strange it is"
    assert finding.entities == ("workload/tenants/scanner", "workload/shop/db", "workload/shop/cart")


def test_strangeness_alone_names_no_technique_and_leads_to_no_fold() -> None:
    finding = finding_of(INCIDENT, TOLD, (), [CAUSE])
    assert (finding.techniques, finding.severity) == ((), Severity.MEDIUM)
    assert propose(finding) == ()


def test_what_a_rule_has_found_too_is_information_with_the_rule_s_technique() -> None:
    also = Seen("finding-7", "vertical_scan", ("T1046",))
    finding = finding_of(INCIDENT, TOLD, [also])
    assert (finding.severity, finding.techniques) == (Severity.INFO, ("T1046",))
    assert facts(finding)["also_seen_by"].value == "vertical_scan"
    assert "finding-7" in facts(finding)["also_seen_by"].meaning


def test_an_incident_keeps_its_id_from_new_to_over() -> None:
    grown = dataclasses.replace(INCIDENT, state="over", last_ns=START + 99 * SECOND, alerts=40)
    assert finding_of(INCIDENT, TOLD).id == finding_of(grown, TOLD).id


def test_where_one_detector_alone_finds_it_less_is_claimed() -> None:
    alone = finding_of(dataclasses.replace(INCIDENT, learning=0.3), TOLD)
    assert alone.confidence < finding_of(INCIDENT, TOLD).confidence
    assert "one of both detectors alone" in facts(alone)["frozen_p_value"].meaning


def test_the_likely_cause_comes_first_and_is_said_in_words() -> None:
    finding = finding_of(INCIDENT, TOLD, (), [CAUSE, dataclasses.replace(CAUSE, entity="node/n1", share=0.29)])
    assert finding.entities[0] == "workload/shop/db"
    (line,) = [line for line in explain(finding).splitlines() if line.startswith("Likely cause")]
    assert line.startswith(
        "Likely cause: Most likely: workload/shop/db, 71% of the blame, by latency: response 0.004 ->"
    )
    assert "Next: node/n1, 29% of the blame" in line
    assert "root cause" not in explain(finding).replace("Likely cause", "")


def test_ends_of_windows_are_entities_that_others_know() -> None:
    ends = (CART, "10.0.0.0/24", "2001:db8::/64", "pod/shop/cart-0", "other")
    known = ("workload/shop/cart", "network/10.0.0.0/24", "network/2001:db8::/64", "pod/shop/cart-0", "other")
    assert tuple(map(entity_of, ends)) == known


def ruled(*entities: str, at_s: int = 0, source: str = "origami.online.flows") -> pa.RecordBatch:
    at = START + at_s * SECOND
    found = dataclasses.replace(a_finding("vertical_scan"), entities=entities, first_ns=at, last_ns=at, source=source)
    return finding_row(found, NEW, (), at)


def test_a_rule_s_finding_about_the_same_pair_at_the_same_time_is_the_same_thing() -> None:
    rules, reasons = RuleFindings(), Reasons()
    assert rules.learn(ruled("workload/tenants/scanner", "workload/shop/db")) == 1
    names = {"workload/tenants/scanner": SCANNER, "workload/shop/db": DB}
    assert [one.pattern for one in rules.of(INCIDENT, lambda one: names.get(one, one))] == ["vertical_scan"]
    assert rules.of(INCIDENT, reasons.end) == []  # nobody knows yet whose workloads these are


def test_a_rule_s_finding_about_others_or_another_time_or_of_a_model_is_not() -> None:
    rules = RuleFindings()
    rules.learn(ruled(FRONT, CART))
    rules.learn(ruled(FRONT, CART, at_s=3600))
    assert rules.of(INCIDENT, str) == []
    rules.learn(ruled(SCANNER, DB, at_s=3600))
    assert rules.of(INCIDENT, str) == []
    assert rules.learn(ruled(SCANNER, DB, source="origami.scoring:floor")) == 0


def test_rules_are_remembered_up_to_a_bound_and_over_a_restart() -> None:
    rules, again = RuleFindings(), RuleFindings()
    for at in range(1100):
        one = dataclasses.replace(a_finding("vertical_scan"), id=f"finding-{at}", entities=(SCANNER,), first_ns=START)
        rules.learn(finding_row(dataclasses.replace(one, last_ns=START), NEW, (), START))
    again.restore(rules.as_list())
    assert len(again.as_list()) == 1024
    assert again.as_list() == rules.as_list()


def test_a_release_that_does_not_come_up_is_its_own_cause() -> None:
    revision = Evidence("revision", 5, None, "", "the release that does not come up")
    failed = dataclasses.replace(
        a_finding("crash_loop"), entities=("workload/shop/cart", "pod/shop/cart-0"), evidence=(revision,)
    )
    told = Reasons().told(failed)
    assert facts(told)["root_cause_1"].value == "rollout/shop/cart@revision-5"
    assert "Likely cause: Most likely: rollout/shop/cart@revision-5" in explain(told)
    assert Reasons().told(told) == told


def test_a_saturated_service_is_explained_by_what_it_rests_on() -> None:
    shop, reasons = Shop(seed=1), Reasons()
    for window in shop.windows(60):
        reasons.feed(window, 10)
    shop.slow["deployment/shop/db"] = 0.8
    for window in shop.windows(6):
        reasons.feed(window, 10)
    failed = dataclasses.replace(
        a_finding("cpu_saturation"), entities=(CART,), first_ns=shop.ns - 6 * STEP_NS, last_ns=shop.ns, evidence=()
    )
    assert facts(reasons.told(failed))["root_cause_1"].value == "workload/shop/db"


def test_where_nothing_is_off_who_began_most_of_it_is_named() -> None:
    (cause,) = Reasons().of(INCIDENT)
    assert (cause.entity, cause.share, cause.kind) == (SCANNER, 1.0, "who began it")
