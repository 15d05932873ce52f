"""Violations in the decision log of OPA: what its plugin posts, event by event.

Called by `services.policy_api`. In: events, and which policy has which package. Out: violations, and how many events
could not be used, by cause. An event tells of the path that was asked: a package, or one rule in it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.ionic.policies.reading import VERDICTS
from loomidi.ionic.policies.rego_judging import refusals
from loomidi.ionic.policies.reports import stamp
from loomidi.ionic.policies.samples import named
from loomidi.ionic.policies.violations import Violation

MOST_PER_EVENT = 50  # violations of one decision that are kept apart


def violations(
    events: list[Any], owners: Mapping[str, tuple[str, tuple[str, ...]]], unused: "Counter[str]", now_ns: int
) -> Iterator[Violation]:
    """`owners`: package with slashes -> name of the policy and its rules that give verdicts."""
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("path"), str):
            unused["no path"] += 1
            continue
        path = event["path"].strip("/")
        package, _, rule = path.rpartition("/")
        owner = owners.get(path) or (owners.get(package) if rule in VERDICTS else None)
        if owner is None:
            unused["not a policy of ours"] += 1
        elif "error" in event:
            unused["an error of the engine"] += 1
        else:
            asked = None if path in owners else rule
            yield from _of_event(event, owner, asked, stamp(event.get("timestamp")) or now_ns)


def _of_event(
    event: Mapping[str, Any], owner: tuple[str, tuple[str, ...]], asked: str | None, at_ns: int
) -> Iterator[Violation]:
    policy, rules = owner
    result = event.get("result")
    document = result if asked is None else {asked: result}
    within = rules if asked is None else ({"allow": ("allow",)}.get(asked, ()))
    resource = _judged(event.get("input"))
    for one in refusals(document, within)[:MOST_PER_EVENT]:
        yield Violation(policy, one.rule, resource, one.message, "opa", at_ns)


def _judged(question: Any) -> str:
    """The object or plan that the question was about."""
    if not isinstance(question, dict):
        return ""
    for envelope in ("request", "review"):
        if isinstance(question.get(envelope), dict):
            question = question[envelope]
    found = question.get("object", question)
    if isinstance(found, dict) and isinstance(found.get("kind"), str):
        return named(found)
    plan = question.get("plan")
    if isinstance(plan, dict):
        return f"plan {plan.get('id', '')}"
    return json.dumps(question, sort_keys=True)[:100]
