"""The schedule: who sends what when, as a pure function of profile and seed.

Called by `sending` (a request at a time) and by tests. Visits come as a Poisson process whose rate follows the day and
its bursts; within a visit times come from the journey. Nothing here reads a clock.
"""

import functools
import heapq
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from loomidi_lab.shop.load.journeys import SHARES, Step, Visit
from loomidi_lab.shop.load.profiles import LoadProfile

_SAMPLE = 1500  # visits drawn to know how many requests a visit has
_LEAD_S = 90.0  # visits that began before the start and go on: the rate is right from the first second
_HARMLESS = ("browse", "search")  # of those only the ones that do not order from a cart they filled before the start
_NEW_SHARE = 0.4  # of visits by somebody who has no cookie of the shop yet


@dataclass(frozen=True, slots=True)
class Planned:
    """One request."""

    at_s: float  # since the start of the load
    user: int
    visitor: str  # the cookie
    visit: int
    journey: str
    step: Step


def schedule(profile: LoadProfile, seed: int, duration_s: float = math.inf) -> Iterator[Planned]:
    """Requests from 0 to `duration_s` in order of time. It begins in the middle of things: people are there already."""
    return itertools.takewhile(lambda p: p.at_s < duration_s, _ordered(profile, seed, duration_s))


def _ordered(profile: LoadProfile, seed: int, duration_s: float) -> Iterator[Planned]:
    pending: list[tuple[float, int, int, Planned]] = []
    begins = _begins(profile, seed, duration_s)
    following = next(begins, None)
    while pending or following is not None:
        while following is not None and (not pending or following[1] <= pending[0][0]):
            _push(pending, _visit(profile, seed, *following), following[1] < 0.0)
            following = next(begins, None)
        if pending:
            yield heapq.heappop(pending)[3]


def _push(pending: list[tuple[float, int, int, Planned]], visit: Iterator[Planned], early: bool) -> None:
    for order, planned in enumerate(visit):
        if planned.at_s >= 0.0 and (not early or planned.journey in _HARMLESS):
            heapq.heappush(pending, (planned.at_s, planned.visit, order, planned))


def bursts(profile: LoadProfile, seed: int, day: int) -> list[float]:
    """When bursts of one day begin, in seconds since the start."""
    chance = random.Random(f"{seed}:day:{day}")
    count, left = 0, math.exp(-profile.bursts)
    draw = chance.random()
    while draw > left:  # a Poisson number, as Knuth draws it
        count += 1
        draw *= chance.random()
    return sorted((day + chance.random()) * profile.day_s for _ in range(count))


def level(profile: LoadProfile, seed: int, at_s: float) -> float:
    """The rate at a moment as a multiple of the mean: the curve of the day, which begins in the morning, and bursts."""
    day = int(at_s // profile.day_s)
    factor = 1.0 + profile.swing * math.sin(2 * math.pi * at_s / profile.day_s)
    starts = [*_bursts(profile, seed, day - 1), *_bursts(profile, seed, day)] if day else _bursts(profile, seed, 0)
    if any(start <= at_s < start + profile.burst_s for start in starts):
        factor *= profile.burst_factor
    return factor


@functools.lru_cache(maxsize=64)
def requests_per_visit(think_s: float) -> float:
    """Mean number of requests of a visit, the same in every run."""
    chance = random.Random("requests per visit")
    total = sum(len(list(Visit(_journey(chance), chance, think_s).steps())) for _ in range(_SAMPLE))
    return total / _SAMPLE


@functools.lru_cache(maxsize=256)
def _bursts(profile: LoadProfile, seed: int, day: int) -> tuple[float, ...]:
    return tuple(bursts(profile, seed, day))


def _begins(profile: LoadProfile, seed: int, duration_s: float) -> Iterator[tuple[int, float]]:
    """Number and time of visits, by thinning a Poisson process of the highest rate."""
    chance = random.Random(f"{seed}:visits")
    mean = profile.rate / requests_per_visit(profile.think_s)
    top = (1.0 + profile.swing) * profile.burst_factor
    at_s, number = -_LEAD_S, 0
    while True:
        at_s += chance.expovariate(mean * top)
        if at_s >= duration_s:
            return
        if chance.random() * top < level(profile, seed, max(0.0, at_s)):
            yield number, at_s
            number += 1


def _visit(profile: LoadProfile, seed: int, number: int, at_s: float) -> Iterator[Planned]:
    chance = random.Random(f"{seed}:visit:{number}")
    user = chance.randrange(profile.users)
    journey = _journey(chance)
    known = journey == "return" or chance.random() > _NEW_SHARE
    visitor = f"u{seed}x{user}" if known else f"v{seed}x{number}"
    for step in Visit(journey, chance, profile.think_s).steps():
        at_s += step.after_s
        yield Planned(at_s, user, visitor, number, journey, step)


def _journey(chance: random.Random) -> str:
    draw = chance.random()
    for name, share in SHARES.items():
        draw -= share
        if draw < 0:
            return name
    return "browse"
