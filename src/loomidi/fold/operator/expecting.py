"""What a Fold will make us read, known from the one of its kind before: asked for beside the write that it begins with.

Called by `running`. In: what was read for one Fold. Out: the same paths for the target of another. A guess costs a
request at the most: what was not asked for, or could not be read, is read by whoever needs it.
"""

from collections.abc import Iterable

from loomidi.fold.operator.views import View
from loomidi.ionic.act.kube.looking import Key
from loomidi.ionic.decide.places import Place, place

_SPACE, _NAME = "{namespace}", "{name}"


class Habits:
    """By kind of Fold and of target, of the last one."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], list[Key]] = {}

    def note(self, view: View, keys: Iterable[Key]) -> None:
        """This is what was read for it. Selectors and objects of other names are its own affair, and left out."""
        where = place(view.spec["target"])
        opened: Iterable[Key] = ((_opened(path, where), chosen) for path, chosen in keys)
        self._keys[str(view.spec["kind"]), where.kind] = [
            (path, chosen) for path, chosen in opened if chosen == "" or path.endswith((_SPACE, _NAME))
        ]

    def of(self, view: View) -> list[Key]:
        """What is likely to be read for this one; nothing where its kind has not been seen."""
        where = place(view.spec["target"])
        kept = self._keys.get((str(view.spec["kind"]), where.kind), ())
        return [(path.replace(_SPACE, where.namespace).replace(_NAME, where.name), chosen) for path, chosen in kept]


def _opened(path: str, where: Place) -> str:
    """Its namespace and its name, where they are those of the target, left open."""
    parts = path.split("/")
    for at in range(1, len(parts)):
        if parts[at - 1] == "namespaces":
            parts[at] = _SPACE if parts[at] == where.namespace else parts[at]
        elif at == len(parts) - 1 and parts[at] == where.name:
            parts[at] = _NAME
    return "/".join(parts)
