"""The driver `folds`: a plan is carried out by proposing it to a cluster, whose operator judges it again and acts.

Called by the engine, for plans that are decided outside a cluster: playbooks, the analysis of a capture. In: folds of
the kinds that the operator carries out. Out: a Fold; its release is the inverse, its phase is what is verified. There
are no Kubernetes writes beside that one: policy, guards, approvals, brakes and the way back stay the operator's.
"""

from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts import Approval, Extension, FoldSpec, Plan
from loomidi.fold.operator.views import DENY, FOLDS, RELEASE, REQUESTED_BY, View
from loomidi.fold.resources import TOUCHING, Phase, fold_object
from loomidi.fold.resources.objects import namespaces_of
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.act.fencing import Fence, Tokens
from loomidi.ionic.act.kube import KINDS, KubeApi
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.errors import Clash, NotActing
from loomidi.kit.clock import Clock, SystemClock

WAIT_S, _LOOK_S = 30.0, 0.5


class FoldsDriver(Tokens):
    """On one cluster. `contracts.ports.LeaseDriver`."""

    name = "folds"

    def __init__(
        self,
        api: KubeApi,
        signer: Signer | None = None,
        *,
        wait_s: float = WAIT_S,
        clock: Clock | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`wait_s`: for the operator, when a Fold is verified and when it is taken back. The engine waits as long."""
        self.fence = fence or Fence()
        self._api, self._wait_s = api, wait_s
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()

    def check(self, fold: FoldSpec) -> str | None:
        """None when a Fold can say it. Reads nothing: whether it may be done is for the operator to judge."""
        if fold.kind not in KINDS:
            return f"{fold.kind.value} is nothing that the operator carries out"
        if fold.ttl_s < 1 or fold.ttl_s != int(fold.ttl_s):
            return f"a Fold lasts whole seconds, at least one; {fold.ttl_s:g} s is none"
        spaces = namespaces_of(fold)
        return None if len(spaces) == 1 else f"a Fold acts in one namespace, this in {sorted(spaces) or 'none'}"

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """Where the Fold will lie; the engine adds the plan's id, which is its name. What it changes, it keeps."""
        (space,) = namespaces_of(fold)
        return {"namespace": space}

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """Propose it; once, for its name is the plan's. Raises Refused, and what the API says."""
        admit(plan, approval, self._signer, self._clock.now_ns())
        (space,) = namespaces_of(plan.fold)
        obj = fold_object(plan, space)
        obj["metadata"]["annotations"] = {REQUESTED_BY: approval.approver}
        with self.fence.passing(plan.fold.target, token or self.token()):
            if self._fold(space, plan.id) is None:
                self._api.create(_path(space), obj)
        return {"fold": f"{space}/{plan.id}"}

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """A Fold's end does not change once it is judged. Raises NotActing."""
        raise NotActing(f"{plan.id}: the end of a Fold stays; propose another one that takes its place (escalatesFrom)")

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Whether the operator has it in force. It is waited for as long as it is neither in force nor over."""
        (space,) = namespaces_of(plan.fold)
        view = self._awaited(space, plan.id, lambda view: view.over or view.phase is Phase.ACTIVE)
        if view is None:
            return {"holds": False, "found": "the Fold is not there"}
        told = str(view.status.get("message", ""))
        return {"holds": view.phase is Phase.ACTIVE, "phase": _word(view), "found": told}

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask for its end by the annotation that its phase listens to, and wait until it is over. Idempotent."""
        space, name = inverse["namespace"], inverse["plan_id"]
        with self.fence.closing(inverse["target"], inverse["token"]):
            view = self._fold(space, name)
            if view is None or view.over:
                return {"undone": True, "phase": _word(view) if view else "never proposed, or removed"}
            self._ask(view)
        view = self._awaited(space, name, self._ended)
        return {"undone": view is None or view.over, "phase": _word(view) if view else "removed"}

    def _ended(self, view: View) -> bool:
        """Whether it is over; one that has moved on to a phase that listens to the other annotation is asked again."""
        if not view.over:
            self._ask(view)
        return view.over

    def _ask(self, view: View) -> None:
        note = RELEASE if view.phase in TOUCHING else DENY
        if view.noted(note):
            return
        notes = {**(view.metadata.get("annotations") or {}), note: "its plan was taken back"}
        change = [{"op": "add", "path": "/metadata/annotations", "value": notes}]
        try:
            self._api.patch(view.path, change, view.metadata["resourceVersion"])
        except Clash:
            return  # the operator has moved it on; what is waited for asks again

    def _awaited(self, space: str, name: str, done: Callable[[View], bool]) -> View | None:
        """As it is once `done`, or after the wait; None when it is not there."""
        until_ns = self._clock.monotonic_ns() + round(self._wait_s * 1e9)
        while (view := self._fold(space, name)) is not None and not done(view):
            if self._clock.monotonic_ns() >= until_ns:
                return view
            self._clock.sleep(_LOOK_S)
        return view

    def _fold(self, space: str, name: str) -> View | None:
        obj = self._api.get(f"{_path(space)}/{name}")
        return None if obj is None else View(obj)


def _path(space: str) -> str:
    root, _, kind = FOLDS.rpartition("/")
    return f"{root}/namespaces/{space}/{kind}"


def _word(view: View) -> str:
    return str(view.phase or Phase.PROPOSED)
