"""What is sent, the Protocol of who sends it, its faults, and the sink that only remembers.

Called by every adapter and by `services.events`. The faults:

    Retryable
    `-- Away            the receiver does not take it now: the same letters, later
    InputError
    `-- Undeliverable   the receiver will never take this letter as it is: a dead letter

Both carry a `reason` of few words, for counters.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from loomidi.contracts import InputError, Retryable, Severity


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """One event on its way. Whoever meets an id twice may drop the second."""

    id: str
    kind: str  # finding, plan, receipt, outcome
    body: bytes  # one line of ASCII JSON without its end
    at_ns: int  # epoch: of what it tells
    severity: Severity = Severity.INFO


class Away(Retryable):
    """Try the same letters again, not before `after_s` seconds where the receiver has named a time."""

    def __init__(self, reason: str, why: str, after_s: float = 0.0) -> None:
        self.reason, self.after_s = reason, after_s
        super().__init__(why)


class Undeliverable(InputError):
    """Do not try this letter again as it is."""

    def __init__(self, reason: str, why: str) -> None:
        self.reason = reason
        super().__init__(why)


class Sink(Protocol):
    """One receiver."""

    name: str
    most: int  # letters in one `send`

    def send(self, letters: Sequence[Letter]) -> None:
        """All of them, in their order; they are the receiver's when it returns.

        Raises Away: none, some or all may have arrived, send all of them again. Undeliverable: one of them will never
        be taken; send them one by one to learn which.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files. A later `send` opens them again."""
        ...


class MemorySink:
    """Remembers; `faults` are raised one after another before it does. For tests."""

    name = "memory"

    def __init__(self, most: int = 64) -> None:
        self.most = most
        self.letters: list[Letter] = []
        self.faults: list[Exception] = []

    def send(self, letters: Sequence[Letter]) -> None:
        """Remember, or fail as told to."""
        if self.faults:
            raise self.faults.pop(0)
        self.letters += letters

    def close(self) -> None:
        """Nothing is held."""
