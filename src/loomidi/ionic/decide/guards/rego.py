"""The Rego guard: a policy file evaluated beside this process, with the answers an OPA server would give.

Called by `deciding`. In: a plan and facts. Out: a verdict for every rule that was expected to answer; undefined,
missing, malformed, errored or late is a verdict without `allow`, so a denial. The policy is compiled once; a question
costs one to two milliseconds, so the fast lane stands on the floor alone. Whether the two engines agree is held by
tests/integration/opa, not assumed here.

A native evaluation cannot be interrupted, so it has a process of its own (`engine`): when an answer is late the caller
goes on with a denial, and the guard denies everything until the engine is back.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from loomidi.contracts import Plan, Verdict
from loomidi.ionic.decide.guards.engine import RegoEngine
from loomidi.ionic.errors import NoPolicyEngine

PACKAGE = "loomidi/guardrails/base"
BASE_RULES = (
    "mode_known",
    "fresh",
    "severity_acts",
    "confidence_enough",
    "action_fits_kind",
    "aimed",
    "namespace_spared",
    "final_named",
    "sized",
    "ttl_bounded",
    "undo_stated",
    "because_finding",
    "protected_untouched",
    "peers_capped",
    "share_capped",
    "target_capped",
    "total_capped",
)
TIMEOUT_S = 2.0  # only the slow lane asks; late is a denial, and on a busy node 20 ms of CPU have taken 300 ms
_FOLD = ("kind", "target", "action", "rate_pps", "burst", "replicas", "ttl_s", "because", "undo", "means")


def base_policy() -> str:
    """The text of the base guardrail that ships in the package."""
    return resources.files("loomidi.ionic.decide.guards").joinpath("base.rego").read_text(encoding="utf-8")


def question(plan: Plan, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The input document of every policy. Without the manifest, which is rendered from the rest, and without prose."""
    finding, fold = plan.finding, plan.fold
    evidence = [{"name": e.name, "value": e.value, "threshold": e.threshold} for e in finding.evidence]
    return {
        "plan": {
            "id": plan.id,
            "mode": plan.mode.value,
            "created_ns": plan.created_ns,
            "expires_ns": plan.expires_ns,
            "finding": {
                "id": finding.id,
                "pattern": finding.pattern,
                "severity": finding.severity.value,
                "confidence": finding.confidence,
                "entities": list(finding.entities),
                "evidence": evidence,
            },
            "fold": {name: getattr(fold, name) for name in _FOLD}
            | {"match": fold.match.as_dict(), "thresholds": dict(fold.thresholds)},
            "blast_radius": plan.blast_radius.as_dict(),
        },
        "facts": dict(facts),
    }


class RegoGuard:
    """Asks one policy which of its rules hold, and takes nothing else for a yes."""

    def __init__(
        self,
        policy: str | Mapping[str, str] | None = None,
        *,
        package: str = PACKAGE,
        expected: Sequence[str] = BASE_RULES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`policy`: Rego text, or several by module name; default the base guardrail.

        A policy that does not compile denies with the reason.
        """
        self.name = f"rego:{package.rsplit('/', 1)[-1]}"
        self._expected = tuple(expected)
        self._timeout_s = timeout_s
        text = base_policy() if policy is None else policy
        modules = {package: text} if isinstance(text, str) else dict(text)
        # The reasons cost as much as the rules. Of the base policy a test pins that no rule is beside the expected
        # ones, so when all of those hold nobody has to ask; of any other policy nothing is known.
        self._enough = frozenset(self._expected) if policy is None and self._expected == BASE_RULES else None
        self._engine = RegoEngine(modules, package)

    @classmethod
    def of_file(cls, path: Path, *, package: str, expected: Sequence[str], timeout_s: float = TIMEOUT_S) -> "RegoGuard":
        """A guard from a policy file of the user. Raises NoPolicyEngine when the file cannot be read."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NoPolicyEngine(f"{path}: cannot read the policy: {error}; name an existing .rego file") from error
        return cls(text, package=package, expected=expected, timeout_s=timeout_s)

    def judge(self, plan: Plan, facts: Mapping[str, Any]) -> Sequence[Verdict]:
        """A verdict for each expected rule, and for each rule that answered unasked."""
        return self.evaluate(question(plan, facts))

    def evaluate(self, document: Mapping[str, Any]) -> Sequence[Verdict]:
        """The same for any input document, also one that no plan would make. Steps, in this order:

        1 ask; no answer denies every rule   2 an answer that is not two documents denies every rule
        3 a rule allows only when it is named in `holds`
        """
        # 1 ask
        try:
            holds, reasons = self._engine.ask(document, self._enough, self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the answer is no
            why = " ".join(str(error).split())[:200]
            return [self._silent(rule, f"no answer: {why}") for rule in self._expected or ("any",)]
        # 2 two documents
        if not isinstance(holds, list) or not isinstance(reasons, Mapping):
            return [self._silent(rule, "no answer: the policy is undefined") for rule in self._expected or ("any",)]
        # 3 named in `holds`
        rules = [*self._expected, *sorted({*map(str, holds), *reasons} - set(self._expected))]
        answers = [self._verdict(rule, rule in holds, reasons.get(rule)) for rule in rules]
        return answers or [self._silent("any", "no answer: no rule is expected")]

    def _verdict(self, rule: str, holds: bool, reason: object) -> Verdict:
        if holds:
            return Verdict(self.name, rule, True, str(reason or "holds"))
        if reason is None:
            return self._silent(rule, "no answer: the rule is undefined")
        return Verdict(self.name, rule, False, str(reason))

    def _silent(self, rule: str, reason: str) -> Verdict:
        return Verdict(self.name, rule, None, reason)
