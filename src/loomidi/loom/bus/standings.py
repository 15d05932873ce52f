"""How streams and their readers stand, and the Protocol of a bus that can be asked and tended.

Called by the verb `bus`, by metrics and by `services` (which trims). Every adapter of ours is a `TendedBus`.
"""

import dataclasses
import re
from typing import Protocol

from loomidi.contracts.errors import UsageError
from loomidi.contracts.streams import Bus

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclasses.dataclass(frozen=True, slots=True)
class ReaderStanding:
    """One durable consumer."""

    name: str
    messages: int  # not committed yet
    octets: int | None  # of those; None where the bus cannot tell


@dataclasses.dataclass(frozen=True, slots=True)
class StreamStanding:
    """One stream as it is held now."""

    stream: str
    messages: int
    octets: int | None  # None where the bus cannot tell
    limit_octets: int | None  # at which it refuses; None: the bus has no such limit
    readers: tuple[ReaderStanding, ...]


class TendedBus(Bus, Protocol):
    """A bus with what its keeper needs."""

    async def standings(self) -> list[StreamStanding]:
        """All streams that exist, the dead letters last as `dead`. Raises Retryable when the bus is away."""

    async def trim(self, older_than_s: float | None = None) -> int:
        """Remove what every durable reader of its stream has committed and what is older (default: the retention).

        Returns how many messages went. A stream without readers keeps all; dead letters are never trimmed.
        """

    async def forget(self, stream: str, reader: str) -> bool:
        """A reader that will not come back holds `trim` no longer; whether it was there.

        On Kafka its group goes, and with it what it has committed of other streams.
        """

    async def recover(self) -> None:
        """It is away: do what can be done, which is to start the server of our own that its owner took along."""


def checked(name: str) -> str:
    """A reader's name that every bus takes. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"reader {name!r}: use 1 to 64 letters, digits, underscores and hyphens")
    return name
