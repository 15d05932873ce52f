"""What a playbook acts with: the Protocols that its runner is handed, and never more.

Called by `services.playing`, which fills them with the decider, the engine and the receipts that the rest of us uses.
In: plans. Out: approvals and receipts. Nothing here has an effect that is no plan: guards, then an approval, then the
engine, for a playbook as for anybody. Without an engine a run can only be dry.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from loomidi.contracts import Approval, Finding, FoldSpec, Plan, Receipt, Verdict
from loomidi.contracts.ports import ReceiptStore
from loomidi.ionic.decide import DeciderSettings


class Decides(Protocol):
    """As `ionic.decide.Decider`."""

    settings: DeciderSettings

    def plan(self, finding: Finding, fold: FoldSpec) -> Plan:
        """The fold with its blast radius."""

    def judge(self, plan: Plan) -> tuple[Verdict, ...]:
        """What every guard says."""

    def decide(self, plan: Plan, approver: str = ...) -> Approval:
        """Leave to carry it out. Raises PlanRefused."""


class Acts(Protocol):
    """As `ionic.act.Engine`."""

    def carry_out(self, plan: Plan, approval: Approval) -> Receipt:
        """Once, with the inverse stored before."""

    def verify(self, plan_id: str) -> Receipt:
        """Measured again."""

    def undo(self, plan_id: str, why: str = ...) -> Receipt:
        """By the stored inverse."""


Probe = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # arguments -> {"holds": bool, ...figures}
Call = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # an http-api request -> {"status": int, ...}


@dataclasses.dataclass(frozen=True, slots=True)
class Hands:
    """All that a run may use."""

    decider: Decides
    engine: Acts | None = None
    receipts: ReceiptStore | None = None
    probes: Mapping[str, Probe] = dataclasses.field(default_factory=dict)
    call: Call | None = None  # http-api, to an allow-list; without it such commands are refused


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command or a step."""

    ok: bool
    why: str
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by variable name
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # for people and programs


def refusals(verdicts: Sequence[Verdict]) -> str:
    """Who said no, in words."""
    against = [f"{v.guard}/{v.rule}: {v.reason}" for v in verdicts if v.allow is not True]
    return "; ".join(against) or ("" if verdicts else "no guard answered")
