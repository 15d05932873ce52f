"""One trouble: a scenario with its strengths, times and suspects drawn, as it happens and as it is seen.

Called by `simulating`. In: scenario, world, figures, generator. Out: `Trouble`. What the policies may see of it are
suspects, signals, pattern and confidence; the rest is the truth, which only the simulator and the judges read.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from loomidi.origami.gym.figures import Figures
from loomidi.origami.gym.scenarios import SIGNALS, Cure, Range, Scenario
from loomidi.origami.gym.worlds import World

F64 = npt.NDArray[np.float64]
SEEN = 0.95  # of its time at the latest: what is over before it is found asks for no decision
NOISE = 0.15  # deviation of a signal from one episode to the next


@dataclasses.dataclass(frozen=True, slots=True)
class SuspectSettings:
    """How good finding and root cause are; both assumed until the lab has measured them."""

    first: float = 0.75
    # How often the first suspect is the right one.
    second: float = 0.7
    # How often the second is, where the first is not.


@dataclasses.dataclass(frozen=True, slots=True)
class Entity:
    """Somebody whom a finding can name."""

    kind: str  # pod, external, workload, node
    name: str  # as an entity id
    role: str  # in the scenario; `other`: somebody who has nothing to do with it
    service: int = -1  # whose pod or workload it is; -1: of none that serves users
    users: float = 0.0  # share of the good users that stand behind it
    octets: float = 0.0  # share of all octets in the window
    protected: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """The truth of one episode, and what is seen of it."""

    scenario: Scenario
    victim: int  # service
    load: float
    fault: float
    capacity: float
    goal_s: float
    lasts_s: float
    after_s: float  # until it is seen no more once its cause has ended
    detected_s: float
    suspects: tuple[Entity, Entity]
    scores: tuple[float, float]  # of the root cause, the likelier first
    pattern: str
    confidence: float
    signals: F64  # in the order of SIGNALS, at full strength

    def cure(self, kind: str, suspect: Entity) -> Cure | None:
        """The cure that this fold on this suspect is."""
        return next((cure for cure in self.scenario.cures if (cure.kind, cure.role) == (kind, suspect.role)), None)


def draw_trouble(
    scenario: Scenario,
    world: World,
    figures: Figures,
    rng: np.random.Generator,
    settings: SuspectSettings | None = None,
) -> Trouble:
    """By lot, within the scenario's ranges."""
    settings = settings or SuspectSettings()
    victim = int(rng.integers(0, len(world.uses)))
    lasts = _within(scenario.lasts_s, rng)
    suspects, right = _suspects(scenario, world, victim, settings, rng)
    leading = float(rng.uniform(0.45, 0.95) if right else rng.uniform(0.35, 0.75))
    return Trouble(
        scenario=scenario,
        victim=victim,
        load=_within(scenario.load, rng),
        fault=_within(scenario.fault, rng),
        capacity=_within(scenario.capacity, rng),
        goal_s=_within(scenario.goal_s, rng),
        lasts_s=lasts,
        after_s=figures.after_s(scenario.name, rng),
        detected_s=min(figures.detected_s(scenario.name, rng), SEEN * lasts),
        suspects=suspects,
        scores=(leading, float(leading * rng.uniform(0.3, 0.95))),
        pattern=str(rng.choice(list(scenario.patterns), p=_shares(scenario))),
        confidence=float(np.clip(rng.normal(0.75 if scenario.category == "benign" else 0.85, 0.1), 0.5, 0.99)),
        signals=np.clip(rng.normal([scenario.signals.get(name, 0.05) for name in SIGNALS], NOISE), 0.0, 1.0),
    )


def _suspects(
    scenario: Scenario, world: World, victim: int, settings: SuspectSettings, rng: np.random.Generator
) -> tuple[tuple[Entity, Entity], bool]:
    """The two that are named, and whether the first is the right one."""
    one, two = (_entity(scenario, role, world, victim, rng) for role in scenario.roles)
    if rng.random() < settings.first:
        return (one, two), True
    other = _other(one, world, rng)
    return ((other, one) if rng.random() < settings.second else (other, two)), False


def _entity(scenario: Scenario, role: str, world: World, victim: int, rng: np.random.Generator) -> Entity:
    if role == "far" or (
        role == "source" and scenario.signals.get("inside", 0.0) < 0.5 <= scenario.signals.get("outside", 0.0)
    ):
        crowd = scenario.signals.get("crowd", 0.0) >= 0.5
        name = "network/198.51.100.96/28" if crowd else "external/198.51.100.7"
        honest = float(rng.uniform(0.05, 0.2)) if role == "source" and not scenario.cures else 0.0
        return Entity("external", name, role, users=honest, octets=float(rng.uniform(0.05, 0.9 if crowd else 0.4)))
    if role == "node":
        return Entity("node", f"node/n{int(world.node_of[victim])}", role, victim)
    if role == "source" or scenario.roles == ("healthy", "source"):
        of = -1 if role == "source" else victim
        return Entity("pod", f"pod/tenants/{role}", role, of, octets=float(rng.uniform(0.0, 0.3)))
    service = victim if role == "victim" else world.neighbour(victim)
    share = float(world.uses[service] / np.sum(world.uses))
    return Entity(
        "workload", f"workload/shop/s{service}", role, service, octets=share, protected=_spared(scenario, role)
    )


def _spared(scenario: Scenario, role: str) -> bool:
    return scenario.protected and role == "victim"


def _other(right: Entity, world: World, rng: np.random.Generator) -> Entity:
    """Somebody of the same kind who has nothing to do with it: a good user, a pod that serves, a healthy workload."""
    count = len(world.uses)
    service = int((max(right.service, 0) + rng.integers(1, count)) % count)
    share = float(world.uses[service] / np.sum(world.uses))
    if right.kind == "external":
        return Entity("external", "external/203.0.113.9", "other", users=float(rng.uniform(0.02, 0.2)), octets=0.05)
    if right.kind == "node":
        return Entity("node", f"node/n{int(world.node_of[service])}", "other", service)
    if right.kind == "pod":
        return Entity("pod", f"pod/shop/s{service}-0", "other", service, octets=share)
    return Entity("workload", f"workload/shop/s{service}", "other", service, octets=share)


def _within(bounds: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*bounds))


def _shares(scenario: Scenario) -> F64:
    weights = np.array(list(scenario.patterns.values()))
    shares: F64 = weights / np.sum(weights)
    return shares
