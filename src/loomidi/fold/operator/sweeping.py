"""Folds that are over and old, removed once their record is kept elsewhere.

Called by `running`, by the replica that leads. In: every Fold, every policy, the time, who keeps records. Out: Folds
deleted, each of exactly the version whose record was kept, and why others stay, counted. Which ones are due is pure:
those whose end is longer ago than the retention, and in a namespace with too many the oldest; never one that is not at
an end, has a finalizer or is at hand, and none that a brake still counts by.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from loomidi.contracts import LoomidiError
from loomidi.fold.operator.braking import filled
from loomidi.fold.operator.errors import NotLeading
from loomidi.fold.operator.permitting import AT_HAND
from loomidi.fold.operator.views import Object, View
from loomidi.fold.resources.events import event, events_in
from loomidi.ionic.act.kube.api import KubeApi
from loomidi.kit.logging import logger

_S = 1_000_000_000
_LOG = logger("fold.operator")
Keep = Callable[[View], None]  # durable when it returns; raises LoomidiError when it cannot be kept


@dataclasses.dataclass(frozen=True, slots=True)
class SweepSettings:
    """What of the Folds that are over stays."""

    kept_s: float = 7 * 86_400.0
    # After its end; 0: whatever its age.
    most: int = 1000
    # In a namespace, the oldest go first; 0: any number. With both at 0 all stay for ever.
    every_s: float = 60.0
    # Between two looks.
    at_once: int = 100
    # Removed by one look: passes over Folds wait meanwhile.


def due(folds: Iterable[Object], policies: Iterable[Object], settings: SweepSettings, now_ns: int) -> list[View]:
    """Those to remove now, oldest end first."""
    over = sorted((view for view in map(View, folds) if _free(view)), key=lambda view: view.at("since"))
    remembered_ns = now_ns - round(remembered_s(policies) * _S)
    old_ns = now_ns - round(settings.kept_s * _S) if settings.kept_s else 0
    left = Counter(view.metadata["namespace"] for view in over)
    found = []
    for view in over:
        space, since_ns = view.metadata["namespace"], view.at("since")
        crowded = settings.most > 0 and left[space] > settings.most
        if since_ns < remembered_ns and (since_ns < old_ns or crowded):
            found.append(view)
            left[space] -= 1
    return found[: settings.at_once]


def remembered_s(policies: Iterable[Object]) -> float:
    """For which brakes look back: at cooldowns, buckets, storms and budgets of any policy, and at what is proposed
    again."""
    longest = 3600.0
    for policy in policies:
        brakes = filled(policy["spec"].get("brakes") or {})
        bucket, storm, budget = brakes["bucket"], brakes["storm"], brakes.get("budget") or {}
        spans = (
            brakes["cooldownSeconds"],
            bucket["size"] * bucket["refillSeconds"],
            storm["withinSeconds"] + storm["quietSeconds"],
            3600 * budget.get("windowHours", 24) if budget else 0,
        )
        longest = max(longest, *map(float, spans))
    return longest


def _free(view: View) -> bool:
    """Whether nothing is left to do for it, by us or by anybody who put a finalizer on it."""
    metadata = view.metadata
    at_hand = AT_HAND in (metadata.get("labels") or {})
    return view.over and not (metadata.get("finalizers") or view.deleting or at_hand)


class Sweeper:
    """Of one replica."""

    def __init__(self, api: KubeApi, keep: Keep | None, settings: SweepSettings | None = None) -> None:
        """`keep`: None where no record is kept, and so nothing is removed."""
        self._api, self._keep, self._settings = api, keep, settings or SweepSettings()
        self.counts: Counter[str] = Counter()

    @property
    def on(self) -> bool:
        """Whether anything is ever removed."""
        return self._keep is not None and bool(self._settings.kept_s or self._settings.most)

    @property
    def every_s(self) -> float:
        """Between two looks."""
        return self._settings.every_s

    def sweep(self, folds: Iterable[Object], policies: Iterable[Object], now_ns: int) -> None:
        """One look. What fails is counted and met by the next one."""
        if not self.on:
            return
        removed: dict[str, list[View]] = {}
        for view in due(folds, policies, self._settings, now_ns):
            if self._removed(view):
                removed.setdefault(view.metadata["namespace"], []).append(view)
        for space, gone in removed.items():
            self._tell(space, gone, now_ns)

    def _removed(self, view: View) -> bool:
        """Steps, in this order: 1 its record is kept   2 it goes, if it is still as it was kept."""
        assert self._keep is not None
        metadata = view.metadata
        # 1 kept
        try:
            self._keep(view)
        except LoomidiError as error:
            self.counts["not_kept"] += 1
            _LOG.warning("a Fold that is over stays: its record could not be kept", fold=view.key, error=str(error))
            return False
        # 2 gone
        try:
            self._api.delete(view.path, metadata["uid"], metadata["resourceVersion"])
        except NotLeading:
            raise
        except LoomidiError as error:
            self.counts["not_removed"] += 1
            _LOG.warning("a Fold that is over could not be removed", fold=view.key, error=str(error))
            return False
        self.counts["removed"] += 1
        return True

    def _tell(self, space: str, gone: list[View], now_ns: int) -> None:
        """One event a namespace, on the last of them; the log has it where none can be written."""
        others = f" and {len(gone) - 1} more that are over" if len(gone) > 1 else ""
        message = f"removed{others}: over for long enough, or too many here; the record is kept by the operator"
        _LOG.info("Folds that are over were removed", namespace=space, number=len(gone))
        told: Mapping[str, Any] = event(
            gone[-1].obj, "Removed", message, kind="Normal", source="loomidi-operator", now_ns=now_ns
        )
        try:
            self._api.create(events_in(space), told)
        except LoomidiError as error:
            _LOG.warning("an event could not be written", namespace=space, error=str(error))
