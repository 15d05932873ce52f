"""A pod that goes, by eviction or deletion. There is no way back, and the undo says so.

Called by the driver through `changes`. In: the pod's path and uid. Out: a request bound to that uid. The pod is marked
first, so that the audit log and a crash in between show whose doing it is.
"""

import dataclasses

from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.ionic.act.kube.fields import MARK, Draft, mark
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ChangedMeanwhile


@dataclasses.dataclass(frozen=True, slots=True)
class Removal:
    """The pod at `path`; `how` is evict (honours PodDisruptionBudgets) or delete."""

    path: str
    uid: str
    how: str

    def begun(self, api: KubeApi, plan_id: str) -> bool:
        """Whether the pod is marked by the plan and still there."""
        live = self._staying(api)
        return live is not None and mark(live) == plan_id

    def holds(self, api: KubeApi, plan_id: str) -> str:
        """'' once the pod is gone or going."""
        return "" if self._staying(api) is None else f"{self.path} is still there"

    def apply(self, api: KubeApi, plan_id: str) -> None:
        """Mark it and let it go. Raises ChangedMeanwhile, also when a PodDisruptionBudget says no; Clash."""
        live = self._staying(api)
        if live is None:
            return
        if mark(live) not in ("", plan_id):
            raise ChangedMeanwhile(f"{self.path} is held by {mark(live)} since; release that first")
        draft = Draft(live)
        draft.put(MARK, plan_id)
        if draft.operations:
            api.patch(self.path, draft.operations, live["metadata"]["resourceVersion"])
        if self.how == "evict":
            api.create(f"{self.path}/eviction", self._eviction(live))
        else:
            api.delete(self.path, self.uid)

    def undo(self, api: KubeApi, rule: int) -> list[str]:
        """Take the mark off a pod that was never let go; say that a gone one does not come back."""
        live = self._staying(api)
        if live is None:
            return [f"{self.path}: the pod is gone for good; only its owner makes another"]
        if mark(live) and rule_id(mark(live)) == rule:
            draft = Draft(live)
            draft.put(MARK, None)
            api.patch(self.path, draft.operations, live["metadata"]["resourceVersion"])
        return []

    def ours(self, api: KubeApi, rule: int) -> bool:
        """Whether a pod that stays still carries the plan's id, given by its rule id."""
        live = self._staying(api)
        return live is not None and bool(mark(live)) and rule_id(mark(live)) == rule

    def _staying(self, api: KubeApi) -> Object | None:
        live = api.get(self.path)
        same = live is not None and live["metadata"]["uid"] == self.uid
        return live if live is not None and same and "deletionTimestamp" not in live["metadata"] else None

    def _eviction(self, live: Object) -> Object:
        named = {key: live["metadata"][key] for key in ("name", "namespace")}
        options = {"preconditions": {"uid": self.uid}}
        return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named, "deleteOptions": options}
