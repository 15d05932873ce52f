"""The brakes of a policy: how much may be folded at once and how fast, and how to stop it all.

Called by `policies`. In: nothing. Out: a schema with a cautious default for everything. Counting live objects against
the brakes is left to the operator.
"""

from loomidi.contracts import Mode
from loomidi.fold.resources import schemas
from loomidi.fold.resources.schemas import Schema, rule

_DAY_S = 86_400


def brakes() -> Schema:
    """All brakes."""
    fields = {
        "minHealthy": schemas.share("Pods of the target's workload that must stay healthy."),
        "maxUnhealthy": schemas.share(
            "Pods of the target's workload that may be unhealthy, the folded ones among them."
        ),
        "caps": _caps(),
        "bucket": _bucket(),
        "cooldownSeconds": schemas.whole(
            "Seconds after the end of a Fold before the next on its target.", most=_DAY_S, default=60
        ),
        "antiFlapSeconds": schemas.whole(
            "Seconds for which a finding must last before it leads to a Fold.", most=_DAY_S, default=0
        ),
        "budget": _budget(),
        "storm": _storm(),
        "pause": _pause(),
    }
    either = rule(
        "!(has(self.minHealthy) && has(self.maxUnhealthy))",
        "minHealthy and maxUnhealthy say the same from two sides: keep one of them",
    )
    return schemas.checked(schemas.defaulted(schemas.thing("How much and how fast.", fields)), either)


def _caps() -> Schema:
    fields = {
        "workload": schemas.share("Folds at once on the pods of one workload.", default=1),
        "namespace": schemas.share("Folds at once in one namespace.", default="10%"),
        "node": schemas.share("Folds at once on one node.", default="20%"),
        "total": schemas.share("Folds at once by this policy.", default=10),
    }
    about = "Folds in force at once, as a number or as a percentage of the pods there, counted from live objects."
    return schemas.defaulted(schemas.thing(about, fields))


def _bucket() -> Schema:
    fields = {
        "size": schemas.whole("Folds that may follow each other without a pause.", least=1, most=1000, default=5),
        "refillSeconds": schemas.whole("Seconds until one more may follow.", least=1, most=_DAY_S, default=60),
    }
    return schemas.defaulted(schemas.thing("The token bucket: how fast folds may follow each other.", fields))


def _budget() -> Schema:
    fields = {
        "folds": schemas.whole("Folds that may be begun in one namespace within the window; left out: any number."),
        "podMinutes": schemas.whole(
            "Minutes for which Folds may keep pods of one namespace out of service within the window, in sum;"
            " left out: any number."
        ),
        "windowHours": schemas.whole("Hours that are looked back on.", least=1, most=168, default=24),
    }
    about = "What Folds may cost a namespace in a day, those of all policies together, counted from live objects."
    return schemas.thing(about, fields)


def _storm() -> Schema:
    fields = {
        "findings": schemas.whole("Findings that make a storm.", least=2, most=100_000, default=50),
        "withinSeconds": schemas.whole("Seconds within which they come.", least=1, most=3600, default=60),
        "mode": schemas.choice("The furthest that a Fold may go in a storm.", Mode, default=Mode.SHADOW.value),
        "quietSeconds": schemas.whole("Seconds without a storm until it is over.", least=1, most=_DAY_S, default=300),
    }
    return schemas.defaulted(schemas.thing("When so much is found that something else is wrong.", fields))


def _pause() -> Schema:
    reason = schemas.checked(
        schemas.text("Why, for whoever looks next.", most=1024),
        rule("self.trim().size() > 0", "a pause says why: set spec.brakes.pause.reason"),
    )
    fields = {"reason": reason, "until": schemas.moment("When it ends by itself; left out: when it is taken away.")}
    return schemas.thing(
        "While it is there, nothing new is folded; what is in force stays.", fields, required=("reason",)
    )
