"""Label selectors as the API reads them: whether one matches, and which label it takes to stop matching.

Called by the kinds. Pure. In: `matchLabels` and `matchExpressions`, labels. An empty selector matches everything.
"""

from collections.abc import Mapping
from typing import Any

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether all its terms hold."""
    exact = all(labels.get(key) == text for key, text in (selector.get("matchLabels") or {}).items())
    return exact and all(_holds(term, labels) for term in selector.get("matchExpressions") or [])


def needed(selector: Mapping[str, Any]) -> set[str]:
    """Labels of which each single one, taken away, ends the match; empty when none does."""
    terms = selector.get("matchExpressions") or []
    return set(selector.get("matchLabels") or {}) | {t["key"] for t in terms if t["operator"] in ("In", "Exists")}


def query(selector: Mapping[str, Any]) -> str:
    """The same as the API takes it in a `labelSelector`, so that it looks and not we."""
    parts = [f"{key}={text}" for key, text in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or []:
        key, among = term["key"], ",".join(term.get("values") or [])
        forms = {"In": f"{key} in ({among})", "NotIn": f"{key} notin ({among})", "Exists": key}
        parts.append(forms.get(term["operator"], f"!{key}"))
    return ",".join(parts)


def _holds(term: Mapping[str, Any], labels: Labels) -> bool:
    found, among = labels.get(term["key"]), term.get("values") or []
    answers = {
        "In": found is not None and found in among,
        "NotIn": found not in among,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }
    return answers[term["operator"]]
