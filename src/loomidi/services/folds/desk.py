"""A person's desk at the Folds of a cluster: look, propose, approve, deny, release.

Called by `loomidi fold`. In: the cluster's API as that person, names, a key. Out: Folds as the API server has them;
each write is an annotation. Judging and acting are left to the operator. Raises NoFold,
TooLate, and what the API says.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, InputError, Match, Plan, Refused
from loomidi.crypt.keys import SigningKey
from loomidi.fold.asking import Request, asked
from loomidi.fold.operator.approving import signed_note, statement
from loomidi.fold.operator.views import DENY, FOLDS, PIN, RELEASE, REQUESTED_BY, View
from loomidi.fold.resources import fold_object, plan_of
from loomidi.fold.resources.objects import finding_of, fold_of
from loomidi.fold.resources.specs import spec as _schema
from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.decide.places import place
from loomidi.ionic.errors import BadPlan, Clash
from loomidi.loom.sources.clusters import access

_TRIES = 5  # to write on what others write too
_LOOK_S = 0.5  # between two looks for what is waited for
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_POD_KINDS = (FoldKind.ISOLATE_POD, FoldKind.EVICT, FoldKind.TERMINATE)
Object = dict[str, Any]


class NoFold(InputError):
    """Look at `loomidi fold list`."""


class TooLate(Refused):
    """The message says what can be done instead."""


@contextlib.contextmanager
def at_desk(kubeconfig: Path | None, context: str) -> Iterator["Desk"]:
    """At the cluster that is named, else that of the environment. Raises EnvironmentLacks."""
    with access(kubeconfig, os.environ, context=context).blocking(30.0) as client:
        yield Desk(KubeApi(client))


@dataclasses.dataclass(frozen=True, slots=True)
class Desk:
    """One person's."""

    api: KubeApi

    def whoami(self) -> str:
        """As the API server knows us."""
        review = self.api.create(_REVIEW, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        return str(review["status"]["userInfo"].get("username", ""))

    def folds(self, namespace: str) -> list[View]:
        """All, of all namespaces when none is named, newest first."""
        found = self.api.items(_collection(namespace) if namespace else FOLDS)
        return sorted(map(View, found), key=lambda view: str(view.metadata.get("creationTimestamp")), reverse=True)

    def awaited(self, namespace: str, wait_s: float, *, only_open: bool) -> list[View]:
        """The same, as soon as there is one; none when none came for so long."""
        until = time.monotonic() + wait_s
        while True:
            found = [view for view in self.folds(namespace) if not (only_open and view.over)]
            if found or time.monotonic() >= until:
                return found
            time.sleep(_LOOK_S)

    def fold(self, name: str, namespace: str) -> View:
        """One, by `NAME` or `NAMESPACE/NAME`. Raises NoFold."""
        space, _, own = name.rpartition("/")
        space = space or namespace
        obj = self.api.get(f"{_collection(space)}/{own}")
        if obj is None:
            raise NoFold(f"there is no Fold {space}/{own}; see `loomidi fold list`, or name another --namespace")
        return View(obj)

    def planned(self, given: Mapping[str, Any], request: Request, now_ns: int) -> tuple[Object, Plan]:
        """A Fold with its plan, of a document that may have none yet; nothing is posted. Raises BadPlan."""
        metadata, spec = dict(given.get("metadata") or {}), given["spec"]
        if unknown := sorted(set(spec) - set(_schema()["properties"])):
            raise BadPlan(f"spec.{unknown[0]}: no such field; see docs/folds.md")
        try:
            fold, finding, plan = fold_of(given), finding_of(given), plan_of(given) if "plan" in spec else None
        except (ValueError, TypeError, AttributeError, LookupError) as error:  # what the API server would have refused
            raise BadPlan(f"spec: {type(error).__name__}: {error}; see docs/folds.md") from error
        plan = plan or asked(self._addressed(fold), request, now_ns, finding)
        obj = fold_object(plan, metadata.get("namespace", "default"), policy=spec.get("policy", ""))
        kept = {name: spec[name] for name in ("verify", "escalatesFrom") if name in spec}
        notes = (metadata.get("annotations") or {}) | {REQUESTED_BY: request.who}
        return obj | {"metadata": obj["metadata"] | metadata | {"annotations": notes}, "spec": obj["spec"] | kept}, plan

    def post(self, obj: Object) -> View:
        """Propose it."""
        return View(self.api.create(_collection(obj["metadata"]["namespace"]), obj))

    def statement(self, view: View, who: str, now_ns: int, lasts_s: float) -> Object:
        """What an approval says; it ends with the plan at the latest. Raises NotApprovable."""
        plan = plan_of(view.obj)
        if view.begun or now_ns >= plan.expires_ns:
            raise TooLate(f"{view.key} is {'in force already' if view.begun else 'past its plan: propose it anew'}")
        return statement(view, plan, who, now_ns, min(plan.expires_ns, now_ns + round(lasts_s * 1e9)))

    def approve(self, view: View, told: Object, key: SigningKey) -> View:
        """Sign it and put it on the Fold."""
        return self._note(view, *signed_note(told, key))

    def deny(self, view: View, reason: str) -> View:
        """Before it is begun. Raises TooLate."""
        if view.begun or view.over:
            advice = "release it instead" if view.begun else "nothing is left to deny"
            raise TooLate(f"{view.key} is {view.phase}: {advice}")
        return self._note(view, DENY, reason)

    def pin(self, view: View, reason: str) -> View:
        """No step of its ladder follows it. Raises TooLate."""
        if view.over:
            raise TooLate(f"{view.key} is {view.phase}: nothing follows it any more")
        return self._note(view, PIN, reason)

    def release(self, view: View, reason: str) -> View:
        """While it is in force. Raises TooLate."""
        if not view.begun:
            raise TooLate(f"{view.key} is {view.phase or 'not looked at yet'}: nothing is in force; deny it instead")
        return self._note(view, RELEASE, reason)

    def _note(self, view: View, name: str, text: str) -> View:
        """On the Fold as it is now: the operator may write at the same moment; what was signed does not change."""
        for tried in range(_TRIES):
            notes = dict(view.metadata.get("annotations") or {}) | {name: text}
            change = [{"op": "add", "path": "/metadata/annotations", "value": notes}]
            with contextlib.suppress(Clash):
                return View(self.api.patch(view.path, change, view.metadata["resourceVersion"]))
            self.api.pause(tried)
            view = self.fold(view.key, "")
        raise TooLate(f"{view.key} was written by others {_TRIES} times meanwhile; try again")

    def _addressed(self, fold: FoldSpec) -> FoldSpec:
        """A pod's address, so that what is cut is that of one host and not of everybody."""
        there = place(fold.target)
        if fold.kind not in _POD_KINDS or fold.match != Match() or there.kind != "pod":
            return fold
        pod = self.api.get(f"/api/v1/namespaces/{there.namespace}/pods/{there.name}")
        address = (pod or {}).get("status", {}).get("podIP", "")
        if not address:
            raise InputError(f"{fold.target} is not there, or has no address yet; name a pod that runs")
        return dataclasses.replace(fold, match=Match(source=address))


def _collection(namespace: str) -> str:
    return f"{FOLDS.rpartition('/')[0]}/namespaces/{namespace}/folds"
