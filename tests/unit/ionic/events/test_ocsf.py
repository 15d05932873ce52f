"""Records become events of the published OCSF schema, and say no more than the records do."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from loomidi.contracts import FoldKind, FoldSpec, Match, Plan, Severity, Step, Verdict
from loomidi.ionic.events import finding_event, outcome_event, plan_event, receipt_event
from tests.unit.ionic.events import judging
from tests.unit.ionic.events.judging import ABOUT, APPLIED, APPROVED, DROP, FLOOD, PLAN, WORKED, ocsf


def readable(event: dict[str, Any]) -> dict[str, Any]:
    """Without observables of types that py-ocsf-models 0.10 does not know yet: subnets."""
    return event | {"observables": [one for one in event.get("observables", []) if one["type_id"] != 12]}


@pytest.mark.parametrize(
    ("state", "activity", "status"),
    [("new", 1, (1, "New")), ("worse", 2, (99, "worse")), ("again", 2, (99, "again")), ("over", 3, (99, "over"))],
)
def test_the_state_of_a_finding_is_its_activity(state: str, activity: int, status: tuple[int, str]) -> None:
    event = ocsf(finding_event(FLOOD, ABOUT, state=state))
    assert (event["class_uid"], event["activity_id"]) == (2004, activity)
    assert event["type_uid"] == 200_400 + activity
    assert (event["status_id"], event["status"]) == status


@pytest.mark.parametrize(("severity", "severity_id"), list(zip(Severity, (1, 2, 3, 4, 5), strict=True)))
def test_each_severity_has_its_number(severity: Severity, severity_id: int) -> None:
    assert ocsf(finding_event(dataclasses.replace(FLOOD, severity=severity), ABOUT))["severity_id"] == severity_id


def test_a_finding_keeps_its_words_numbers_and_techniques() -> None:
    event = ocsf(finding_event(FLOOD, ABOUT))
    info, (evidence,) = event["finding_info"], event["evidences"]
    assert (info["uid"], info["title"], info["types"]) == ("finding-1", "syn flood", ["syn_flood"])
    assert info["attacks"][0]["technique"]["uid"] == "T1498"
    assert info["attacks"][0]["sub_technique"]["uid"] == "T1498.001"
    assert evidence["data"] == {
        "name": "syn_rate", "value": 9000.0, "threshold": 500.0, "unit": "packets/s", "meaning": "SYNs a second",
    }  # fmt: skip
    assert event["confidence_score"] == 93
    assert event["metadata"]["product"]["version"] == "0.1.0"


def test_entities_are_observables_of_their_kind() -> None:
    entities = ("host/203.0.113.9", "network/10.0.0.0/24", "pod/shop/cart-0")
    event = ocsf(finding_event(dataclasses.replace(FLOOD, entities=entities), ABOUT))
    assert [(one["type_id"], one["value"]) for one in event["observables"]] == [
        (2, "203.0.113.9"), (12, "10.0.0.0/24"), (10, "pod/shop/cart-0"),
    ]  # fmt: skip
    assert event["unmapped"]["loomidi"]["entities"] == list(entities)


@pytest.mark.parametrize(
    ("allowed", "status"), [((), "planned"), ((True,), "allowed"), ((True, None), "refused"), ((False,), "refused")]
)
def test_a_plan_is_an_update_of_its_finding_and_unanswered_is_refused(allowed: tuple[Any, ...], status: str) -> None:
    verdicts = [Verdict("floor", f"rule-{at}", one, "so") for at, one in enumerate(allowed)]
    event = ocsf(plan_event(PLAN, ABOUT, verdicts=verdicts))
    assert (event["activity_id"], event["status"]) == (2, status)
    assert event["metadata"]["correlation_uid"] == FLOOD.id
    assert event["remediation"]["desc"].startswith("RECONFIGURE_NETWORK by drop on host/203.0.113.9")


def test_an_approval_is_told_without_its_signature() -> None:
    event = ocsf(plan_event(PLAN, ABOUT, approval=APPROVED))
    assert event["status"] == "approved"
    assert event["unmapped"]["loomidi"]["approval"]["approver"] == "anna"
    assert "secret-1" not in str(event)


@pytest.mark.parametrize(
    ("step", "status", "activity", "technique"),
    [
        (Step.INTENT, (99, "intent"), 1, "D3-NTF"),
        (Step.APPLIED, (1, "Success"), 1, "D3-NTF"),
        (Step.VERIFIED, (1, "Success"), 1, "D3-NTF"),
        (Step.UNDONE, (1, "Success"), 3, "D3-RNA"),
        (Step.EXPIRED, (1, "Success"), 3, "D3-RNA"),
        (Step.REFUSED, (99, "refused"), 1, "D3-NTF"),
        (Step.FAILED, (6, "Error"), 1, "D3-NTF"),
    ],
)
def test_each_step_of_a_receipt_has_its_status(step: Step, status: Any, activity: int, technique: str) -> None:
    event = ocsf(receipt_event(dataclasses.replace(APPLIED, step=step), ABOUT, plan=PLAN))
    assert (event["class_uid"], event["activity_id"]) == (7004, activity)
    assert (event["status_id"], event["status"]) == status
    assert event["countermeasures"][0]["d3f_technique"]["uid"] == technique
    assert event["connection_info"]["protocol_num"] == 6


@pytest.mark.parametrize(
    ("kind", "action", "technique"),
    [
        (FoldKind.ISOLATE_POD, "isolate", ["D3-NI"]),
        (FoldKind.RECONFIGURE_NETWORK, "drop", ["D3-NTF"]),
        (FoldKind.RECONFIGURE_NETWORK, "rate", []),
        (FoldKind.SCALE_OUT, "scale", []),
        (FoldKind.TERMINATE, "terminate", []),
    ],
)
def test_a_countermeasure_is_named_only_where_it_is_certain(kind: FoldKind, action: str, technique: list[str]) -> None:
    fold = FoldSpec(kind, "pod/shop/cart-0", action, Match())
    event = ocsf(
        receipt_event(dataclasses.replace(APPLIED, inverse={}), ABOUT, plan=dataclasses.replace(PLAN, fold=fold))
    )
    assert event["class_uid"] == 7001
    assert [one["d3f_technique"]["uid"] for one in event.get("countermeasures", [])] == technique
    assert event["activity_id"] == (1 if technique else 0)


def test_a_receipt_without_its_plan_claims_neither_severity_nor_tactic() -> None:
    event = ocsf(receipt_event(APPLIED, ABOUT))
    assert (event["severity_id"], event["activity_id"]) == (0, 0)
    assert event["unmapped"]["loomidi"]["match"] == {"source": DROP.match.source}
    assert "countermeasures" not in event


@pytest.mark.parametrize(("label", "status"), [("worked", 1), ("no_effect", 2), ("harmful", 99), ("undone", 99)])
def test_an_outcome_is_told_with_its_word(label: str, status: int) -> None:
    event = ocsf(outcome_event(dataclasses.replace(WORKED, label=label), ABOUT, plan=PLAN))
    assert (event["status_id"], event["unmapped"]["loomidi"]["outcome"]) == (status, label)


def test_the_same_record_gives_the_same_event_and_another_telling_another_id() -> None:
    assert finding_event(FLOOD, ABOUT) == finding_event(FLOOD, ABOUT)
    ids = {finding_event(FLOOD, ABOUT, state=state)["metadata"]["uid"] for state in ("new", "worse", "over")}
    assert len(ids) == 3


@settings(deadline=None)
@given(judging.FINDINGS, st.sampled_from(["new", "worse", "again", "over"]))
def test_every_finding_renders_to_a_valid_event_that_others_models_read(finding: Any, state: str) -> None:
    event = ocsf(finding_event(finding, ABOUT, state=state))
    read = DetectionFinding.model_validate(readable(event))
    assert read.finding_info.uid == event["finding_info"]["uid"]


@settings(deadline=None)
@given(judging.PLANS, judging.VERDICTS)
def test_every_plan_renders_to_a_valid_event(plan: Plan, verdicts: Any) -> None:
    DetectionFinding.model_validate(readable(ocsf(plan_event(plan, ABOUT, verdicts=verdicts))))


@settings(deadline=None)
@given(judging.RECEIPTS, st.none() | judging.PLANS)
def test_every_receipt_renders_to_a_valid_event(receipt: Any, plan: Any) -> None:
    assert ocsf(receipt_event(receipt, ABOUT, plan=plan))["class_uid"] in (7001, 7004)


@settings(deadline=None)
@given(judging.OUTCOMES, st.none() | judging.PLANS)
def test_every_outcome_renders_to_a_valid_event(outcome: Any, plan: Any) -> None:
    assert ocsf(outcome_event(outcome, ABOUT, plan=plan))["category_uid"] == 7
