"""A new object, and its deletion as the way back.

Called by the driver through `changes`. In: the whole object. Out: a create that fails where the name is taken, and a
delete of exactly the object that was made. One that somebody has edited since is theirs: it stays, without our mark.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.ionic.act.kube.fields import MARK, PLAN, Draft, mark
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ChangedMeanwhile


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """The object `body` in the collection at `path`."""

    path: str
    body: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Path of the object itself."""
        return f"{self.path}/{self.body['metadata']['name']}"

    def begun(self, api: KubeApi, plan_id: str) -> bool:
        """Whether it is there, made by the plan."""
        live = api.get(self.place)
        return live is not None and mark(live) == plan_id

    def holds(self, api: KubeApi, plan_id: str) -> str:
        """'' when it is there as it was made, else what is not so."""
        live = api.get(self.place)
        if live is None or mark(live) != plan_id:
            return f"{self.place} is not there, or not the plan's"
        return f"{self.place} was edited" if _edited(live) else ""

    def apply(self, api: KubeApi, plan_id: str) -> None:
        """Make it, unless this plan has. Raises ChangedMeanwhile when the name is taken, Clash when it just was."""
        live = api.get(self.place)
        if live is None:
            api.create(self.path, self.marked(plan_id))
        elif mark(live) != plan_id:
            raise ChangedMeanwhile(f"{self.place} is there since, and not this plan's; decide again")

    def undo(self, api: KubeApi, rule: int) -> list[str]:
        """Delete it, when it is ours and as we made it; returns what is left. Raises Clash."""
        live = api.get(self.place)
        if live is None:
            return []
        if not mark(live) or rule_id(mark(live)) != rule:
            return [f"{self.place}: not touched, another made it"]
        uid, version = live["metadata"]["uid"], live["metadata"]["resourceVersion"]
        if not _edited(live):
            api.delete(self.place, uid, version)
            return []
        draft = Draft(live)
        draft.put(MARK, None)
        api.patch(self.place, draft.operations, version)
        return [f"{self.place}: somebody has edited it since, so it is left to them"]

    def ours(self, api: KubeApi, rule: int) -> bool:
        """Whether it is there with the plan's id, given by its rule id."""
        live = api.get(self.place)
        return live is not None and bool(mark(live)) and rule_id(mark(live)) == rule

    def marked(self, plan_id: str) -> Object:
        """The object as it is sent."""
        body: Object = copy.deepcopy(dict(self.body))
        body["metadata"].setdefault("annotations", {})[PLAN] = plan_id
        return body


def _edited(live: Object) -> bool:
    """The API counts every change of a spec."""
    return int(live["metadata"].get("generation", 1)) > 1
