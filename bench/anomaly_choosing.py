"""Which detector of edges, chosen without the test of DARPA-98: made-up attacks in what comes before it.

Called by whoever changes a detector. In: the stream up to the first edge of the test; in its last two fifths attacks of
eight plain families are staged, at random moments, between ends that are there or new ones. Detectors are fitted on
what comes before, and measured as bench/anomaly_edges.py does: attack instances found at a rate of false positives
among the usual edges of that part. Several worlds, each with attacks of its own.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from bench import darpa98
from loomidi.origami.online import Seen

FITTED = 0.6  # of the minutes before the test
EACH = 6  # attacks of each family in a world
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class World:
    """Edges that a detector is fitted on, edges that it is measured on, and the attack of each of the latter."""

    fitted: Seen
    rest: Seen
    staged: I64  # number of the made-up attack, -1: none
    told: I64  # number of the recorded attack, -1: none
    families: tuple[str, ...]  # of the made-up attacks, by number


@dataclasses.dataclass(frozen=True)
class Ends:
    """Who there is to attack from and to."""

    sources: U64
    destinations: U64
    random: np.random.Generator

    def about(self, least: int, most: int) -> int:
        """A number between them, small ones as likely as large ones."""
        return int(least * (most / least) ** self.random.random())

    def fresh(self, count: int) -> U64:
        """Ends that nobody has seen."""
        return self.random.integers(1 << 40, 1 << 63, count).astype(np.uint64)

    def source(self, known: float) -> U64:
        """One by how often it is seen, which with this probability is known."""
        return self.random.choice(self.sources, 1) if self.random.random() < known else self.fresh(1)

    def some(self, count: int) -> U64:
        """Different destinations by how often they are seen, new ones where there are too few."""
        known = self.random.permutation(np.unique(self.random.choice(self.destinations, 4 * count)))[:count]
        return np.concatenate([known, self.fresh(count - len(known))])


Attack = tuple[I64, U64, U64]
"""Minutes since it began, sources, destinations."""


def scan(ends: Ends) -> Attack:
    """One source, one destination, many ports, fast or slow."""
    return _spread(ends, ends.about(5, 500), ends.about(1, 60), ends.source(0.8), ends.some(1))


def sweep(ends: Ends) -> Attack:
    """One source, some destinations."""
    count = ends.about(3, 60)
    return _spread(ends, count, ends.about(1, 60), ends.source(0.8), ends.some(count))


def guessing(ends: Ends) -> Attack:
    """Passwords, one or some a minute."""
    minutes = ends.about(5, 30)
    return _spread(ends, minutes * ends.about(1, 6), minutes, ends.source(0.8), ends.some(1))


def intrusion(ends: Ends) -> Attack:
    """One to five sessions of a newcomer."""
    return _spread(ends, ends.about(1, 6), ends.about(1, 15), ends.fresh(1), ends.some(1))


def lateral(ends: Ends) -> Attack:
    """One to five sessions between two ends that are known."""
    return _spread(ends, ends.about(1, 6), ends.about(1, 15), ends.source(1.0), ends.some(1))


def leaking(ends: Ends) -> Attack:
    """From who is a destination of others too, to one that is seldom seen, again and again."""
    minutes = ends.about(10, 120)
    return _spread(ends, minutes, minutes, ends.source(1.0), ends.some(1))


def flood(ends: Ends) -> Attack:
    """One source, one destination, hundreds or thousands."""
    return _spread(ends, ends.about(100, 5000), ends.about(1, 8), ends.source(0.8), ends.some(1))


def spoofed(ends: Ends) -> Attack:
    """The same, each edge from another source."""
    count = ends.about(30, 1000)
    return _spread(ends, count, ends.about(1, 8), ends.fresh(count), ends.some(1))


FAMILIES = (scan, sweep, guessing, intrusion, lateral, leaking, flood, spoofed)


def world(stream: darpa98.Stream, seed: int) -> World:
    """One, with its features counted anew: what is staged changes those of the edges after it."""
    stop = stream.calibrate
    minute, label = stream.minute[:stop], stream.label[:stop]
    cut = int(np.unique(minute)[int(len(np.unique(minute)) * FITTED)])
    random = np.random.default_rng(seed)
    before = minute < cut
    ends = Ends(stream.source[:stop][before], stream.destination[:stop][before], random)
    moments = np.unique(minute[~before])
    parts, families = list[tuple[I64, U64, U64, I64]](), list[str]()
    for family in FAMILIES:
        for _ in range(EACH):
            after, sources, destinations = family(ends)
            parts.append((after + random.choice(moments), sources, destinations, np.full(len(after), len(families))))
            families.append(family.__name__)
    times, sources, destinations, staged = (
        np.concatenate([given, *(part[at] for part in parts)])
        for at, given in enumerate((minute, stream.source[:stop], stream.destination[:stop], np.full(stop, -1)))
    )
    told = np.concatenate([np.where(label == stream.labels.index("-"), -1, label), np.full(len(times) - stop, -1)])
    order = np.argsort(times, kind="stable")
    whole = darpa98.Stream(times[order], sources[order], destinations[order], told[order], stream.labels, 0, 0)
    seen = Seen(whole.minute * darpa98.MINUTE_NS, whole.source, whole.destination, darpa98.causal(whole))
    at = int(np.searchsorted(whole.minute, cut))
    return World(
        seen.part(0, at),
        seen.part(at, len(seen)),
        staged[order][at:],
        told[order][at:].astype(np.int64),
        tuple(families),
    )


def found(one: World, scores: F32, rates: tuple[float, ...]) -> dict[str, list[float]]:
    """By rate of false positives: share of the made-up attacks, of each family, and of the recorded ones by label."""
    benign = (one.staged < 0) & (one.told < 0)
    limits = darpa98.thresholds(scores, benign, rates)
    highest = np.full(len(one.families), -np.inf, np.float32)
    np.maximum.at(highest, one.staged[one.staged >= 0], scores[one.staged >= 0])
    labels = np.unique(one.told[one.told >= 0])
    recorded = np.array([scores[one.told == label].max() for label in labels])
    family = np.array(one.families)
    return {
        "staged": [float(np.mean(highest > limit)) for limit in limits],
        "recorded": [float(np.mean(recorded > limit)) for limit in limits],
        **{
            name: [float(np.mean(highest[family == name] > limit)) for limit in limits]
            for name in dict.fromkeys(family)
        },
    }


def _spread(ends: Ends, count: int, minutes: int, sources: U64, destinations: U64) -> Attack:
    """So many edges over so many minutes, in order."""
    after = np.sort(ends.random.integers(0, minutes, count))
    return after, np.resize(sources, count), np.resize(destinations, count)
