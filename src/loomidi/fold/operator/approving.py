"""Persons' approvals: annotations on the Fold, signed, each for one plan on one target as it was judged.

Called by `judging`, which reads, and by whoever approves for a person, who writes. In: a Fold and its plan, a key.
Out: one annotation an approval. One that does not verify, or is for anything else, counts for nothing. `OwnKeys`: each
person has an Ed25519 key, listed with name and groups. `SharedKey`: one for all, which cannot tell persons apart.
"""

import dataclasses
import json
from typing import Any, Protocol

from loomidi.contracts import Approval, LoomidiError, Plan, Verdict
from loomidi.crypt.envelopes import seal, unseal
from loomidi.crypt.keys import SigningKey
from loomidi.fold.asking import PERSON
from loomidi.fold.operator.errors import NotApprovable
from loomidi.fold.operator.people import People
from loomidi.fold.operator.views import REQUESTED_BY, View
from loomidi.fold.resources.objects import moment, nanoseconds
from loomidi.fold.resources.phases import Phase
from loomidi.ionic.approvals import GUARDS, Signer
from loomidi.ionic.documents import plan_hash

PREFIX = "approval.loomidi.io/"
KIND = "application/vnd.loomidi.approval.v1+json"

_VERDICTS = (Verdict("person", "approved", True, "signed by hand"),)


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """One approval that verifies now."""

    approval: Approval
    groups: frozenset[str]  # of who gave it


class Approvers(Protocol):
    """Who knows whose approvals count."""

    def granted(self, view: View, plan: Plan, now_ns: int) -> list[Granted]:
        """Those that verify now, one a person, by name."""


class SharedKey:
    """Whoever has the key may approve, in any name and of no group."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def granted(self, view: View, plan: Plan, now_ns: int) -> list[Granted]:
        """By the name of the annotation."""
        found = (self._verified(name, text, plan, now_ns) for name, text in _notes(view))
        return [Granted(one, frozenset()) for one in found if one is not None]

    def _verified(self, approver: str, text: str, plan: Plan, now_ns: int) -> Approval | None:
        try:
            approval = Approval(approver=approver, verdicts=_VERDICTS, **json.loads(text))
            self._signer.verify(plan, approval, now_ns)
        except (LoomidiError, TypeError, ValueError, AttributeError):
            return None
        return approval if approver and approver != GUARDS else None


class OwnKeys:
    """Each person signs with a key of their own."""

    def __init__(self, people: People) -> None:
        self._people = people

    def granted(self, view: View, plan: Plan, now_ns: int) -> list[Granted]:
        """By the id of the key in the annotation's name."""
        found = (self._verified(key, text, view, plan, now_ns=now_ns) for key, text in _notes(view))
        return sorted((one for one in found if one is not None), key=lambda one: one.approval.approver)

    def _verified(self, key: str, text: str, view: View, plan: Plan, *, now_ns: int) -> Granted | None:
        """None unless all holds. Steps, in this order:

        1 the key is listed, and it signed this   2 it says what a statement of its owner about this Fold says
        3 it is not over
        """
        try:
            # 1 listed, and signed
            if (person := self._people.with_key(key)) is None:
                return None
            told, signature = unseal(KIND, text, person.key)
            # 2 about this Fold as it was judged
            granted_ns, expires_ns = nanoseconds(told["grantedTime"]), nanoseconds(told["expiresTime"])
            if told != statement(view, plan, person.name, granted_ns, expires_ns):
                return None
        except (LoomidiError, LookupError, TypeError, ValueError):
            return None
        # 3 not over
        if now_ns >= min(expires_ns, plan.expires_ns):
            return None
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
