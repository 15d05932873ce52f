"""Reports on FoldPolicies and their promotion, at a cluster and in the records of Folds that were removed.

Called by `loomidi fold report` and `loomidi policy promote`. In: a person's access, a policy's name, files of records.
Out: a `Report`; a FoldPolicy with another mode, with the report's hash and who promoted it in its annotations. What
speaks for and against is left to `fold.promoting`.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loomidi.contracts import InputError, LoomidiError, Mode
from loomidi.fold.operator.views import FOLDS, POLICIES
from loomidi.fold.promoting import Report, report, step
from loomidi.fold.resources.objects import moment
from loomidi.ionic.act.kube import KubeApi
from loomidi.ionic.act.receipts import SqliteReceipts
from loomidi.ionic.errors import BadStore
from loomidi.kit.logging import logger
from loomidi.loom.sources.clusters import access
from loomidi.services.folds.desk import Desk

REPORT = "loomidi.io/promotion-report"  # SHA-256 of the report
PROMOTED = "loomidi.io/promoted"  # from which mode to which, by whom, when
OVERRIDE = "loomidi.io/promotion-override"  # why although the report speaks against it
_LOG = logger("services.promoting")


@contextlib.contextmanager
def at_policies(kubeconfig: Path | None, context: str) -> Iterator["Policies"]:
    """At the cluster that is named, else that of the environment. Raises EnvironmentLacks."""
    with access(kubeconfig, os.environ, context=context).blocking(30.0) as client:
        yield Policies(KubeApi(client))


@dataclasses.dataclass(frozen=True, slots=True)
class Policies:
    """As one person sees them."""

    api: KubeApi

    def report(self, name: str, days: float, records: Sequence[Path] = ()) -> Report:
        """`records`: files of Folds that were removed. Raises InputError, BadStore for a chain that is not sound."""
        removed = [fold for file in records for fold in kept_in(file)]
        return report(self._policy(name), [*removed, *self.api.items(FOLDS)], time.time_ns(), days)

    def promote(self, found: Report, to: Mode, override: str = "") -> str:
        """Set the mode of exactly the policy that was reported on; what was done, in words. Raises NotReady, Clash."""
        policy, rises = self._policy(found.policy), step(found, to, override)
        now = report(policy, (), found.until_ns)
        if (now.uid, now.spec) != (found.uid, found.spec):
            raise InputError(f"FoldPolicy {found.policy} was changed after the report: make another one")
        who, told = Desk(self.api).whoami(), f"{found.mode} to {to}"
        notes = {PROMOTED: f"{told} by {who} at {moment(time.time_ns())[:19]}Z", REPORT: found.as_dict()["hash"]}
        if rises and override.strip():
            notes[OVERRIDE] = override.strip()[:1024]
            _LOG.warning("a FoldPolicy is promoted against its report", policy=found.policy, to=to.value, why=override)
        kept = dict(policy["metadata"].get("annotations") or {})
        kept.pop(OVERRIDE, None)
        change: list[dict[str, Any]] = [
            {"op": "add", "path": "/metadata/annotations", "value": kept | notes},
            {"op": "add", "path": "/spec/mode", "value": to.value},
        ]
        self.api.patch(f"{POLICIES}/{found.policy}", change, policy["metadata"]["resourceVersion"])
        _LOG.info("the mode of a FoldPolicy was set", policy=found.policy, mode=told, by=who, report=notes[REPORT])
        return told

    def _policy(self, name: str) -> Any:
        found = self.api.get(f"{POLICIES}/{name}")
        if found is None:
            raise InputError(f"there is no FoldPolicy {name}; see `kubectl get foldpolicies`")
        return found


def kept_in(file: Path) -> list[dict[str, Any]]:
    """The Folds of a file of records. Raises BadStore where a record was changed."""
    store = SqliteReceipts(file, read_only=True)
    try:
        if (chain := store.verify_chain()).broken_at is not None:
            raise BadStore(f"{file}: record {chain.broken_at + 1} was changed ({chain.why}); nothing is judged by it")
        return [
            dict(one.detail["fold"]) for one in store.all() if "fold" in one.detail and "spec" in one.detail["fold"]
        ]
    finally:
        with contextlib.suppress(LoomidiError):
            store.close()
