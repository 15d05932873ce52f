"""The Kubernetes driver: folds as changes of objects of a cluster.

Called by the engine. In: folds of the kinds in `kinds.KINDS`, with approvals. Out: patches, new objects, removals, each
marked with the plan's id. A kind says from the live state what it would change, or why not; that list is the inverse,
and is drawn once more before the first write: what is drawn must be what was stored.
"""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts import Approval, FoldKind, FoldSpec, LoomidiError, Mode, Plan, content_id
from loomidi.ionic.act.drivers.admission import admit
from loomidi.ionic.act.kube import changes
from loomidi.ionic.act.kube.agents import Agents
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.cuts import Cut
from loomidi.ionic.act.kube.kinds import KINDS
from loomidi.ionic.act.kube.scenes import KubeSettings, Scene
from loomidi.ionic.approvals import GUARDS, Signer, process_signer
from loomidi.ionic.errors import ChangedMeanwhile, NotActing
from loomidi.kit.clock import Clock, SystemClock

Inverse = Mapping[str, Any]
Recall = Callable[[str], Inverse | None]  # a plan's id -> the inverse that is stored for it, if any
_REMEMBERED = 256  # inverses that were computed here; the engine asks for one right before it applies


class KubeDriver:
    """Carries folds out on one cluster, and takes them back."""

    def __init__(
        self,
        api: KubeApi,
        signer: Signer | None = None,
        settings: KubeSettings | None = None,
        *,
        agents: Agents | None = None,
        recall: Recall | None = None,
        clock: Clock | None = None,
        name: str = "kubernetes",
    ) -> None:
        """`agents`: of the nodes, which cut packets at once; without them the API's objects are all that is changed.

        `recall`: looks into the receipts: what is not stored there is not applied, and what is can be verified."""
        self.name = name
        self._api = api
        self._signer = signer or process_signer()
        self._settings = settings or KubeSettings()
        self._agents = agents
        self._recall = recall
        self._clock = clock or SystemClock()
        self._known: dict[str, Inverse] = {}  # by the fold's content
        self._lock = threading.Lock()  # of `_known`

    def check(self, fold: FoldSpec) -> str | None:
        """None when it can be done now, on things that may be touched. Reads, and asks the API in dry runs."""
        try:
            self._drawn(fold, self._clock.now_ns())
        except LoomidiError as error:
            return str(error)
        return None

    def inverse(self, fold: FoldSpec) -> Inverse:
        """The changes with what was there before. Raises NotActing when it cannot be done."""
        at_ns = self._clock.now_ns()
        drawn = self._drawn(fold, at_ns)
        kind = KINDS[fold.kind]
        about = {"kind": fold.kind.value, "target": fold.target, "at_ns": at_ns, "reversible": kind.reversible}
        told = kind.told(fold, [changes.read(one) for one in drawn]) if kind.told else ""
        inverse = {**about, "undo": kind.inverse, "changes": drawn} | ({"told": told} if told else {})
        with self._lock:
            self._known[_key(fold)] = inverse
            while len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return inverse

    def apply(self, plan: Plan, approval: Approval) -> Mapping[str, Any]:
        """Do what was approved. Steps, in this order:

        1 the approval verifies; what has no way back takes a person in mode guarded   2 the inverse is known
        3 unless this plan has begun, or all is done, everything is as it was then, protected sets and budgets too
        4 the changes
        """
        # 1 the approval
        admit(plan, approval, self._signer, self._clock.now_ns())
        _reversible_enough(plan, approval)
        # 2 the inverse
        inverse = self._inverse_of(plan)
        if inverse is None:
            raise NotActing(f"{plan.id}: its inverse was not computed here; ask for it, store it, then apply")
        todo = [changes.read(document, self._agents, approval.signature) for document in inverse["changes"]]
        # 3 as it was then
        objects = [change for change in todo if not isinstance(change, Cut)]
        begun = any(change.begun(self._api, plan.id) for change in objects)
        if not begun and (not objects or any(change.holds(self._api, plan.id) for change in objects)):
            self._unchanged(plan.fold, inverse)
        # 4 the changes
        cuts = changes.apply_all(self._api, todo, plan.id)
        done = {"changes": [one.path for one in todo], "reversible": inverse["reversible"]}
        words = "; ".join(text for text in (_cuts_told(cuts), inverse.get("told", "")) if text)
        return done | ({"cuts": cuts} if cuts else {}) | ({"told": words} if words else {})

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Read everything back."""
        inverse = self._inverse_of(plan)
        if inverse is None:
            return {"holds": False, "found": "no inverse is known of this plan, so what it changed is not either"}
        wanted = [changes.read(document, self._agents) for document in inverse["changes"]]
        differing = [text for one in wanted if (text := one.holds(self._api, plan.id))]
        notes = [one.note(plan.id) for one in wanted if isinstance(one, Cut)]
        told = "; ".join(differing) or "; ".join([f"{len(wanted)} as the plan wants them", *notes])
        return {"holds": not differing, "found": told}

    def undo(self, inverse: Inverse) -> Mapping[str, Any]:
        """Put back what is still as we left it, tell what is not, and look whether our marks are gone. Idempotent."""
        rule = int(inverse["rule_id"])
        done = [changes.read(document, self._agents) for document in inverse["changes"]]
        left = changes.undo_all(self._api, done, rule)
        undone = not any(change.ours(self._api, rule) for change in done)
        return {"undone": undone, "reversible": inverse["reversible"], "left": left}

    def _drawn(self, fold: FoldSpec, at_ns: int) -> list[dict[str, Any]]:
        """What the kind would change, as JSON has it. Raises NotActing with the reason."""
        kind = KINDS.get(fold.kind)
        if kind is None or (fold.action != kind.action and fold.kind is not FoldKind.RECONFIGURE_NETWORK):
            raise NotActing(f"{fold.kind.value} by {fold.action} is nothing that is done to Kubernetes objects")
        if fold.ttl_s <= 0:
            raise NotActing("a fold needs a TTL; give ttl_s")
        drawn = kind.draw(Scene(self._api, self._settings, at_ns, self._agents), fold)
        documents: list[dict[str, Any]] = json.loads(json.dumps([changes.stored(change) for change in drawn]))
        return documents

    def _unchanged(self, fold: FoldSpec, inverse: Inverse) -> None:
        if self._drawn(fold, inverse["at_ns"]) != json.loads(json.dumps(inverse["changes"])):
            raise ChangedMeanwhile(f"{fold.target} has changed since its inverse was computed; decide again")

    def _inverse_of(self, plan: Plan) -> Inverse | None:
        """The stored one and no other where there is a store; else the one that was computed here."""
        return self._recall(plan.id) if self._recall else self._known.get(_key(plan.fold))


def _reversible_enough(plan: Plan, approval: Approval) -> None:
    kind = KINDS.get(plan.fold.kind)
    if kind and not kind.reversible and plan.mode is Mode.GUARDED and approval.approver == GUARDS:
        raise NotActing(f"{plan.id}: {plan.fold.kind.value} has no way back; mode guarded takes a person for it")


def _cuts_told(cuts: list[dict[str, Any]]) -> str:
    """Where packets are cut, and where not, in one line."""
    made = [one["node"] for one in cuts if one["made"]]
    lines = [f"cut at once on {', '.join(made)}"] if made else []
    return "; ".join([*lines, *(f"not cut on {one['node']}: {one['why']}" for one in cuts if not one["made"])])


def _key(fold: FoldSpec) -> str:
    return content_id("fold", fold.as_dict())
