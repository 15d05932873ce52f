"""A Fold as the API server gives it, read for a pass of the operator.

Called by everything in this folder. In: the object. Out: a frozen view; nothing is guessed: what is missing is empty.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from loomidi.contracts import Step, Verdict
from loomidi.fold.resources.definitions import GROUP, VERSION
from loomidi.fold.resources.objects import FINALIZER, nanoseconds
from loomidi.fold.resources.phases import TERMINAL, Phase

Object = Mapping[str, Any]
DENY, RELEASE = "loomidi.io/deny", "loomidi.io/release"  # annotations with a reason; both only ever end a Fold
PIN = "loomidi.io/pin"  # with a reason: no step of its ladder follows
REQUESTED_BY = "loomidi.io/requested-by"  # the person who asked for it; whoever that is may not approve it
UNWRITTEN = "loomidi.io/unwritten"  # beside the parts of an object: its status goes further than what is stored
FOLDS = f"/apis/{GROUP}/{VERSION}/folds"
POLICIES = f"/apis/{GROUP}/{VERSION}/foldpolicies"


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """One Fold at one resource version."""

    obj: Object

    @property
    def metadata(self) -> Object:
        """Name, uid, version, marks."""
        found: Object = self.obj["metadata"]
        return found

    @property
    def spec(self) -> Object:
        """What is asked for."""
        found: Object = self.obj["spec"]
        return found

    @property
    def status(self) -> Object:
        """What was noted so far; empty at first."""
        return self.obj.get("status") or {}

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata['namespace']}/{self.metadata['name']}"

    @property
    def path(self) -> str:
        """Where it lies."""
        space, name = self.metadata["namespace"], self.metadata["name"]
        return f"/apis/{GROUP}/{VERSION}/namespaces/{space}/folds/{name}"

    @property
    def replaces(self) -> str:
        """Key of the Fold whose place it takes, or ''."""
        name = self.spec.get("escalatesFrom", "")
        return f"{self.metadata['namespace']}/{name}" if name else ""

    @property
    def phase(self) -> Phase | None:
        """None before the first pass."""
        return Phase(self.status["phase"]) if self.status.get("phase") else None

    @property
    def over(self) -> bool:
        """Whether its phase is an end."""
        return self.phase in TERMINAL

    @property
    def unwritten(self) -> bool:
        """Whether its status is not stored yet: the next write has to say all of it."""
        return UNWRITTEN in self.obj

    @property
    def deleting(self) -> bool:
        """Whether somebody deleted it; it stays until its finalizer goes."""
        return "deletionTimestamp" in self.metadata

    @property
    def held(self) -> bool:
        """Whether our finalizer is on it."""
        return FINALIZER in (self.metadata.get("finalizers") or ())

    @property
    def receipts(self) -> Sequence[Object]:
        """Oldest first."""
        return self.status.get("receipts") or ()

    @property
    def intent(self) -> Object | None:
        """The receipt with the inverse, once it is stored."""
        return next((one for one in self.receipts if one["step"] == Step.INTENT), None)

    @property
    def applied(self) -> Object | None:
        """The receipt of the effect."""
        return next((one for one in self.receipts if one["step"] == Step.APPLIED), None)

    @property
    def begun(self) -> bool:
        """Whether there may be an effect that nobody has taken back."""
        return self.intent is not None and not self.over

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What the guards said when it was judged last."""
        told = self.status.get("verdicts") or ()
        return tuple(Verdict(one["guard"], one["rule"], one.get("allow"), one.get("reason", "")) for one in told)

    @property
    def judged(self) -> int | None:
        """The generation of the spec that the guards have said yes to."""
        told = self.condition("Guarded")
        return told.get("observedGeneration") if told.get("status") == "True" else None

    @property
    def holding(self) -> str:
        """What the brake says that holds it, or ''."""
        told = self.condition("Held")
        return str(told["message"]) if told.get("status") == "True" else ""

    def condition(self, kind: str) -> Object:
        """The condition of this type, {} when there is none."""
        return next((one for one in self.status.get("conditions") or () if one["type"] == kind), {})

    def noted(self, name: str) -> str:
        """An annotation, or ''."""
        return str((self.metadata.get("annotations") or {}).get(name, ""))

    def at(self, name: str) -> int:
        """A time in the status, ns since the epoch; 0 when it is not there."""
        return nanoseconds(self.status[name]) if self.status.get(name) else 0
