"""What an isolation says that it cuts, conversation by conversation, and what goes on all the same.

Called by the verb `fold` and by `bench/fold_exact.py`. Pure. In: a Fold as the API server has it. Out: `Stated`. The
conversations are those of the plan's blast radius; which of them go on follows from the addresses that the node's agent
told as its own when it made the cut (`status.receipts`), so before that everything counts as cut.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from loomidi.contracts import BlastRadius, Conversation, FoldKind, Step
from loomidi.fold.resources.objects import plan_of
from loomidi.ionic.errors import BadPlan

_TCP = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Stated:
    """What one Fold says of the traffic that was seen before it."""

    cut: tuple[Conversation, ...]
    stays: tuple[Conversation, ...]  # what the pod's own node asks it over TCP: the kubelet's probes
    unlisted: int  # conversations beyond those, cut as well

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        lists = {name: [one.as_dict() for one in getattr(self, name)] for name in ("cut", "stays")}
        return lists | {"unlisted": self.unlisted}


def stated(fold: Mapping[str, Any]) -> Stated | None:
    """None for what isolates nothing, holds no plan that can be read, or was not measured on a graph of flows."""
    try:
        plan = plan_of(fold)
    except BadPlan:
        return None
    if plan.fold.kind is not FoldKind.ISOLATE_POD or _blind(plan.blast_radius):
        return None
    spared, pod = set(_spared(fold)), plan.fold.match.source
    listed = plan.blast_radius.conversations
    stays = tuple(one for one in listed if one.client in spared and one.server == pod and one.protocol == _TCP)
    cut = tuple(one for one in listed if one not in stays)
    return Stated(cut, stays, plan.blast_radius.unlisted)


def _blind(radius: BlastRadius) -> bool:
    """Without a graph the worst is assumed."""
    return radius.flows == 0 and radius.share_of_octets == 1


def _spared(fold: Mapping[str, Any]) -> Iterator[str]:
    """Addresses as the agents told them."""
    for receipt in (fold.get("status") or {}).get("receipts") or ():
        detail = receipt.get("detail") or {}
        told = json.loads(detail) if isinstance(detail, str) else detail
        if receipt["step"] == Step.APPLIED:
            yield from (address for cut in told.get("cuts") or () for address in cut.get("spares") or ())
