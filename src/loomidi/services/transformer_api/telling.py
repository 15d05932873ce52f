"""What is known, as it is told: findings, what answers them, where the Folds in the cluster are.

Called by `handling`, in a thread. In: records of the shelf, the cluster where there is one. Out: plain documents.
A cluster that does not answer is told as such; what is kept here is told all the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from loomidi.contracts import LoomidiError
from loomidi.insight.report import stories
from loomidi.services.transformer_api.clusters import Cluster
from loomidi.services.transformer_api.shelves import Decision, Known

T = TypeVar("T")


def finding(known: Known) -> dict[str, Any]:
    """In a list."""
    one = known.finding
    return {
        "finding_id": one.id,
        "pattern": one.pattern,
        "techniques": list(one.techniques),
        "severity": one.severity.value,
        "confidence": one.confidence,
        "entities": list(one.entities),
        "state": known.state,
        "origin": known.origin,
        "source": one.source,
        "told_ns": known.at_ns,
        "first_ns": one.first_ns,
        "last_ns": one.last_ns,
    }


def whole_finding(known: Known, decisions: Sequence[Decision], cluster: Cluster | None) -> dict[str, Any]:
    """By itself: evidence, reasoning, what the pipeline would do, what was decided here, the Folds that answer it."""
    one = known.finding
    none: list[dict[str, Any]] = []
    folds, problem = _asked(lambda there: there.folds_of(one.id), cluster, none)
    return finding(known) | {
        "evidence": [item.as_dict() for item in one.evidence],
        "reasoning": one.explanation or stories.as_text(stories.story(one, ())),
        "answers": [dict(each) for each in known.answers],
        "decisions": [decision(each) for each in decisions],
        "folds": folds,
        "folds_problem": problem,
    }


def decision(one: Decision) -> dict[str, Any]:
    """In a list."""
    plan = one.document["plan"]
    return {
        "plan_id": one.id,
        "anomaly_id": one.finding_id,
        "state": one.state,
        "at_ns": one.at_ns,
        "action_type": plan["fold"]["kind"],
        "action": plan["fold"]["action"],
        "target_resource": plan["fold"]["target"],
        "mode": plan["mode"],
        "expires_ns": plan["expires_ns"],
        "reasoning": one.document["reasoning"],
    }


def whole_decision(one: Decision, cluster: Cluster | None) -> dict[str, Any]:
    """By itself: the plan, what every guard said, who asked, and where its Fold is."""
    document = one.document
    fold, problem = None, ""
    if one.state == "proposed":
        fold, problem = _asked(lambda there: there.fold(document["namespace"], one.id), cluster, None)
    told = {name: document.get(name, "") for name in ("author", "begun_by", "reason")}
    return decision(one) | {
        **told,
        "begun_ns": document.get("begun_ns"),
        "context": document["context"],
        "plan": document["plan"],
        "verdicts": document["verdicts"],
        "k8s_manifest": document["k8s_manifest"],
        "fold": fold,
        "folds_problem": problem,
    }


def _asked(ask: Callable[[Cluster], T], cluster: Cluster | None, without: T) -> tuple[T, str]:
    if cluster is None:
        return without, "no cluster is named here"
    try:
        return ask(cluster), ""
    except LoomidiError as error:
        return without, str(error)[:500]
