"""Whether a rule of a Kyverno policy refuses, or only reports.

Called by `kyverno_judging`. In: a manifest, the name of a rule in a result. Out: yes, unless the manifest says plainly
that it only reports: the command's own answer goes by the first rule of a policy, and for ValidatingPolicies by none.
"""

from collections.abc import Mapping
from typing import Any

_GENERATED = ("autogen-cronjob-", "autogen-")  # rules that Kyverno makes of one for pods


def enforces(manifest: Mapping[str, Any], rule: str) -> bool:
    """Of a ClusterPolicy, Policy or ValidatingPolicy."""
    spec = manifest["spec"]
    if manifest["kind"] == "ValidatingPolicy":
        actions = spec.get("validationActions")
        return not actions or not isinstance(actions, list) or "Deny" in actions
    for prefix in _GENERATED:
        rule = rule.removeprefix(prefix)
    named = [one for one in spec["rules"] if one.get("name") == rule]
    return not named or any(not _reports(one, spec) for one in named)


def _reports(rule: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether everything in the rule is said to be only reported."""
    if spec.get("validationFailureActionOverrides"):
        return False
    parts = [rule["validate"]] if "validate" in rule else []
    parts += rule.get("verifyImages") or []
    return all(isinstance(part, Mapping) and _audits(part, spec, "validate" in rule) for part in parts)


def _audits(part: Mapping[str, Any], spec: Mapping[str, Any], validates: bool) -> bool:
    if part.get("failureActionOverrides"):
        return False
    action = part.get("failureAction", spec.get("validationFailureAction", "Audit" if validates else ""))
    return str(action).lower() == "audit"
