"""The error tree of this house.

Refused
|-- PlanRefused        guards or the mode said no; carries every verdict
|-- ApprovalInvalid    an approval that does not verify: forged, expired or for another plan
`-- NotActing          no driver can do it, or the plan is in shadow mode
InputError
|-- BadPlan            a plan document that cannot be read
`-- BadStore           a receipt store that cannot be read or whose chain is broken
EnvironmentLacks
`-- NoPolicyEngine     the Rego engine or the policy file is missing
Conflict
`-- PlanHeld           somebody else holds the lease of this plan
"""

from collections.abc import Sequence

from loomidi.contracts import Conflict, EnvironmentLacks, InputError, Refused, Verdict


class PlanRefused(Refused):
    """At least one verdict was not `allow=True`. `verdicts` holds all of them, also those that allowed."""

    def __init__(self, plan_id: str, verdicts: Sequence[Verdict]) -> None:
        self.plan_id = plan_id
        self.verdicts = tuple(verdicts)
        against = [f"{v.guard}/{v.rule}: {v.reason}" for v in verdicts if v.allow is not True]
        super().__init__(f"{plan_id} refused; {'; '.join(against) or 'no guard answered'}")


class ApprovalInvalid(Refused):
    """Ask for a new approval; this one opens nothing."""


class NotActing(Refused):
    """Nothing was done, on purpose."""


class BadPlan(InputError):
    """The document names the field that is wrong."""


class BadStore(InputError):
    """Not a receipt store, or one that was tampered with."""


class NoPolicyEngine(EnvironmentLacks):
    """Install the package's dependencies again; without the engine every plan is refused."""


class PlanHeld(Conflict):
    """The plan has a lease already: settle that one first."""
