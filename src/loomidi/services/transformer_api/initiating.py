"""A plan is begun: judged again, then proposed to the cluster as a Fold, or recorded where there is none.

Called by `handling`, in a thread. In: the decision as it is kept, who asks and why. Out: the answer, and the decision
as it stands then. Never a bypass: the Fold begins at Proposed; the operator asks policy, guards and approvals again.
Steps: 1 begun before, 2 the plan as it was judged, 3 in time, 4 the guards once more, 5 the cluster, 6 the record.
"""

import dataclasses
from typing import Any

from loomidi.contracts import Plan, Verdict
from loomidi.insight.report import ProposedFold
from loomidi.ionic.documents import plan_id, read_plan
from loomidi.services.http.problems import Problem
from loomidi.services.transformer_api import answering
from loomidi.services.transformer_api.asking import Begin
from loomidi.services.transformer_api.clusters import Cluster
from loomidi.services.transformer_api.proposing import Proposing
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import Decision

PROPOSED, SHADOW = "proposed", "shadow"  # a Fold is in the cluster; recorded, and nothing was touched
BEGUN = (PROPOSED, SHADOW)
_AT_WORK = {
    "in_force": "another Fold is at work on the same target",
    "resting": "a Fold on the same target has ended just now",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """What is answered, and what is kept."""

    document: dict[str, Any]
    decision: Decision


class Initiating:
    """One service's."""

    def __init__(self, settings: TransformerSettings, proposing: Proposing, cluster: Cluster | None = None) -> None:
        self._settings, self._proposing, self._cluster = settings, proposing, cluster

    def begin(self, decision: Decision, asked: Begin, author: str) -> Begun:
        """Raises Problem where it is too late or somebody says no, and what the cluster says."""
        if decision.state in BEGUN:  # 1
            return Begun(self._answer(decision), decision)
        plan = read_plan(decision.document["plan"])  # 2
        if plan_id(plan) != decision.id:
            raise answering.problem("conflict", f"{decision.id}: what is kept is not what was judged; propose it anew")
        now_ns = self._proposing.clock.now_ns()
        self._in_time(plan, now_ns)  # 3
        verdicts = self._proposing.decider(None).judge(plan)  # 4
        if not verdicts or any(verdict.allow is not True for verdict in verdicts):
            raise answering.denied(plan.id, verdicts)
        state = self._propose(plan, verdicts, str(decision.document["namespace"]))  # 5
        told = {"begun_ns": now_ns, "begun_by": author, "reason": asked.reason}
        verdicts_now = [verdict.as_dict() for verdict in verdicts]
        document = dict(decision.document) | told | {"verdicts": verdicts_now}
        begun = dataclasses.replace(decision, state=state, document=document)  # 6
        return Begun(self._answer(begun), begun)

    def _in_time(self, plan: Plan, now_ns: int) -> None:
        if now_ns >= plan.expires_ns:
            raise answering.problem("expired", f"{plan.id} is past its time: propose it anew, on what is there now")
        if now_ns - plan.finding.last_ns > self._settings.fresh_s * 1e9:
            raise answering.problem("expired", f"{plan.finding.id} was seen too long ago to act on: analyze it anew")

    def _propose(self, plan: Plan, verdicts: tuple[Verdict, ...], namespace: str) -> str:
        """The state that follows. A Fold that is there already was posted before an answer got lost."""
        if self._cluster is None:
            return SHADOW
        if self._cluster.fold(namespace, plan.id) is not None:
            return PROPOSED
        proposed = ProposedFold(plan.fold, plan, verdicts, allowed=True)
        outcome = self._cluster.propose(plan.finding, proposed)
        if outcome in ("proposed", "proposed_before", "climbed"):
            return PROPOSED
        raise self._refused(plan, outcome)

    def _refused(self, plan: Plan, outcome: str) -> Problem:
        if outcome in _AT_WORK:
            detail = f"{_AT_WORK[outcome]} ({plan.fold.target}): see `loomidi fold list`, and propose again later"
            return answering.problem("at-work", detail, outcome=outcome)
        return answering.problem(
            "expired", f"{plan.id} is {outcome.replace('_', ' ')}: propose it anew", outcome=outcome
        )

    def _answer(self, decision: Decision) -> dict[str, Any]:
        plan = decision.document["plan"]
        name = {"namespace": decision.document["namespace"], "name": decision.id}
        in_cluster = decision.state == PROPOSED
        return {
            "plan_id": decision.id,
            "anomaly_id": decision.finding_id,
            "action_type": plan["fold"]["kind"],
            "target_resource": plan["fold"]["target"],
            "state": decision.state,
            "mode": plan["mode"],
            "fold": name if in_cluster else None,
            "reasoning": decision.document["reasoning"],
            "next": (
                "the operator judges it and asks for approvals where its policy does: `loomidi fold show` tells"
                if in_cluster
                else "no cluster is named here: the plan is recorded, and nothing was touched"
            ),
        }
