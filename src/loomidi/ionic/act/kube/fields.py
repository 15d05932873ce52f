"""Single fields of Kubernetes objects: read by a path, compared, and changed by JSON Patch operations.

Called by `edits`, `creates` and `removals`. Pure. A field that is absent has the value None; maps on the way to a new
field are made, and the API drops them again once they are empty.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.ionic.act.kube.api import Object

At = tuple[str | int, ...]
PLAN = "loomidi.io/plan"  # the annotation with the id of the plan that touched the object
MARK: At = ("metadata", "annotations", PLAN)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field that a plan changes. None means absent."""

    at: At
    before: Any
    after: Any

    def shown(self) -> str:
        """Its path in words."""
        return ".".join(map(str, self.at))


def field_of(document: Mapping[str, Any]) -> Field:
    """The way back from JSON."""
    return Field(tuple(document["at"]), document["before"], document["after"])


def value(obj: Any, at: At) -> Any:
    """What is there, or None."""
    for key in at:
        if isinstance(obj, list) and isinstance(key, int):
            obj = obj[key] if key < len(obj) else None
        else:
            obj = obj.get(key) if isinstance(obj, Mapping) else None
    return obj


def mark(obj: Mapping[str, Any]) -> str:
    """The id of the plan that holds the object, or ''."""
    return value(obj, MARK) or ""


class Draft:
    """Operations that turn an object as it was read into one with other fields."""

    def __init__(self, obj: Object) -> None:
        self._obj = copy.deepcopy(obj)
        self.operations: list[Object] = []

    def put(self, at: At, wanted: Any) -> None:
        """Set a field; None takes it away. Nothing is said when it is so already."""
        if value(self._obj, at) == wanted:
            return
        if wanted is None:
            self.operations.append({"op": "remove", "path": _pointer(at)})
            del value(self._obj, at[:-1])[at[-1]]
            return
        for depth in range(1, len(at)):
            if value(self._obj, at[:depth]) is None:
                self._add(at[:depth], {})
        self._add(at, wanted)

    def _add(self, at: At, wanted: Any) -> None:
        op = "replace" if value(self._obj, at) is not None else "add"
        self.operations.append({"op": op, "path": _pointer(at), "value": wanted})
        value(self._obj, at[:-1])[at[-1]] = copy.deepcopy(wanted)


def _pointer(at: At) -> str:
    """RFC 6901."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in at)
