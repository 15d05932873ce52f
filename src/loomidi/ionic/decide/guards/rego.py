"""The Rego guard: a policy file evaluated in this process, with the answers an OPA server would give.

Called by `deciding`. In: a plan and facts. Out: a verdict for every rule that was expected to answer; undefined,
missing, malformed, errored or late is a verdict without `allow`, so a denial. The policy is compiled once; a question
costs one to two milliseconds, so the fast lane stands on the floor alone. Whether the two engines agree is held by
tests/integration/opa, not assumed here.

A native evaluation cannot be interrupted, so it runs on a thread of its own: when an answer is late the caller goes on
with a denial, and the guard denies everything until the engine is back.
"""

import math
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from loomidi.contracts import Plan, Verdict
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


Question = tuple[Mapping[str, Any], frozenset[str] | None]  # the input, and the rules whose holding is enough


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
        self._engine = _Worker(lambda: _Engine(modules, package))

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
            holds, reasons = self._engine.ask((document, self._enough), self._timeout_s)
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


class _Engine:
    """The compiled policy. Used by one thread only."""

    def __init__(self, modules: Mapping[str, str], package: str) -> None:
        try:
            import regopy
        except ImportError as error:
            raise NoPolicyEngine("the Rego engine is missing; install regopy") from error
        self._holds, self._reason = f"{package}/holds", f"{package}/reason"
        self._interpreter = regopy.Interpreter()
        self._interpreter.log_level = regopy.LogLevel.NONE  # it would write to standard output
        for name, text in modules.items():
            self._interpreter.add_module(name, text)
        self._bundle = self._interpreter.build(None, [self._holds, self._reason])
        if not self._bundle.ok():
            raise NoPolicyEngine("the policy does not compile; check it with `opa check`")

    def __call__(self, asked: Question) -> tuple[Any, Any]:
        """(`holds`, `reason`); no reasons when enough rules hold."""
        document, enough = asked
        if not _fits(document):
            raise ValueError("the input holds a number beyond 64 bits or a NUL, which the engine would change")
        self._interpreter.set_input(document)
        holds = self._value(self._holds)
        satisfied = enough is not None and isinstance(holds, list) and enough <= set(map(str, holds))
        return holds, {} if satisfied else self._value(self._reason)

    def _value(self, entry: str) -> Any:
        """The value at the entry point, or None when it is undefined."""
        output = self._interpreter.query_bundle_entrypoint(self._bundle, entry)
        if not output.ok():
            raise NoPolicyEngine(f"the policy failed: {output}")
        expressions = output.results[0].expressions if output.results else []
        return expressions[0] if expressions else None


def _fits(value: object) -> bool:
    """Whether it arrives as it is: the engine's integers wrap around, its text ends at a NUL, and JSON has no NaN."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, Mapping):
        return all(map(_fits, value)) and all(map(_fits, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_fits, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


_Questions = queue.SimpleQueue[tuple[Question, queue.SimpleQueue[Any]] | None]  # None: nobody asks any more


class _Worker:
    """One daemon thread that owns the engine; a question waits for its answer for a limited time.

    The thread knows the questions and not who asks: when the last one who could ask is gone, it ends, and the engine
    (up to 15 MB) goes with it.
    """

    def __init__(self, make: Callable[[], _Engine]) -> None:
        self._make = make
        self._questions: _Questions = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending: queue.SimpleQueue[Any] | None = None  # of a question whose answer was late
        self._thread: threading.Thread | None = None

    def ask(self, asked: Question, timeout_s: float) -> Any:
        """The engine's answer. Raises TimeoutError when it is late, or what the engine raised."""
        with self._lock:
            if self._pending is not None and self._pending.empty():
                raise TimeoutError("the policy engine is still busy with an earlier question")
            self._pending = None
            if self._thread is None:
                asked_of = (self._make, self._questions)
                self._thread = threading.Thread(target=_answer, args=asked_of, name="rego", daemon=True)
                self._thread.start()
                weakref.finalize(self, self._questions.put, None).atexit = False  # a leaving process frees all anyway
            answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self._questions.put((asked, answers))
            try:
                answer = answers.get(timeout=timeout_s)
            except queue.Empty:
                self._pending = answers
                raise TimeoutError(f"the policy took longer than {timeout_s:g} s") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _answer(make: Callable[[], _Engine], questions: _Questions) -> None:
    """Questions until there is None. The engine is made when the first one comes."""
    engine: Any = None
    while (one := questions.get()) is not None:
        asked, answers = one
        try:
            engine = engine or make()
            answers.put(engine(asked))
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            answers.put(error)
