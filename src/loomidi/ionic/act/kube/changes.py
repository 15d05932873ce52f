"""The changes that a plan consists of: done in order, taken back in the opposite order, stored as JSON.

Called by the driver. In: changes, the API. Out: effects, or what was left as it is. Every change is idempotent, so a
clash or a lost answer is met by doing it again, a few times.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from loomidi.ionic.act.kube.agents import Agents
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.creates import Create
from loomidi.ionic.act.kube.cuts import Cut
from loomidi.ionic.act.kube.edits import Edit
from loomidi.ionic.act.kube.fields import field_of
from loomidi.ionic.act.kube.removals import Removal
from loomidi.ionic.errors import Clash, ClusterAway

Change = Edit | Create | Removal | Cut
Got = TypeVar("Got")
_TRIES = 6  # of one change that clashes with other writers


def stored(change: Change) -> dict[str, Any]:
    """As it is kept in the inverse."""
    fields = change.stored() if isinstance(change, Cut) else dataclasses.asdict(change)
    return {"change": type(change).__name__.lower(), **fields}


def read(document: Mapping[str, Any], agents: Agents | None = None, approval: str = "") -> Change:
    """The way back, also from JSON. `agents`, `approval`: for what node agents do."""
    given = {name: what for name, what in document.items() if name != "change"}
    if document["change"] == "cut":
        return Cut(**given, approval=approval, agents=agents)
    if document["change"] == "edit":
        return Edit(**given | {"fields": tuple(map(field_of, given["fields"]))})
    return Create(**given) if document["change"] == "create" else Removal(**given)


def apply_all(api: KubeApi, changes: Sequence[Change], plan_id: str) -> list[dict[str, Any]]:
    """In order; what node agents answered. Raises on the first that cannot be done; `undo_all` takes the rest back."""
    told = [_settled(api, functools.partial(change.apply, api, plan_id)) for change in changes]
    return [one for one in told if one is not None]


def undo_all(api: KubeApi, changes: Sequence[Change], rule: int) -> list[str]:
    """In the opposite order; what was left, in words."""
    left: list[str] = []
    for change in reversed(changes):
        left += _settled(api, functools.partial(change.undo, api, rule))
    return left


def _settled(api: KubeApi, attempt: Callable[[], Got]) -> Got:
    """Do it again when somebody wrote in between: every attempt reads and checks anew."""
    for tried in range(_TRIES):
        try:
            return attempt()
        except Clash as clash:
            last = clash
            api.pause(tried)
    raise ClusterAway(f"others keep writing: {last}") from last
