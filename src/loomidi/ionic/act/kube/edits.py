"""A change of fields of one object that is there, and the way back.

Called by the driver through `changes`. In: what the fields were when the inverse was computed and what they shall be.
Out: patches of exactly the version that was read. The object carries the plan's id from before its first field is
changed until after the last one is back, so a process that dies anywhere between leaves what another can take back.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from loomidi.ionic.act.kube.api import KubeApi, Object
from loomidi.ionic.act.kube.fields import MARK, Draft, Field, mark, value
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import ChangedMeanwhile


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """Fields of the object at `path`, or of its subresource `sub` (scale, resize)."""

    path: str
    uid: str
    fields: tuple[Field, ...]
    sub: str = ""

    def begun(self, api: KubeApi, plan_id: str) -> bool:
        """Whether the object carries the plan's id."""
        live = self._same(api)
        return live is not None and mark(live) == plan_id

    def holds(self, api: KubeApi, plan_id: str) -> str:
        """'' when everything is as the plan wants it, else what is not."""
        live = self._same(api)
        if live is None or mark(live) != plan_id:
            return f"{self.path} is gone, or another one" if live is None else f"{self.path} is not held by the plan"
        shown = self._shown(api, live)
        return ", ".join(f"{one.shown()} differs" for one in self.fields if value(shown, one.at) != one.after)

    def apply(self, api: KubeApi, plan_id: str) -> None:
        """Mark the object and change its fields. Raises ChangedMeanwhile, Clash. Steps, in this order:

        1 it is the same object, and nobody else's   2 its fields are as they were   3 mark, with the fields
        4 the fields of a subresource
        """
        # 1 the same object
        live = self._same(api)
        if live is None:
            raise ChangedMeanwhile(f"{self.path} is gone, or another one since; decide again")
        if (holder := mark(live)) not in ("", plan_id):
            raise ChangedMeanwhile(f"{self.path} is held by {holder} since; release that first")
        # 2 as they were; begun by this plan, some may be as they shall be
        shown = self._shown(api, live)
        self._unchanged(shown, begun=bool(holder))
        # 3 mark, with the fields
        version = self._write(api, live, plan_id, [(one, one.after) for one in self.fields if not self.sub])
        # 4 a subresource
        if self.sub:
            self._write_sub(api, shown, version, [(one, one.after) for one in self.fields])

    def undo(self, api: KubeApi, rule: int) -> list[str]:
        """Put back what is as we left it; returns what is not. Raises Clash. Steps, in this order:

        1 the same object, held by the plan   2 fields that others changed are left   3 a subresource's fields
        4 the other fields, with the mark
        """
        # 1 the same object
        live = self._same(api)
        if live is None:
            return [f"{self.path}: superseded, the object is gone or another one"]
        if not (holder := mark(live)) or rule_id(holder) != rule:
            return [f"{self.path}: not touched, {f'it is held by {holder}' if holder else 'it carries no plan'}"]
        # 2 changed by others
        shown = self._shown(api, live)
        back = [one for one in self.fields if value(shown, one.at) == one.after]
        left = [one for one in self.fields if value(shown, one.at) not in (one.before, one.after)]
        # 3 a subresource
        version = live["metadata"]["resourceVersion"]
        if self.sub:
            version = self._write_sub(api, shown, version, [(one, one.before) for one in back])
            live = live | {"metadata": live["metadata"] | {"resourceVersion": version}}
        # 4 the rest
        self._write(api, live, None, [(one, one.before) for one in back if not self.sub])
        return [f"{self.path}: {one.shown()} was changed by somebody else and is left" for one in left]

    def ours(self, api: KubeApi, rule: int) -> bool:
        """Whether the object still carries the plan's id, given by its rule id."""
        live = self._same(api)
        return live is not None and bool(mark(live)) and rule_id(mark(live)) == rule

    def _same(self, api: KubeApi) -> Object | None:
        live = api.get(self.path)
        return live if live is not None and live["metadata"]["uid"] == self.uid else None

    def _shown(self, api: KubeApi, live: Object) -> Object:
        """Where the fields are read: a resize shows in the pod itself."""
        if self.sub != "scale":
            return live
        scale = api.get(f"{self.path}/{self.sub}")
        if scale is None:
            raise ChangedMeanwhile(f"{self.path} is gone; decide again")
        return scale

    def _unchanged(self, shown: Object, *, begun: bool) -> None:
        for one in self.fields:
            found = value(shown, one.at)
            if found != one.before and not (begun and found == one.after):
                raise ChangedMeanwhile(f"{self.path}: {one.shown()} has changed since; decide again")

    def _write(self, api: KubeApi, live: Object, plan_id: str | None, wanted: Iterable[tuple[Field, Any]]) -> str:
        """Fields and mark at once; the resource version afterwards."""
        draft = Draft(live)
        for one, what in wanted:
            draft.put(one.at, what)
        draft.put(MARK, plan_id)
        version: str = live["metadata"]["resourceVersion"]
        if draft.operations:
            version = api.patch(self.path, draft.operations, version)["metadata"]["resourceVersion"]
        return version

    def _write_sub(self, api: KubeApi, shown: Object, version: str, wanted: Iterable[tuple[Field, Any]]) -> str:
        draft = Draft(shown)
        for one, what in wanted:
            draft.put(one.at, what)
        if draft.operations:
            version = api.patch(f"{self.path}/{self.sub}", draft.operations, version)["metadata"]["resourceVersion"]
        return version
