"""Deadlines, retry budgets, jitter and circuit breakers as plain objects that are told the time.

`calling` and `serving` use them; nothing here sleeps, sends or reads a clock, so each rule is tested as arithmetic.
"""

import random
from dataclasses import dataclass, field

HEADER = "x-deadline-ms"  # milliseconds left when the request was sent: no two clocks have to agree
CLOSED, HALF_OPEN, OPEN = 0, 1, 2


def deadline_from(header: str, now_s: float, default_s: float) -> float:
    """The moment (monotonic, s) by which a request must be answered: what the caller has left, never more than ours."""
    try:
        left_s = int(header) / 1000.0
    except ValueError:
        left_s = default_s
    return now_s + max(0.0, min(left_s, default_s))


def backoff_s(attempt: int, base_s: float, most_s: float, chance: random.Random) -> float:
    """Full jitter: a uniform draw below an exponentially growing ceiling, so that callers do not come back together."""
    return chance.uniform(0.0, min(most_s, base_s * 2.0**attempt))


@dataclass
class RetryBudget:
    """Retries are paid from what ordinary calls put in: a failing upstream gets at most `ratio` more load."""

    ratio: float
    most: float = 20.0  # tokens saved up at most
    tokens: float = 5.0  # so that a service that has just started may retry a little

    def called(self) -> None:
        """A first attempt was sent."""
        self.tokens = min(max(self.most, self.ratio * 10), self.tokens + self.ratio)

    def spend(self) -> bool:
        """Whether one retry may be sent now; takes its token."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass
class Breaker:
    """Opens after so many failures in a row, lets one call through after a while, closes when that one succeeds."""

    failures: int  # 0: never opens
    open_s: float
    state: int = CLOSED
    _in_a_row: int = 0
    _opened_s: float = 0.0
    _trial: bool = field(default=False)

    def allows(self, now_s: float) -> bool:
        """Whether a call may be sent; the caller must tell the outcome by `succeeded` or `failed`."""
        if self.state == OPEN and now_s - self._opened_s >= self.open_s:
            self.state = HALF_OPEN
            self._trial = False
        if self.state == OPEN or (self.state == HALF_OPEN and self._trial):
            return False
        self._trial = self.state == HALF_OPEN
        return True

    def succeeded(self) -> None:
        """The upstream answered."""
        self.state = CLOSED
        self._in_a_row = 0
        self._trial = False

    def failed(self, now_s: float) -> None:
        """The upstream did not answer, or with a fault of its own."""
        self._in_a_row += 1
        self._trial = False
        if self.failures and (self.state == HALF_OPEN or self._in_a_row >= self.failures):
            self.state = OPEN
            self._opened_s = now_s

    def gave_up(self) -> None:
        """The caller went away before there was an outcome: nothing learnt about the upstream."""
        self._trial = False
