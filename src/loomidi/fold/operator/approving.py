"""Persons' approvals: annotations on the Fold, signed, each for one plan on one target as it was judged.

Called by `judging`, which reads, and by whoever approves for a person, who writes. In: a Fold and its plan, a key.
Out: one annotation an approval, read back as `Heard`. One that does not verify, or is for anything else, counts for
nothing and says why. `OwnKeys`: each person has an Ed25519 key, listed with name and groups. `SharedKey`: one for all,
which cannot tell persons apart.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Protocol

from loomidi.contracts import Approval, LoomidiError, Plan, Verdict
from loomidi.crypt.envelopes import seal, unseal
from loomidi.crypt.keys import SigningKey
from loomidi.fold.asking import PERSON
from loomidi.fold.operator.errors import NotApprovable
from loomidi.fold.operator.people import People, Person
from loomidi.fold.operator.views import REQUESTED_BY, View
from loomidi.fold.resources.objects import moment, nanoseconds
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import plan_hash

PREFIX = "approval.loomidi.io/"
KIND = "application/vnd.loomidi.approval.v1+json"

_VERDICTS = (Verdict("person", "approved", True, "signed by hand"),)


_SLACK_NS = 60 * 10**9  # by which a person's clock may be ahead of ours
_PARTS = {
    "approver": "it is signed in another name than the list gives this key",
    "fold": "it is for another Fold",
    "plan": "it is for another plan: what was approved has changed",
    "target": "it is for another target, or for the target at another version than was judged",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """One approval that verifies now."""

    approval: Approval
    groups: frozenset[str]  # of who gave it


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """One statement that lies on a Fold, and what it is worth now."""

    note: str  # what follows the prefix: the id of a key, or a name
    digest: str  # SHA-256 of the statement as it was written, in hex
    approver: str  # '' where nobody can say
    granted: Granted | None  # None: it counts for nothing
    why: str = ""  # it counts for nothing; the same words at every look

    def refused(self, why: str) -> "Heard":
        """The same, counting for nothing."""
        return dataclasses.replace(self, granted=None, why=why)


class Approvers(Protocol):
    """Who knows whose approvals count."""

    def heard(self, view: View, plan: Plan, now_ns: int) -> list[Heard]:
        """All that lie on it, those that verify by name of who gave them, one a person."""


class _Worthless(Exception):
    """Why a statement counts for nothing."""


class SharedKey:
    """Whoever has the key may approve, in any name and of no group."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def heard(self, view: View, plan: Plan, now_ns: int) -> list[Heard]:
        """By the name of the annotation."""
        return [self._heard(name, text, plan, now_ns) for name, text in _notes(view)]

    def _heard(self, approver: str, text: str, plan: Plan, now_ns: int) -> Heard:
        one = Heard(approver, _digest(text), approver, None)
        if not approver or approver == GUARDS:
            return one.refused("it names no person")
        try:
            approval = Approval(approver=approver, verdicts=_VERDICTS, **json.loads(text))
            self._signer.verify(plan, approval, now_ns)
        except LoomidiError as error:
            return one.refused(str(error))
        except (TypeError, ValueError, AttributeError):
            return one.refused("it cannot be read")
        return dataclasses.replace(one, granted=Granted(approval, frozenset()))


class OwnKeys:
    """Each person signs with a key of their own."""

    def __init__(self, people: People) -> None:
        self._people = people

    def heard(self, view: View, plan: Plan, now_ns: int) -> list[Heard]:
        """By the id of the key in the annotation's name."""
        found = [self._heard(key, text, view, plan, now_ns=now_ns) for key, text in _notes(view)]
        return sorted(found, key=lambda one: (one.granted is None, one.approver, one.note))

    def _heard(self, key: str, text: str, view: View, plan: Plan, *, now_ns: int) -> Heard:
        person = self._people.with_key(key)
        one = Heard(key, _digest(text), person.name if person else "", None)
        try:
            return dataclasses.replace(one, granted=self._granted(person, text, view, plan, now_ns=now_ns))
        except _Worthless as why:
            return one.refused(str(why))

    def _granted(self, person: Person | None, text: str, view: View, plan: Plan, *, now_ns: int) -> Granted:
        """Raises _Worthless unless all holds. Steps, in this order:

        1 the key is listed, and it signed this   2 it says what a statement of its owner about this Fold says
        3 it is not over, and has begun
        """
        # 1 listed, and signed
        if person is None:
            raise _Worthless("its key is not in the list of approvers")
        try:
            told, signature = unseal(KIND, text, person.key)
            granted_ns, expires_ns = nanoseconds(told["grantedTime"]), nanoseconds(told["expiresTime"])
        except (LoomidiError, LookupError, TypeError, ValueError) as error:
            raise _Worthless(f"it cannot be read, or its key did not sign it ({type(error).__name__})") from error
        # 2 about this Fold as it was judged
        if told != (expected := statement(view, plan, person.name, granted_ns, expires_ns)):
            raise _Worthless(_apart(told, expected))
        # 3 not over
        until_ns = min(expires_ns, plan.expires_ns)
        if now_ns >= until_ns:
            raise _Worthless(f"it is void since {moment(until_ns)[:19]}Z")
        if granted_ns > now_ns + _SLACK_NS:
            raise _Worthless(f"it was given at {moment(granted_ns)[:19]}Z, which has not come: look at the clocks")
        content = Approval(
            plan.id,
            plan_hash(plan),
            _VERDICTS,
            person.name,
            granted_ns=granted_ns,
            expires_ns=expires_ns,
            signature=signature,
        )
        return Granted(content, person.groups)


def _apart(told: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What a statement says otherwise than it must."""
    parts = [why for name, why in _PARTS.items() if told.get(name) != expected[name]]
    return "; ".join(parts) or "it says more than a statement says, or a time in other words"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def approval_note(plan: Plan, approver: str, signer: Signer, now_ns: int) -> tuple[str, str]:
    """Name and text of the annotation, by the shared key. It is void when the plan is."""
    signed = signer.sign(plan, _VERDICTS, approver=approver, granted_ns=now_ns, expires_ns=plan.expires_ns)
    kept = {name: getattr(signed, name) for name in ("plan_id", "plan_hash", "granted_ns", "expires_ns", "signature")}
    return f"{PREFIX}{approver}", json.dumps(kept, sort_keys=True)


def signed_note(told: dict[str, Any], key: SigningKey) -> tuple[str, str]:
    """Name and text of the annotation, by a person's own key."""
    return f"{PREFIX}{key.public.id}", seal(KIND, told, key)


def statement(view: View, plan: Plan, approver: str, granted_ns: int, expires_ns: int) -> dict[str, Any]:
    """What a person signs. Raises NotApprovable for a Fold that was not judged yet, or is begun or over."""
    if view.phase is None or view.phase is Phase.PROPOSED or view.over:
        where = f"it is {view.phase or 'not looked at yet'}"
        raise NotApprovable(f"{view.key}: {where}; a Fold is approved once every guard has said yes (Guarded)")
    target = view.status.get("target") or {}
    return {
        "approver": approver,
        "fold": {"key": view.key, "uid": view.metadata.get("uid", "")},
        "plan": {"id": plan.id, "hash": plan_hash(plan)},
        "target": {name: target.get(name, "") for name in ("uid", "resourceVersion")},
        "grantedTime": moment(granted_ns),
        "expiresTime": moment(expires_ns),
    }


def requesters(view: View, plan: Plan) -> set[str]:
    """Who asked for it, and so may not approve it: by annotation, and in the finding, which the plan's hash covers."""
    source = plan.finding.source
    own = source.removeprefix(PERSON) if source.startswith(PERSON) else ""
    return {view.noted(REQUESTED_BY), own} - {""}


def _notes(view: View) -> list[tuple[str, str]]:
    """Approvals as they were written, by what follows the prefix."""
    notes = view.metadata.get("annotations") or {}
    return [(name.removeprefix(PREFIX), text) for name, text in sorted(notes.items()) if name.startswith(PREFIX)]
