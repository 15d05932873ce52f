"""Records of Folds that are removed from the cluster: the whole object, in a hash chain on disk.

Called by `operating`, whose operator asks for each Fold before it removes it. In: a Fold that is over. Out: one receipt
with the object as it was, durable when `keep` returns; the same one twice is kept once. A Fold whose own receipts are
not what their ids say is not kept, and so stays on the cluster for somebody to look at. `loomidi receipts FILE` reads
them.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loomidi.contracts import Step
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import receipts_of
from loomidi.ionic.act.chain import ROOT, check_chain
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.ionic.errors import BadStore
from loomidi.kit.clock import Clock

FILE_NAME = "folds.sqlite"  # in the folder of records
_DRIVER = "operator"
_OWN = ("apiVersion", "kind", "spec", "status")


class Records:
    """One replica's. Opened by the first Fold, for one thread."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self._file, self._clock = folder / FILE_NAME, clock
        self._store: SqliteReceipts | None = None

    def keep(self, view: View) -> None:
        """Steps, in this order: 1 its receipts are what they say   2 kept once   3 on disk, and read back.

        Raises BadStore for receipts that were changed, and what keeps the file from being written.
        """
        store = self._opened()
        metadata, document = view.metadata, _document(view)
        # 1 as they say
        receipts = [dataclasses.replace(one, previous=one.previous or ROOT) for one in receipts_of(view.obj)]
        sound = check_chain(receipts)
        if sound.broken_at is not None:
            raise BadStore(f"receipt {sound.broken_at + 1} of the Fold was changed ({sound.why}); look, then delete it")
        # 2 once
        plan_id = str(view.spec.get("plan", {}).get("id", "")) or str(metadata["name"])
        if any(_same(one.detail, document) for one in store.of(plan_id)):
            return
        # 3 on disk
        step = receipts[-1].step if receipts else Step.REFUSED
        kept = store.append(plan_id, step, _DRIVER, dict(view.intent["inverse"]) if view.intent else {}, document)
        if kept.id not in {one.id for one in store.of(plan_id)}:
            raise BadStore(f"{self._file}: what was written cannot be read back; check the disk")

    def check(self) -> None:
        """Whether records could be kept. Raises what keeps them from it."""
        self._opened()

    def close(self) -> None:
        """Let go of the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> SqliteReceipts:
        if self._store is None:
            self._store = SqliteReceipts(self._file, clock=self._clock)
        return self._store


def _document(view: View) -> dict[str, Any]:
    """The object without what the API server keeps for itself."""
    metadata = {name: value for name, value in view.metadata.items() if name != "managedFields"}
    return {"fold": {name: view.obj[name] for name in _OWN if name in view.obj} | {"metadata": metadata}}


def _same(detail: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    told = detail.get("fold", {}).get("metadata", {})
    return bool(told.get("uid") == document["fold"]["metadata"]["uid"])
