"""Findings, folds and plans for tests: small, valid, and changed one field at a time."""

import dataclasses
from typing import Any

from loomidi.contracts import BlastRadius, Evidence, Finding, FoldSpec, Mode, Plan, Severity
from loomidi.ionic.decide import Decider, DeciderSettings, propose, standard_guards
from loomidi.ionic.documents import plan_id
from loomidi.kit.clock import ManualClock

NOW_NS = 1_790_000_000_000_000_000
SOURCE, SERVICE = "203.0.113.7", "service/10.0.0.2:80/tcp"


def a_clock() -> ManualClock:
    return ManualClock(NOW_NS)


def a_finding(pattern: str = "syn_flood", **changes: Any) -> Finding:
    finding = Finding(
        id="finding-0123456789abcdef",
        pattern=pattern,
        techniques=("T1498.001",),
        severity=Severity.HIGH,
        confidence=0.95,
        entities=(f"host/{SOURCE}", SERVICE),
        first_ns=NOW_NS - 2_000_000_000,
        last_ns=NOW_NS - 1_000_000,
        evidence=(Evidence("syn_rate", 5000.0, 200.0, "packets/s", "SYNs"),),
        source="tests",
    )
    return dataclasses.replace(finding, **changes)


def a_fold(base: str = "drop", /, **changes: Any) -> FoldSpec:
    fold = next(fold for fold in propose(a_finding()) if fold.action == base)
    return dataclasses.replace(fold, **changes)


def a_decider(mode: Mode = Mode.GUARDED, protected: tuple[str, ...] = (), **given: Any) -> Decider:
    settings = DeciderSettings(mode=mode)
    guards = given.pop("guards", None) or standard_guards(protected, settings)
    return Decider(guards, protected, settings, given.pop("graph", None), clock=given.pop("clock", a_clock()), **given)


def a_plan(action: str = "drop", mode: Mode = Mode.GUARDED, **changes: Any) -> Plan:
    """A plan with any of its fields changed, and the id that follows."""
    radius = BlastRadius(peers=1, flows=900, packets=5000, octets=300_000, share_of_octets=0.4)
    given: dict[str, Any] = {
        "finding": a_finding(),
        "fold": a_fold(action),
        "blast_radius": radius,
        "mode": mode,
        "created_ns": NOW_NS,
        "expires_ns": NOW_NS + 60_000_000_000,
    }
    plan = Plan(id="", **(given | changes))
    return dataclasses.replace(plan, id=plan_id(plan))


def the_facts(**changes: Any) -> dict[str, Any]:
    facts = a_decider()._facts(a_plan())
    return facts | changes
