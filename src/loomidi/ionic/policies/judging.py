"""Whether a policy may come into force: who judges it, what it says of our samples, what it must not refuse.

Called by `deploying` and by `services.policy_api`. In: a policy. Out: a `Shadow`, or BadPolicy (it does not compile),
PolicyBreaks (it refuses something of the protected set), NoPolicyEngine (nobody here can judge it), EngineAway. That it
refuses samples that our library allows is told, not forbidden: stricter than we are is for its author to want.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from loomidi.ionic.errors import PolicyBreaks
from loomidi.ionic.policies.kyverno_judging import KyvernoJudge
from loomidi.ionic.policies.opa import Opa
from loomidi.ionic.policies.records import Policy, PolicyType, Shadow
from loomidi.ionic.policies.rego_judging import Refusal, RegoJudge
from loomidi.ionic.policies.samples import ALLOWED, PROTECTED, REFUSED, Sample, samples

_TOLD = 100  # samples that are told one by one
Against = Mapping[str, list[Refusal]]  # sample id -> why


@dataclasses.dataclass(frozen=True, slots=True)
class JudgeSettings:
    """Which engines are there."""

    kyverno: Path | None = None
    # The `kyverno` command; None: the one in PATH.


class Judge:
    """Asks the engine of the policy's type."""

    def __init__(self, settings: JudgeSettings | None = None, opa: Opa | None = None) -> None:
        """`opa`: the server that judges Rego; None: the engine of this package alone."""
        self._rego = RegoJudge(opa)
        self._kyverno = KyvernoJudge((settings or JudgeSettings()).kyverno)

    def judge(self, policy: Policy) -> Shadow:
        """All samples."""
        every = samples()
        if policy.type is PolicyType.REGO:
            asked = self._rego.asked(policy, every)
            refused, engines, notes = self._rego.judge(policy, every)
            reported: Against = {}
        else:
            asked = [sample for sample in every if sample.subject == "object"]
            refused, reported, (engine, *notes) = self._kyverno.judge(policy, every)
            engines = [engine]
        _check_protected(policy, asked, refused)
        against = {**reported, **refused}
        return Shadow(
            engines=tuple(engines),
            asked=len(asked),
            allowed_refused=tuple(_told(_of(asked, ALLOWED), against)),
            refused_refused=sum(sample.id in against for sample in _of(asked, REFUSED)),
            refused_asked=len(_of(asked, REFUSED)),
            warned=tuple(_told(_of(asked, PROTECTED), reported)),
            notes=tuple(notes),
        )


def _of(asked: Iterable[Sample], group: str) -> list[Sample]:
    return [sample for sample in asked if sample.group == group]


def _told(group: Iterable[Sample], against: Against) -> list[str]:
    found = [f"{sample.told}: {_why(against[sample.id])}" for sample in group if sample.id in against]
    return found[:_TOLD] + ([f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else [])


def _why(against: list[Refusal]) -> str:
    return "; ".join(f"{one.rule}: {one.message}" for one in against[:3])


def _check_protected(policy: Policy, asked: list[Sample], refused: Against) -> None:
    broken = _told(_of(asked, PROTECTED), refused)
    if broken:
        raise PolicyBreaks(
            f"{policy.name} would refuse {len(broken)} objects that must never be refused (our own parts, what the "
            "operator writes, the cluster's own): let the policy leave them out, such as by namespace or label",
            broken,
        )
