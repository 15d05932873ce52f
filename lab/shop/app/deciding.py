"""How many replicas: the rule of the scaler as arithmetic, without clock or network.

`scaler` feeds it measurements and applies what it says. Up at once, down only after a calm time, never outside bounds.
"""

import json
import math
from collections import deque
from dataclasses import dataclass, field

from loomidi_lab.shop.app.settings import ConfigurationError

TOLERANCE = 0.1  # within a tenth of the target nothing is changed


@dataclass(frozen=True)
class Target:
    """One Deployment that is scaled."""

    deployment: str
    metric: str  # name of a counter (its rate is taken) or a gauge
    rate: bool
    shared: bool  # every pod tells the same number, such as the depth of one queue: the largest is taken, not the sum
    per_replica: float
    least: int
    most: int


def targets(text: str) -> list[Target]:
    """The targets of a JSON list. Raises ConfigurationError."""
    try:
        found = [Target(**entry) for entry in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"SCALER_TARGETS cannot be read: {error}") from None
    for target in found:
        if not (1 <= target.least <= target.most and target.per_replica > 0):
            raise ConfigurationError(f"SCALER_TARGETS: bounds of {target.deployment} make no sense")
    return found


@dataclass
class Decider:
    """Remembers what would have been enough during the calm time."""

    target: Target
    calm_s: float
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def decide(self, now_s: float, replicas: int, load: float) -> tuple[int, int]:
        """Replicas by this measurement alone, and replicas to set now."""
        target = self.target
        each = load / max(1, replicas)
        wanted = replicas if abs(each / target.per_replica - 1.0) <= TOLERANCE else math.ceil(load / target.per_replica)
        wanted = max(target.least, min(target.most, wanted))
        self._wanted.append((now_s, wanted))
        while self._wanted and now_s - self._wanted[0][0] > self.calm_s:
            self._wanted.popleft()
        if wanted > replicas:
            return wanted, min(wanted, max(replicas * 2, replicas + 1))
        calm = max(count for _, count in self._wanted)
        return wanted, min(replicas, max(calm, target.least))
