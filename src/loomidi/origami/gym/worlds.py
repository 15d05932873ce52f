"""The system that an episode happens in: services that call each other, their pods, nodes, and users.

Called by `troubles` and `simulating`. In: a random generator. Out: a `World`, drawn anew for each episode within the
ranges of `WorldSettings`, so that nothing can be learned by heart. Loads are in parts of what the pods can do.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class WorldSettings:
    """Ranges; the lab's shop lies within them."""

    services: tuple[int, int] = (6, 12)
    # The shop has nine.
    replicas: tuple[int, int] = (1, 4)
    # Pods of a service.
    nodes: tuple[int, int] = (2, 5)
    # Workers.
    usage: tuple[float, float] = (0.3, 0.7)
    # Usual load of a service, in parts of what its pods can do.
    room: tuple[int, int] = (0, 6)
    # Pods that a node can still take: with none, more replicas wait.


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Arrays have a row per service; service 0 is the front door, which every request of a user passes."""

    uses: F64  # share of users' requests that need it
    replicas: F64
    usage: F64
    node_of: I64  # node of its first pod
    calls: npt.NDArray[np.bool_]  # (services, services): row calls column, always one further from the door
    room: I64  # a row per node

    def neighbour(self, service: int) -> int:
        """Somebody who calls it; for the front door somebody whom it calls."""
        ends = self.calls[:, service] if self.calls[:, service].any() else self.calls[service]
        return int(np.argmax(ends))


def draw_world(rng: np.random.Generator, settings: WorldSettings | None = None) -> World:
    """A system by lot."""
    settings = settings or WorldSettings()
    count = int(rng.integers(settings.services[0], settings.services[1] + 1))
    nodes = int(rng.integers(settings.nodes[0], settings.nodes[1] + 1))
    calls = np.triu(rng.random((count, count)) < 0.3, 1)
    for service in range(1, count):
        calls[int(rng.integers(0, service)), service] = True  # nobody is without a caller
    uses = np.ones(count)
    for service in range(1, count):
        asked = float(np.max(uses[:service] * calls[:service, service]))
        uses[service] = asked * float(rng.uniform(0.3, 0.9))
    return World(
        uses=uses,
        replicas=rng.integers(settings.replicas[0], settings.replicas[1] + 1, count).astype(float),
        usage=rng.uniform(*settings.usage, count),
        node_of=rng.integers(0, nodes, count),
        calls=calls,
        room=rng.integers(settings.room[0], settings.room[1] + 1, nodes),
    )
