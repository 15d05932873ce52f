"""What the load should be like.

Made by callers, turned into a schedule by `planning`; as JSON it travels to the process that sends.
"""

import dataclasses
import json
from dataclasses import dataclass

from loomidi.contracts.errors import UsageError


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """A schedule is a function of this and a seed."""

    rate: float = 30.0  # requests per second, mean over a day and all requests of a page, without bursts
    users: int = 200  # people; each has an address of its own as long as there are addresses
    day_s: float = 600.0  # length of a day: 86400 is a real one
    swing: float = 0.35  # how far the curve of the day goes above and below its mean, 0 to 0.95
    bursts: float = 2.0  # per day, mean
    burst_s: float = 15.0
    burst_factor: float = 2.0  # of the rate while a burst lasts
    think_s: float = 3.0  # mean pause of a person between two pages
    patience_s: float = 10.0  # after that a person has gone away
    connections: int = 6  # of one person at once, as browsers have

    def checked(self) -> "LoadProfile":
        """Itself. Raises UsageError with the field that makes no sense."""
        bounds = {
            "rate": (0.01, 100_000), "users": (1, 1_000_000), "day_s": (1, 10**7), "swing": (0, 0.95),
            "bursts": (0, 10_000), "burst_s": (0.1, 10**6), "burst_factor": (1, 100), "think_s": (0.01, 3600),
            "patience_s": (0.01, 600), "connections": (1, 64),
        }  # fmt: skip
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"load: {name} is {getattr(self, name)}; {least} to {most} makes sense")
        return self

    def as_json(self) -> str:
        """For the command line of the sending process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "LoadProfile":
        """Back from `as_json`. Raises UsageError."""
        try:
            return cls(**json.loads(text)).checked()
        except (TypeError, ValueError) as error:
            raise UsageError(f"load profile cannot be read: {error}") from error
