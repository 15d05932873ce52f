"""The error tree of this house.

Refused
|-- PlanRefused        guards or the mode said no; carries every verdict
|-- ApprovalInvalid    an approval that does not verify: forged, expired or for another plan
|-- NotActing          no driver can do it, or the plan is in shadow mode
|-- PolicyBreaks       a policy that would refuse what must never be refused
|-- PolicyNotInForce   an engine took a policy and does not follow it; what was before is back
|-- Fenced             somebody who began later has acted on the same target since
|-- OrderRefused       a node agent does not do what it was asked for; carries the reason that is counted
`-- ChangedMeanwhile   what was to be changed is no longer as it was when its inverse was computed
InputError
|-- BadPlan            a plan document that cannot be read
|-- BadStore           a receipt store that cannot be read or whose chain is broken
|-- BadManifest        a manifest of Kubernetes that cannot be read
|-- BadPolicy          a policy that cannot be used; carries every reason
|-- BadPlaybook        a playbook, or what it asks for, that cannot be used; carries every problem with its place
|-- BadCommand         a command of OpenC2 that cannot be read or is not carried out here; carries the status
|-- BadImage           a name of an image that cannot be one
|-- NotInRegistry      the registry has no such image or signature, or one that was tampered with
`-- ClusterRejects     the Kubernetes API finds the request wrong as it is
EnvironmentLacks
|-- NoPolicyEngine     the engine that would judge is missing, or the policy file is
`-- ClusterDenies      the Kubernetes API does not let us
Conflict
|-- PlanHeld           somebody else holds the lease of this plan
|-- RunHeld            another process carries out playbooks from this state folder, or the run is not open for that
|-- PolicyHeld         the name or the package of a policy belongs to somebody else, or the state folder does
`-- Clash              the object has moved on since it was read: read it again
Retryable
|-- EngineAway         a policy engine does not answer
|-- RegistryAway       a registry does not answer, or may not be asked
|-- ClusterAway        the Kubernetes API does not answer, or is too busy, also after a few tries
`-- AgentAway          a node's agent does not answer
"""

import dataclasses
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


class Fenced(Refused):
    """Nothing was done; look again at what is there now, and decide anew."""

    def __init__(self, target: str, token: int, newest: int) -> None:
        self.target, self.token, self.newest = target, token, newest
        super().__init__(f"{target}: fenced: token {token} is not newer than {newest}, which acted there since")


class OrderRefused(Refused):
    """A node agent's no. `reason` is one of few words, for counters and programs."""

    def __init__(self, reason: str, why: str) -> None:
        self.reason = reason
        super().__init__(f"order refused ({reason}): {why}")


class BadPlan(InputError):
    """The document names the field that is wrong."""


class BadManifest(InputError):
    """The text says what is wrong, and in which document."""


class BadPolicy(InputError):
    """`reasons` holds everything that is wrong with it, so that it can be mended at once."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a playbook."""

    pointer: str  # RFC 6901, into the document; empty for all of it
    text: str  # what is wrong and what to do
    section: str  # of CACAO Security Playbooks v2.0; empty where the limit is ours

    def __str__(self) -> str:
        told = f"{self.pointer}: {self.text}" if self.pointer else self.text
        return f"{told} (CACAO 2.0, {self.section})" if self.section else told


class BadPlaybook(InputError):
    """`problems` holds everything that is wrong with it, so that it can be mended at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))

    @classmethod
    def of(cls, pointer: str, text: str, section: str = "") -> "BadPlaybook":
        """With one problem."""
        return cls((Problem(pointer, text, section),))


class BadCommand(InputError):
    """`status`: the code of the OpenC2 language, 400 for what cannot be read and 501 for what is not done here."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class RunHeld(Conflict):
    """End the other process, or look with `loomidi playbook show` what the run waits for."""


class PolicyBreaks(Refused):
    """`refused` names the protected objects; exclude their namespaces in the policy."""

    def __init__(self, message: str, refused: Sequence[str]) -> None:
        self.refused = tuple(refused)
        super().__init__(message)


class PolicyNotInForce(Refused):
    """`reasons` says what was found instead when it was read back."""

    def __init__(self, message: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(message)


class BadImage(InputError):
    """The message shows how an image is named."""


class NotInRegistry(InputError):
    """Nothing that can be believed lies under that name."""


class BadStore(InputError):
    """Not a receipt store, or one that was tampered with."""


class NoPolicyEngine(EnvironmentLacks):
    """Install the package's dependencies again; without the engine every plan is refused."""


class PolicyHeld(Conflict):
    """Take another name or package, or let its owner hand it over."""


class EngineAway(Retryable):
    """Nothing is known of what it holds; the same call may work later."""


class PlanHeld(Conflict):
    """The plan has a lease already: settle that one first."""


class ChangedMeanwhile(Refused):
    """Decide again: the approval was for another state of things."""


class ClusterRejects(InputError):
    """The message has the API's own words; the same request will be rejected again."""


class ClusterDenies(EnvironmentLacks):
    """Grant the rights of deployments/rbac, or see which admission policy says no."""


class Clash(Conflict):
    """Somebody wrote in between; whoever meets it reads again and looks whether its write still makes sense."""


class RegistryAway(Retryable):
    """Nothing is known about the image, so it is refused; the same question may be answered later."""


class ClusterAway(Retryable):
    """Nothing is known to have been done; the same call may work later."""


class AgentAway(Retryable):
    """Nothing is known to have been done on the node; `unsent`: nothing can have been, for nothing reached it."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        self.unsent = unsent
        super().__init__(message)
