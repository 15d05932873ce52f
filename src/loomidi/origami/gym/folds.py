"""A fold at work: when it takes effect and ends, what it takes away of the trouble, and what it costs others.

Called by `simulating` and `guarding`. In: a fold, a world, a trouble. Out: its shares over time, as arrays of one row
per moment. Collateral is the mechanics of the kind, wherever it is aimed; only the cure depends on the truth.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.origami.gym.actions import KindTraits
from loomidi.origami.gym.troubles import Entity
from loomidi.origami.gym.worlds import World

F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class FoldSettings:
    """What the mechanics of Kubernetes cost; assumed where the lab has not measured it."""

    start_s: float = 12.0
    # A new pod until it serves.
    shed: float = 0.15
    # Share of honest requests that a limit on a whole service refuses.
    added: float = 2.0
    # Replicas that SCALE_OUT adds, as the rules propose it.
    bigger: float = 0.3
    # Part by which RESIZE raises what a pod can do.
    surge: float = 0.25
    # Part of a pod that is missing while a ROLLBACK rolls (maxUnavailable 25 %).
    longest_s: float = 300.0
    # That an isolation or a limit is taken to last where its price is asked: a whole incident.


@dataclasses.dataclass(slots=True)
class Fold:
    """One that was decided. Times in seconds since the episode began."""

    traits: KindTraits
    slot: int
    entity: Entity
    decided_s: float
    from_s: float  # it takes effect
    cured_s: float  # the trouble is gone by it
    until_s: float
    cure: float = 0.0  # share of the trouble that it takes away
    cure_until_s: float = 0.0
    worse: bool = False
    added: float = 0.0  # replicas that found room

    def at_work(self, times: F64) -> F64:
        """1 while it is in effect."""
        return ((times >= self.from_s) & (times < self.until_s)).astype(float)

    def left(self, times: F64) -> F64:
        """Share of the trouble that it leaves."""
        curing = (times >= self.cured_s) & (times < min(self.until_s, self.cure_until_s))
        return 1.0 - self.cure * curing.astype(float)

    def missing(self, times: F64, world: World, settings: FoldSettings) -> F64:
        """Pods of its service that serve nobody because of it."""
        kind, start = self.traits.kind.value, settings.start_s
        if self.entity.service < 0 or self.entity.kind not in ("pod", "workload"):
            return np.zeros(len(times))
        if kind == "ISOLATE_POD":
            return self.at_work(times)
        if kind == "EVICT":
            return ((times >= self.from_s) & (times < self.from_s + start)).astype(float)
        if kind in ("RESTART", "ROLLBACK"):
            rolls = start * float(world.replicas[self.entity.service])
            part = 1.0 if kind == "RESTART" else settings.surge
            return part * ((times >= self.from_s) & (times < self.from_s + rolls)).astype(float)
        return np.zeros(len(times))

    def more(self, times: F64, world: World, settings: FoldSettings) -> F64:
        """Pods of its service that serve because of it."""
        if self.traits.kind.value == "SCALE_OUT":
            return self.added * self.at_work(times - settings.start_s)
        if self.traits.kind.value == "RESIZE":
            return settings.bigger * float(world.replicas[self.entity.service]) * self.at_work(times)
        return np.zeros(len(times))

    def refused(self, times: F64, settings: FoldSettings) -> F64:
        """Share of its service's honest requests that it refuses."""
        limits = self.traits.kind.value == "RECONFIGURE_NETWORK" and self.entity.kind == "workload"
        return settings.shed * limits * self.at_work(times)

    def cut(self, times: F64) -> F64:
        """Share of the good users that it cuts off."""
        return self.entity.users * (self.traits.kind.value == "RECONFIGURE_NETWORK") * self.at_work(times)


def prices(traits: KindTraits, entity: Entity, world: World, settings: FoldSettings) -> tuple[float, float]:
    """What a fold may cost at worst, known before it: minutes of users' requests, and the share of them it touches.

    At worst a service has just the pods that it needs, so that each one that is away is missed.
    """
    kind, lasts = traits.kind.value, settings.longest_s
    if kind == "RECONFIGURE_NETWORK":
        share = entity.users if entity.kind == "external" else settings.shed * float(world.uses[entity.service])
        return share * lasts / 60.0, share
    if entity.service < 0 or entity.kind not in ("pod", "workload") or kind in ("SCALE_OUT", "RESIZE", "CORDON"):
        return 0.0, 0.0
    uses, replicas = float(world.uses[entity.service]), float(world.replicas[entity.service])
    share = uses * (settings.surge if kind == "ROLLBACK" else 1.0) / replicas
    seconds = {"EVICT": settings.start_s, "ISOLATE_POD": lasts}.get(kind, settings.start_s * replicas)
    return share * seconds / 60.0, share
