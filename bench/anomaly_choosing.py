"""Detectors of edges without the test of DARPA-98: made-up attacks in what comes before it.

Called by whoever changes a detector. In: the stream up to the first edge of the test. In its last two fifths attacks of
eight plain families are staged, at random moments, between ends that are there or new ones: two worlds. A third is the
first half, judged by what was fitted to the second, for its recorded attacks. Each candidate is measured as by
bench/anomaly_edges.py: attacks found at a rate of false positives among the usual edges of that part; `chosen by` is
the mean of both rates, made-up and recorded attacks counting alike. `--test` shows the test beside it, to see how far
that can be trusted. Exit code 0.
"""

import argparse
import dataclasses
import multiprocessing
import sys
from collections.abc import Callable
from concurrent import futures
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import darpa98
from bench.anomaly_edges import RATES, norm_of_logarithms
from loomidi.origami.online import HalfSpaceTrees, RobustNorm, Seen, TreesSettings
from loomidi.origami.scoring import Habits, HabitSettings

FITTED = 0.6  # of the minutes before the test
EACH = 6  # attacks of each family in a world
WORLDS = 2
PARTS = ("staged", "recorded", "backwards", "test")
SKIPPED = 0.1  # of the minutes that are judged backwards: at first all is new to the features
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class World:
    """Edges that a detector is fitted on, edges that it is measured on, and the attack of each of the latter."""

    fitted: Seen
    rest: Seen
    staged: I64  # number of the made-up attack, -1: none
    told: I64  # number of the recorded attack, -1: none, -2: not judged
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
    benign = (one.staged < 0) & (one.told == -1)
    limits = darpa98.thresholds(scores, benign, rates)
    highest = np.full(len(one.families), -np.inf, np.float32)
    np.maximum.at(highest, one.staged[one.staged >= 0], scores[one.staged >= 0])
    labels = np.unique(one.told[one.told >= 0])
    recorded = np.array([scores[one.told == label].max() for label in labels])
    family = np.array(one.families)
    return {
        "staged": [float(np.mean(highest > limit)) if len(highest) else 0.0 for limit in limits],
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


def backwards(stream: darpa98.Stream) -> World:
    """The first half of what is before the test, judged by what was fitted to the second; no made-up attacks."""
    stop = stream.calibrate
    minute = stream.minute[:stop]
    whole = darpa98.Stream(
        minute, stream.source[:stop], stream.destination[:stop], stream.label[:stop], stream.labels, 0, 0
    )
    values, moments = darpa98.causal(whole), np.unique(minute)
    first, middle = np.searchsorted(minute, [moments[int(len(moments) * share)] for share in (SKIPPED, 0.5)])
    later = (int(minute[-1] - minute[0]) + 1440) * darpa98.MINUTE_NS  # as if it came after what was fitted
    seen = Seen(minute * darpa98.MINUTE_NS, whole.source, whole.destination, values)
    part = seen.part(0, int(middle))
    told = np.where(whole.label[: len(part)] == stream.labels.index("-"), -1, whole.label[: len(part)]).astype(np.int64)
    told[: int(first)] = -2
    rest = Seen(part.times_ns + later, part.sources, part.destinations, part.values)
    return World(seen.part(int(middle), len(seen)), rest, np.full(len(part), -1), told, ())


def by(make: Callable[[], Any], *, frozen: bool) -> Callable[[Seen, Seen], F32]:
    """Fitted, then scored; `frozen`: it learns nothing of what it scores."""

    def scored(fitted: Seen, rest: Seen) -> F32:
        one = make()
        one.fit(fitted)
        scores: F32 = one.score(rest, np.zeros(len(rest), bool) if frozen else None)
        return scores

    return scored


def habits(**changed: Any) -> Callable[[Seen, Seen], F32]:
    """With these settings."""
    return by(lambda: Habits(HabitSettings(tick_s=60.0, **changed)), frozen=False)


def trees(seed: int, count: int = 50) -> Callable[[Seen, Seen], F32]:
    """Of one seed."""
    return by(lambda: HalfSpaceTrees(TreesSettings(trees=count, seed=seed)), frozen=True)


CANDIDATES: dict[str, Callable[[Seen, Seen], F32]] = {
    "robust norm": by(RobustNorm, frozen=True),
    "robust norm of logarithms": norm_of_logarithms,
    "habits": habits(),
    **{f"habits, fading {share:g}": habits(fading=share) for share in (0.005, 0.01, 0.05, 0.1)},
    **{f"habits, gate {share:g}": habits(gate=share) for share in (0.95, 0.98, 0.995, 1.0)},
    **{f"half-space trees, seed {seed}": trees(seed) for seed in range(5)},
    "200 half-space trees": trees(0, 200),
}
_INPUT: list[tuple[darpa98.Stream, list[World], tuple[Seen, Seen] | None]] = []
"""What processes that are forked share."""


def measured(name: str) -> dict[str, list[float]]:
    """By rate: made-up attacks, recorded ones forwards and backwards, and where it is wanted the test."""
    stream, worlds, test = _INPUT[0]
    told = [found(one, CANDIDATES[name](one.fitted, one.rest), RATES) for one in worlds]
    staged, recorded = (np.mean([one[what] for one in told[:-1]], axis=0) for what in ("staged", "recorded"))
    back = np.array(told[-1]["recorded"])
    by_rate = {"staged": staged.tolist(), "recorded": recorded.tolist(), "backwards": back.tolist()}
    by_rate["chosen by"] = [float(np.mean([staged.mean(), (recorded.mean() + back.mean()) / 2]))]
    return by_rate | ({"test": darpa98.recall(stream, CANDIDATES[name](*test), RATES)} if test else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--test", action="store_true", help="show the figures of the test too")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    given = parser.parse_args()
    try:
        stream = darpa98.load()
    except darpa98.DataMissing as missing:
        print(f"anomaly_choosing: {missing}")
        return 0
    test = None
    if given.test:
        seen = Seen(stream.minute * darpa98.MINUTE_NS, stream.source, stream.destination, darpa98.causal(stream))
        test = seen.part(0, stream.calibrate), seen.part(stream.calibrate, len(seen))
    _INPUT[:] = [(stream, [*(world(stream, seed) for seed in range(WORLDS)), backwards(stream)], test)]
    _ = stream.benign, stream.instances  # made once, before any fork
    with futures.ProcessPoolExecutor(given.jobs, multiprocessing.get_context("fork")) as pool:
        print(f"{'found at FPR 1e-3 / 1e-4':32}{'chosen by':>10}" + "".join(f"{what:>16}" for what in PARTS))
        for name, told in zip(CANDIDATES, pool.map(measured, CANDIDATES), strict=True):
            each = "".join(f"{' / '.join(f'{value:.3f}' for value in told.get(what, [])):>16}" for what in PARTS)
            print(f"{name:32}{told['chosen by'][0]:10.3f}{each}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
