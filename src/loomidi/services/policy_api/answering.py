"""What a client is told: documents, and errors of the houses as problems with a reason and what to do next.

Called by `handling`. In: what `ionic.policies` gave or raised. Out: an `Answer` or a `Problem`.
"""

import json
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Conflict, EnvironmentLacks, LoomidiError, Retryable
from loomidi.ionic.errors import BadPolicy, PolicyBreaks, PolicyNotInForce
from loomidi.services.http.problems import Answer, Problem
from loomidi.services.policy_api.asking import unusable

STATUSES: Mapping[str, int] = {
    "conflict": 409,  # the name, the package or the object belongs to somebody else, or there is nothing to take back
    "breaks-protected": 422,  # it would refuse what must never be refused
    "busy": 429,  # too many changes wait
    "not-in-force": 503,  # an engine took it and did not follow; what was before is back
    "no-engine": 503,  # nobody here can judge it, or keep it
    "engine-away": 503,  # an engine does not answer
}
"""Reasons of this service beside the shared ones, and their status."""


def found(document: Any, status: int = 200) -> Answer:
    """JSON."""
    return Answer(status, json.dumps(document).encode())


def problem(reason: str, detail: str, *, retry_after_s: int = 0, **members: Any) -> Problem:
    """One of this service's own."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else None
    return Problem(reason, detail, status=STATUSES[reason], headers=headers, **members)


def of_error(error: LoomidiError, retry_after_s: int) -> Problem:
    """The problem that an error of a house is for the client."""
    told = str(error)
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadPolicy):
        return unusable(list(error.reasons))
    if isinstance(error, PolicyBreaks):
        return problem("breaks-protected", told, reasons=list(error.refused))
    if isinstance(error, PolicyNotInForce):
        return problem("not-in-force", told, retry_after_s=retry_after_s, reasons=list(error.reasons))
    if isinstance(error, Conflict):
        return problem("conflict", told)
    if isinstance(error, Retryable):
        return problem("engine-away", told, retry_after_s=retry_after_s)
    if isinstance(error, EnvironmentLacks):
        return problem("no-engine", told, retry_after_s=retry_after_s)
    return unusable([told])


def unknown(name: str) -> Problem:
    """404."""
    shown = name[:63] if name.isprintable() else ""
    return Problem("not-found", f"no policy {shown!r} was ever handed in: GET /policy lists those that were")
