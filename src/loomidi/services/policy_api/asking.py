"""What a body asks for: JSON to fields, with every reason why it cannot be used.

Called by `handling`. In: a body. Out: a record; or a `Problem`. Leaves what a policy's text means to `ionic.policies`.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from loomidi.ionic.policies import PolicyType
from loomidi.services.http.problems import Problem

DECISION_LETTERS = 200  # of an id of a decision
_TYPES = [kind.value for kind in PolicyType]


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A policy as it was handed in."""

    name: str
    type: PolicyType
    content: str
    decision: str


@dataclasses.dataclass(frozen=True, slots=True)
class Back:
    """A version to go to."""

    version: int | None  # None: the one in force before; 0: none
    decision: str


def policy(body: bytes) -> Asked:
    """Of POST /policy/deploy and /policy/test."""
    document = _object(body)
    reasons = _unknown(document, ("policy_name", "policy_type", "policy_content", "source_ai_decision_id"))
    reasons += [
        f"{field} is missing or no text"
        for field in ("policy_name", "policy_type", "policy_content")
        if not isinstance(document.get(field), str)
    ]
    kind = document.get("policy_type")
    if isinstance(kind, str) and kind not in _TYPES:
        reasons.append(f"policy_type is {kind[:40]!r}: use {' or '.join(_TYPES)}")
    reasons += _decision(document)
    if reasons:
        raise unusable(reasons)
    decision = document.get("source_ai_decision_id", "")
    return Asked(document["policy_name"], PolicyType(str(kind)), document["policy_content"], decision)


def back(body: bytes) -> Back:
    """Of POST /policy/{name}/rollback; an empty body asks for the version before."""
    document = _object(body) if body.strip() else {}
    reasons = _unknown(document, ("version", "source_ai_decision_id")) + _decision(document)
    version = document.get("version")
    if version is not None and (type(version) is not int or not 0 <= version < 1 << 31):
        reasons.append("version is no whole number from 0 on: 0 takes the policy out of force")
    if reasons:
        raise unusable(reasons)
    return Back(version, document.get("source_ai_decision_id", ""))


def events(body: bytes) -> list[Any]:
    """Of POST /logs."""
    document = _parsed(body)
    if not isinstance(document, list):
        raise Problem("malformed", "a decision log is an array of events: see decision_logs of OPA")
    return document


def unusable(reasons: list[str]) -> Problem:
    """422 with all of them."""
    return Problem("unusable", "; ".join(reasons)[:2000], reasons=reasons)


def _object(body: bytes) -> Mapping[str, Any]:
    document = _parsed(body)
    if not isinstance(document, dict):
        raise Problem("malformed", "the body is no JSON object: send one with policy_name and so on")
    return document


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise Problem("malformed", "the body is not UTF-8: send JSON in UTF-8") from error
    except RecursionError as error:
        raise Problem("malformed", "the body is nested too deeply") from error
    except ValueError as error:
        raise Problem("malformed", f"the body is not JSON: {error}"[:300]) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key twice could be read in two ways."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key comes twice")
    return document


def _unknown(document: Mapping[str, Any], known: tuple[str, ...]) -> list[str]:
    return [
        f"{field[:40]!r} is not known: send {', '.join(known)}" for field in sorted(set(document) - set(known))[:20]
    ]


def _decision(document: Mapping[str, Any]) -> list[str]:
    given = document.get("source_ai_decision_id", "")
    if isinstance(given, str) and len(given) <= DECISION_LETTERS and (not given or given.isprintable()):
        return []
    return [f"source_ai_decision_id must be a text of at most {DECISION_LETTERS} printable letters"]
