"""Everything that a node agent has cut, without the agent: shown, and given back.

Called by `loomidi cuts`. In: the folder of the agent's state. Out: what is in the kernel; after `clear`, nothing of it,
no program, map or pin, and a last receipt for each plan that was open.
"""

import dataclasses
from pathlib import Path
from typing import Any

from loomidi.contracts import Step
from loomidi.contracts.ports import DenyState
from loomidi.ionic.act.receipts import FILE_NAME, SqliteReceipts
from loomidi.loom.capture.cuts import CutState


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What was there."""

    cuts: tuple[CutState, ...] = ()
    denies: tuple[DenyState, ...] = ()


def found() -> Found:
    """As it is now. Raises EnvironmentLacks without the rights."""
    from loomidi.loom.capture.xdp import cutting, uplinks

    cuts: list[CutState] = []
    denies: list[DenyState] = []
    if cutting.pins().exists():
        links = cutting.LinkCuts()
        cuts = links.states()
        links.close()
    if uplinks.pins().exists():
        shield = uplinks.UplinkShield([])
        denies = shield.entries()
        shield.close()
    return Found(tuple(cuts), tuple(denies))


def clear(state: Path) -> Found:
    """Give all back; what it was."""
    from loomidi.loom.capture.xdp import cutting, uplinks

    was = found()
    if cutting.pins().exists():
        cutting.LinkCuts().clear()
    if uplinks.pins().exists():
        uplinks.UplinkShield([]).clear()
    store = state / "cuts" / FILE_NAME
    if store.exists():
        _close(store)
    return was


def _close(store: Path) -> None:
    receipts = SqliteReceipts(store)
    for plan_id in receipts.open_plans():
        last: Any = receipts.of(plan_id)[-1]
        receipts.append(plan_id, Step.UNDONE, last.driver, last.inverse, {"why": "everything was cleared by hand"})
    receipts.close()
