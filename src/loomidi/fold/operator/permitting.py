"""Which Fold is at hand in a namespace, said where admission policies can read it: on the Fold and on the namespace.

Called by `carrying` and `orphans` around a driver's work, where the policies of deployments/admission are installed.
In: the API, a Fold that is begun. Out: label and annotation `loomidi.io/at-hand`, put on before and taken off after.
The API server holds them against the Fold, and every change against them (docs/admission.md). What a process that died
has left is taken over by the next one that has something at hand there.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import plan_of
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.ionic.act.kube.fields import Draft
from loomidi.ionic.decide.places import place
from loomidi.ionic.errors import Clash

AT_HAND = "loomidi.io/at-hand"
_LABEL, _NOTE = ("metadata", "labels", AT_HAND), ("metadata", "annotations", AT_HAND)


class Hand:
    """Has one Fold at a time in a namespace."""

    def __init__(self, api: KubeApi, told: Callable[[dict[str, Any]], None]) -> None:
        """`told`: hears of each Fold as it is stored."""
        self._api = api
        self._told = told
        self._space: dict[str, Any] | None = None  # the namespace as it was written last

    @contextlib.contextmanager
    def holding(self, view: View) -> Iterator[View]:
        """While it is at hand; the Fold as it is then. What fails leaves it at hand, for the undo or the next pass."""
        try:
            yield self._taken(view)
            self._noted(view.metadata["namespace"], "", "")
        except BaseException:
            self._space = None  # whatever is known may be why
            raise

    def _taken(self, view: View) -> View:
        """Steps, in this order:

        1 another that was at hand is laid down: namespace first, then Fold   2 the Fold   3 the namespace
        """
        # 1 another
        space = view.metadata["namespace"]
        found = map(View, self._api.items(view.path.rpartition("/")[0], AT_HAND))
        if others := [one for one in found if one.key != view.key]:
            self._noted(space, "", "")
        for other in others:
            self._labelled(other, None)
        # 2 the Fold
        held = self._labelled(view, "true")
        # 3 the namespace
        plan = plan_of(view.obj)
        self._noted(space, plan.id, f"{plan.fold.kind.value} {named(plan.fold)}{' back' if view.over else ''}")
        return held

    def _labelled(self, view: View, text: str | None) -> View:
        draft = Draft(dict(view.obj))
        draft.put(_LABEL, text)
        if not draft.operations:
            return view
        stored = self._api.patch(view.path, draft.operations, view.metadata["resourceVersion"])
        self._told(stored)
        return View(stored)

    def _noted(self, space: str, plan_id: str, what: str) -> None:
        """On the namespace; '' takes it off. Raises Clash when somebody writes it at the same time."""
        path, known = f"/api/v1/namespaces/{space}", self._space
        if known and known["metadata"]["name"] == space:
            with contextlib.suppress(Clash):
                self._space = self._put(path, known, plan_id, what)
                return
        live = self._api.get(path)
        self._space = None if live is None else self._put(path, live, plan_id, what)

    def _put(self, path: str, live: dict[str, Any], plan_id: str, what: str) -> dict[str, Any]:
        draft = Draft(live)
        draft.put(_LABEL, plan_id or None)
        draft.put(_NOTE, what or None)
        if not draft.operations:
            return live
        return self._api.patch(path, draft.operations, live["metadata"]["resourceVersion"])


def named(fold: FoldSpec) -> str:
    """The object that it changes, by the name that the Fold itself gives it."""
    there, metadata = place(fold.target), fold.manifest.get("metadata", {})
    if fold.kind is FoldKind.RECONFIGURE_NETWORK:
        return str(metadata.get("name", ""))
    if there.kind in ("pod", "workload", "node") and there.name and not there.address:
        return there.name
    noted = metadata.get("annotations", {}).get("loomidi.io/pod", "")
    return str(noted if fold.kind is FoldKind.ISOLATE_POD else metadata.get("name", ""))
