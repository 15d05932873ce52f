"""What a pass needs beside the Fold, handed in so that each part can be another one in a test.

Called by `running`, which makes it, and by `reconciling` and `carrying`, which use it.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Mode, Plan
from loomidi.contracts.ports import Driver
from loomidi.fold.operator.approving import Approvers, Heard
from loomidi.fold.operator.climbing import Standing
from loomidi.fold.operator.policing import Leave
from loomidi.fold.operator.views import Object, View
from loomidi.fold.operator.writing import Pen
from loomidi.ionic.decide import Decider
from loomidi.kit.clock import Clock, SystemClock

AtHand = Callable[[View], contextlib.AbstractContextManager[View]]  # the Fold as it is while it is at hand
Ledger = Callable[[View, Plan, Sequence[Heard]], None]  # durable when it returns; Retryable where it cannot be
Deciders = Callable[[Mode], Decider]  # guards are told the mode that a plan is in


def unkept(_view: View, _plan: Plan, _heard: Sequence[Heard]) -> None:
    """Where no folder for records is named."""


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Everything around a Fold."""

    driver: Driver
    pen: Pen
    deciders: Deciders
    approvers: Approvers
    leave: Callable[[View, Plan], Leave | str]  # by the policy that applies; why there is none
    target: Callable[[Plan], Object | None]  # the live object, {} when it is none, None when it is not there
    probe: Callable[[Object, View, Plan], tuple[bool, str]]  # whether it holds, and what was seen
    remember: Callable[[str, Mapping[str, Any]], None]  # a plan's stored inverse, for the driver
    clock: Clock = dataclasses.field(default_factory=SystemClock)
    standing: Callable[[View], Standing] = lambda _: Standing()  # where a Fold in force stands on its ladder
    ledger: Ledger = unkept  # told what each approval is worth, before any counts
    mode: Mode = Mode.SHADOW  # the furthest that any Fold goes here
    at_hand: AtHand = contextlib.nullcontext  # around a driver's work
    look_ahead: Callable[[View], None] = lambda _: None  # everybody will be asked right after the write that follows
