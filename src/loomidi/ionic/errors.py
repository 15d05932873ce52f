"""The error tree of this house.

Refused
|-- PlanRefused        guards or the mode said no; carries every verdict
|-- ApprovalInvalid    an approval that does not verify: forged, expired or for another plan
|-- NotActing          no driver can do it, or the plan is in shadow mode
`-- ChangedMeanwhile   what was to be changed is no longer as it was when its inverse was computed
InputError
|-- BadPlan            a plan document that cannot be read
|-- BadStore           a receipt store that cannot be read or whose chain is broken
|-- BadManifest        a manifest of Kubernetes that cannot be read
`-- ClusterRejects     the Kubernetes API finds the request wrong as it is
EnvironmentLacks
|-- NoPolicyEngine     the Rego engine or the policy file is missing
`-- ClusterDenies      the Kubernetes API does not let us
Conflict
|-- PlanHeld           somebody else holds the lease of this plan
`-- Clash              the object has moved on since it was read: read it again
Retryable
`-- ClusterAway        the Kubernetes API does not answer, or is too busy, also after a few tries
"""

from collections.abc import Sequence

from loomidi.contracts import Conflict, EnvironmentLacks, InputError, Refused, Retryable, Verdict


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


class BadManifest(InputError):
    """The text says what is wrong, and in which document."""


class BadStore(InputError):
    """Not a receipt store, or one that was tampered with."""


class NoPolicyEngine(EnvironmentLacks):
    """Install the package's dependencies again; without the engine every plan is refused."""


class PlanHeld(Conflict):
    """The plan has a lease already: settle that one first."""


class ChangedMeanwhile(Refused):
    """Decide again: the approval was for another state of things."""


class ClusterRejects(InputError):
    """The message has the API's own words; the same request will be rejected again."""


class ClusterDenies(EnvironmentLacks):
    """Grant the rights of deployments/rbac/operator.yaml, or see which admission policy says no."""


class Clash(Conflict):
    """Somebody wrote in between; whoever meets it reads again and looks whether its write still makes sense."""


class ClusterAway(Retryable):
    """Nothing is known to have been done; the same call may work later."""
