"""What a client is told: documents, and errors of the houses as problems with a reason and what to do next.

Called by `handling`, `proposing`, `initiating`. In: what was found or raised. Out: an `Answer` or a `Problem`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Conflict, EnvironmentLacks, Finding, LoomidiError, Retryable, Verdict
from loomidi.ionic.errors import ClusterAway, ClusterDenies, ClusterRejects
from loomidi.services.http.problems import Answer, Problem

STATUSES: Mapping[str, int] = {
    "no-reference": 409,  # nothing is known of what is usual
    "no-fold": 409,  # nothing fits the finding
    "denied-by-guards": 409,  # the guards say no to the plan, now
    "expired": 409,  # the plan's time is up, or what it answers is history
    "at-work": 409,  # another Fold is in force on the same target, or was just now
    "key-reused": 409,  # the Idempotency-Key belongs to another body
    "conflict": 409,  # what is kept of the plan is not the plan
    "busy": 429,  # too many requests wait
    "cluster-away": 503,  # the cluster does not answer
    "cluster-rejects": 503,  # the cluster does not let us, or refuses the Fold
    "store-away": 503,  # what is kept here cannot be read or written
}
"""Reasons of this service beside the shared ones, and their status."""


def found(document: Any, *headers: tuple[str, str]) -> Answer:
    """JSON."""
    return Answer(200, json.dumps(document).encode(), headers=headers)


def problem(reason: str, detail: str, *, retry_after_s: int = 0, **members: Any) -> Problem:
    """One of this service's own."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    return Problem(reason, detail, status=STATUSES[reason], headers=headers, **members)


def of_error(error: LoomidiError, retry_after_s: int) -> Problem:
    """The problem that an error of a house is for the client."""
    told = str(error)
    if isinstance(error, Problem):
        return error
    if isinstance(error, (ClusterRejects, ClusterDenies)):
        return problem("cluster-rejects", told, retry_after_s=retry_after_s)
    if isinstance(error, ClusterAway):
        return problem("cluster-away", told, retry_after_s=retry_after_s)
    if isinstance(error, Conflict):
        return problem("conflict", told)
    if isinstance(error, (EnvironmentLacks, Retryable)):
        return problem("store-away", told, retry_after_s=retry_after_s)
    return Problem("unusable", told, reasons=[told])


def unknown(what: str, where: str) -> Problem:
    """404."""
    return Problem("not-found", f"no such {what} is known here: GET {where} lists those that are")


def reused() -> Problem:
    """409: nothing is wrong with the body, but the key was used for another one."""
    return problem("key-reused", "this Idempotency-Key belongs to another body: take a new key for each body")


def no_reference(why: str) -> Problem:
    """409: nothing can be judged yet."""
    detail = (
        f"no reference yet: {why}. Run `loomidi run` until its lake holds enough windows, name that lake with --lake, "
        "or put the reference.npz of a like installation into the state folder"
    )
    return problem("no-reference", detail)


def no_fold(finding: Finding, others: Sequence[str]) -> Problem:
    """409: the finding stands, and this interface has no answer to it."""
    if others:
        why = f"the answer to {finding.pattern} is {others[0]}, which this interface does not propose"
    elif finding.severity.value == "info":
        why = "what is only told as info leads to no fold"
    else:
        why = f"no rule has an answer to {finding.pattern}"
    detail = f"{why}: a person can propose one with `loomidi fold propose`"
    return problem("no-fold", detail, pattern=finding.pattern)


def denied(plan_id: str, verdicts: Sequence[Verdict]) -> Problem:
    """409, with what every guard that says no says."""
    reasons = [f"{one.guard}/{one.rule}: {one.reason}" for one in verdicts if one.allow is not True]
    detail = f"{plan_id}: the guards say no, nothing is begun: {'; '.join(reasons) or 'no guard answered'}"
    return problem("denied-by-guards", detail[:2000], reasons=reasons)
