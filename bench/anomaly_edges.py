"""Detectors of edges on DARPA-98: attack instances found at false-positive rates, and limits that hold over weeks.

B1: all detectors see the same causal features of the same edges (bench/darpa98.py has the protocol), each with
`--seeds` seeds; mean, standard deviation and worst. B2: alarms on benign edges by the nominal rate, with limits from
the past only, beside a fixed quantile and DSPOT. Recall stands beside, since a limit that nothing reaches never raises
a false alarm. Exit code 1 when a target is missed or a peer wins, 0 when the data are not there. Isolation forest and
autoencoder need scikit-learn, the graph model torch: all are in the environment of `make train-tools`
(`PYTHONPATH=src ~/.cache/loomidi/train-*/venv/bin/python -m bench.anomaly_edges`); what is absent is named.
"""

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import anomaly_graph, darpa98
from loomidi.origami.online import (
    EdgeSketch,
    HalfSpaceTrees,
    RobustNorm,
    Seen,
    SketchSettings,
    TailSettings,
    TailThreshold,
    TreesSettings,
)
from loomidi.origami.scoring import Habits, HabitSettings, RollingLimit

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / ".work" / "bench" / "anomaly_edges.json"
RATES = (1e-3, 1e-4)
TARGETS = {"mean": (0.45, 0.30), "worst": (0.35, 0.22)}  # B1, of `CHOSEN`
NOMINAL, OVERALL, DAILY, DAYS = 1e-3, 2.0, 5.0, 0.95  # B2
HEAD = "  1e-3: mean     sd  worst  1e-4: mean     sd  worst       no floods    AUC  k edges/s"
TICK_S = 60.0  # the stream tells minutes
F32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The stream cut for a detector: it never sees labels, and scores the test in order of time."""

    train: Seen
    calibrate: Seen
    test: Seen

    @property
    def before(self) -> Seen:
        """All that is not the test."""
        return Seen(
            *(np.concatenate([getattr(part, name) for part in (self.train, self.calibrate)]) for name in Seen.__slots__)
        )


Scored = Callable[[Parts, int], F32]


def norm(parts: Parts, seed: int) -> F32:
    """No randomness: all seeds are the same."""
    del seed
    one = RobustNorm()
    one.fit(parts.before)
    return one.score(parts.test)


def plain_norm(parts: Parts, seed: int) -> F32:
    """Mean squared z-score by mean and deviation: the baseline of the protocol's authors."""
    del seed
    middle, spread = parts.before.values.mean(axis=0), parts.before.values.std(axis=0) + 1e-6
    return np.mean(((parts.test.values - middle) / spread) ** 2, axis=1)


def sketch(parts: Parts, seed: int) -> F32:
    """The method of MIDAS-F with its own settings, from the stream's first edge."""
    one = EdgeSketch(SketchSettings(seed=seed))
    one.fit(parts.before)
    return one.score(parts.test)


def trees(parts: Parts, seed: int) -> F32:
    """Half-space trees that learn from what is before the test, and not from it."""
    one = HalfSpaceTrees(TreesSettings(seed=seed))
    one.fit(parts.before)
    return one.score(parts.test, np.zeros(len(parts.test), bool))


def trees_always(parts: Parts, seed: int) -> F32:
    """The same as its authors have it: every edge is learned, attacks too."""
    one = HalfSpaceTrees(TreesSettings(trees=25, seed=seed))
    one.fit(parts.before)
    return one.score(parts.test)


def forest(parts: Parts, seed: int) -> F32:
    """Isolation forest of scikit-learn."""
    from sklearn.ensemble import IsolationForest

    one = IsolationForest(n_estimators=50, max_samples=1024, random_state=seed).fit(parts.before.values[::8])
    values = parts.test.values
    return np.concatenate([-one.score_samples(values[at : at + 100_000]) for at in range(0, len(values), 100_000)])


def autoencoder(parts: Parts, seed: int) -> F32:
    """24-12-6-12-24 by scikit-learn on standardised features, error of reconstruction."""
    from sklearn.neural_network import MLPRegressor

    middle, spread = parts.before.values.mean(axis=0), parts.before.values.std(axis=0) + 1e-2
    scaled = np.clip((parts.before.values[::4] - middle) / spread, -8, 8)
    one = MLPRegressor(hidden_layer_sizes=(12, 6, 12), max_iter=8, batch_size=512, random_state=seed, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one.fit(scaled, scaled)
    test = (parts.test.values - middle) / spread
    return np.mean((test - one.predict(test)) ** 2, axis=1).astype(np.float32)


def habits(parts: Parts, seed: int) -> F32:
    """No randomness; what is under its gate is learned, as live."""
    del seed
    one = Habits(HabitSettings(tick_s=TICK_S))
    one.fit(parts.before)
    return one.score(parts.test)


def habits_forgotten(parts: Parts, seed: int) -> F32:
    """The same score without a memory: each edge beside what is usual of all."""
    del seed
    return norm_of_logarithms(parts.before, parts.test)


def norm_of_logarithms(fitted: Seen, rest: Seen) -> F32:
    """Mean of log1p(z^2) by what is usual of all edges."""
    one = RobustNorm()
    one.fit(fitted)
    return np.mean(np.log1p(one.deviations(rest.values)), axis=1)


def graph(name: str) -> Scored:
    """The trained graph model, or one of its ablations."""
    return lambda parts, seed: anomaly_graph.scored(name, parts.before, len(parts.train), parts.test, seed)[1]


PEERS: dict[str, tuple[str, Scored]] = {
    "z-norm": ("peer", plain_norm),
    "MIDAS-F's method": ("own", sketch),
    "half-space trees, learning all": ("peer", trees_always),
    "isolation forest": ("peer", forest),
    "autoencoder": ("peer", autoencoder),
    "robust norm": ("own", norm),
    "half-space trees": ("own", trees),
    "habits": ("own", habits),
    "habits, zeroed memory": ("ablation", habits_forgotten),
    **{name: ("ablation" if at else "own", graph(name)) for at, name in enumerate(anomaly_graph.VARIANTS)},
}
"""Detector by name: whose it is, and how it scores."""

CHOSEN = "habits"
"""What the targets are asked of, B1 and B2 alike; docs/anomalies.md says how it was chosen."""
FIXED = ("z-norm", "robust norm", "habits", "habits, zeroed memory")  # without randomness
SLOW = ("isolation forest", "autoencoder", "half-space trees", "half-space trees, learning all")
LIMITED: dict[str, Callable[[int], Any]] = {
    "robust norm": lambda _: RobustNorm(),
    "half-space trees": lambda seed: HalfSpaceTrees(TreesSettings(seed=seed)),
    "habits": lambda _: Habits(HabitSettings(tick_s=TICK_S)),
}
FROZEN = ("robust norm", "half-space trees")  # learn nothing while they score
OF_SKLEARN = ("isolation forest", "autoencoder")


Job = tuple[str, int, bool]
"""A detector, its seed, and whether B2 is wanted of it."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One detector with one seed."""

    run: dict[str, Any]  # B1
    limits: dict[str, dict[str, float]]  # B2, empty where it is not asked for
    cpu_s: float


_INPUT: list[tuple[darpa98.Stream, Parts]] = []
"""What processes that are forked share."""


def measured(job: Job) -> Measured:
    """B1, and where it is wanted B2, of one detector and seed."""
    (name, seed, limited), (stream, parts) = job, _INPUT[0]
    began = time.process_time()
    scores = PEERS[name][1](parts, seed)
    seconds = time.process_time() - began
    run = {
        "recall": darpa98.recall(stream, scores, RATES),
        "without_floods": darpa98.recall(stream, scores, RATES, darpa98.FLOODS),
        "auc": darpa98.auc(stream, scores),
        "edges_per_second": len(stream.minute) / seconds,
    }
    limits = b2(stream, *b2_scores(parts, seed, name)) if limited else {}
    return Measured(run, limits, time.process_time() - began)


def all_measured(names: list[str], seeds: int, limited: list[str], jobs: int) -> dict[str, list[Measured]]:
    """By name and seed, in so many processes; those that take longest begin first."""
    wanted = [(name, seed, name in limited) for name in names for seed in range(1 if name in FIXED else seeds)]
    wanted.sort(key=lambda one: (one[0] not in anomaly_graph.VARIANTS, one[0] not in SLOW))
    out: dict[str, dict[int, Measured]] = {name: {} for name in names}
    for (name, seed, _), told in each(wanted, jobs):
        out[name][seed] = told
        found = " / ".join(f"{value:.3f}" for value in told.run["recall"])  # minutes each: told as it comes
        print(f"  {name}, seed {seed}: {found}, {told.cpu_s:.0f} s", file=sys.stderr, flush=True)
    return {name: [told[seed] for seed in sorted(told)] for name, told in out.items()}


def each(wanted: list[Job], jobs: int) -> Iterator[tuple[Job, Measured]]:
    """As they are done; in this process where one is enough."""
    if jobs == 1:
        yield from ((job, measured(job)) for job in wanted)
        return
    with futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        begun = {pool.submit(measured, job): job for job in wanted}
        yield from ((begun[one], one.result()) for one in futures.as_completed(begun))


def b1_table(measured: dict[str, list[Measured]]) -> dict[str, Any]:
    """Recall of each detector, over seeds."""
    print(f"{'B1, recall of attack instances at FPR':40}{HEAD}")
    told = {name: summary([one.run for one in runs]) for name, runs in measured.items()}
    for name, figures in told.items():
        row(name, figures)
    return told


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, deviation and worst over seeds."""
    found = np.array([run["recall"] for run in runs])
    return {
        "runs": runs,
        "mean": found.mean(axis=0).tolist(),
        "sd": found.std(axis=0, ddof=min(1, len(runs) - 1)).tolist(),
        "worst": found.min(axis=0).tolist(),
        "without_floods": np.mean([run["without_floods"] for run in runs], axis=0).tolist(),
        "auc": float(np.mean([run["auc"] for run in runs])),
        "edges_per_second": float(np.median([run["edges_per_second"] for run in runs])),
    }


def row(name: str, told: dict[str, Any]) -> None:
    """One line of the table."""
    each = "".join(f"{told['mean'][at]:12.3f}{told['sd'][at]:7.3f}{told['worst'][at]:7.3f}" for at in range(len(RATES)))
    floods = " / ".join(f"{value:.3f}" for value in told["without_floods"])
    print(f"{name:40}{each}{floods:>16}{told['auc']:7.3f}{told['edges_per_second'] / 1e3:11.0f}", flush=True)


def b2(stream: darpa98.Stream, before: F32, scores: F32) -> dict[str, dict[str, float]]:
    """How often benign edges of the test raise an alarm, by the nominal rate, for each kind of limit."""
    times = stream.minute * darpa98.MINUTE_NS
    cut, first = stream.calibrate, float(np.quantile(before, 1 - NOMINAL))
    rolling = RollingLimit(first)
    rolling.exceed(times[stream.train : cut], before)
    return {
        "fixed quantile": realised(stream, scores > first),
        "DSPOT": realised(stream, spot(times[cut:], before, scores)),
        "rolling limit": realised(stream, rolling.exceed(times[cut:], scores)),
    }


def spot(times: npt.NDArray[np.int64], before: F32, scores: F32) -> npt.NDArray[np.bool_]:
    """Peaks over threshold hour by hour; what it tells it does not learn."""
    tail = TailThreshold(TailSettings(risk=NOMINAL, depth=20_000))
    tail.fit(np.log(before.astype(float) + 1e-6))
    hours = np.flatnonzero(np.diff(times // (60 * darpa98.MINUTE_NS), prepend=-1))
    values = np.log(scores.astype(float) + 1e-6)
    return np.concatenate([tail.update(part) for part in np.split(values, hours[1:])])


def realised(stream: darpa98.Stream, alarms: npt.NDArray[np.bool_]) -> dict[str, float]:
    """By days with at least 1000 benign edges; and the attack instances that are found by these alarms."""
    benign, instances = stream.benign[stream.calibrate :], stream.instances
    day = stream.minute[stream.calibrate :] // 1440
    day -= day[0]
    many = np.bincount(day[benign])
    false = np.bincount(day[benign & alarms], minlength=len(many))
    enough = many >= 1000
    ratios = false[enough] / many[enough] / NOMINAL
    return {
        "overall": float(false.sum() / many.sum() / NOMINAL),
        "days_within": float(np.mean(ratios <= DAILY)),
        "worst_day": float(ratios.max()),
        "days": int(enough.sum()),
        "recall": len(np.unique(instances[alarms & (instances >= 0)])) / (int(instances.max()) + 1),
    }


def b2_scores(parts: Parts, seed: int, name: str) -> tuple[F32, F32]:
    """Scores of the calibration slice and of the test, by a detector that is fitted on the train part."""
    if name in anomaly_graph.VARIANTS:
        return anomaly_graph.scored(name, parts.before, len(parts.train), parts.test, seed)
    one, frozen = LIMITED[name](seed), name in FROZEN
    one.fit(parts.train)
    first, second = (
        one.score(part, np.zeros(len(part), bool) if frozen else None) for part in (parts.calibrate, parts.test)
    )
    return first, second


def b2_table(measured: dict[str, list[Measured]]) -> dict[str, Any]:
    """Of our own detectors by seed: fitted on the train part, limits begin with calibrate."""
    told = dict[str, Any]()
    print(
        f"\n{'B2, false alarms by the nominal 1e-3':40}{'overall':>9}{'days <= 5x':>12}{'worst day':>11}{'recall':>8}"
    )
    for name, runs in measured.items():
        for seed, one in enumerate(runs):
            if one.limits:
                told[name if name in FIXED else f"{name}, seed {seed}"] = one.limits
    for name, limits in told.items():
        for limit, figures in limits.items():
            print(
                f"{f'{name}: {limit}':40}{figures['overall']:9.2f}{figures['days_within']:12.3f}"
                f"{figures['worst_day']:11.1f}{figures['recall']:8.3f}",
                flush=True,
            )
    return told


def misses(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The targets that the chosen detector does not meet, in words."""
    out = list[str]()
    if CHOSEN not in first:
        return out
    for figure, targets in TARGETS.items():
        for at, target in enumerate(targets):
            if first[CHOSEN][figure][at] < target:
                out.append(f"B1: {CHOSEN}, {figure} at {RATES[at]:g}: {first[CHOSEN][figure][at]:.3f}, not {target}")
    for name, told in first.items():
        if PEERS[name][0] != "own" and any(np.array(told["mean"]) > np.array(first[CHOSEN]["mean"])):
            out.append(f"B1: {name} finds more than {CHOSEN}")
    for name, limits in second.items():
        figures = limits["rolling limit"]
        if name.split(", seed")[0] == CHOSEN and (figures["overall"] > OVERALL or figures["days_within"] < DAYS):
            out.append(f"B2: {name}: {figures['overall']:.2f}x overall, {figures['days_within']:.3f} of days within 5x")
    return out


def at_hand(names: list[str]) -> list[str]:
    """Without the detectors whose library is absent."""
    lacks = {name: "scikit-learn" for name in OF_SKLEARN if not importlib.util.find_spec("sklearn")}
    lacks |= dict.fromkeys(
        anomaly_graph.VARIANTS if anomaly_graph.lacking() else (), ", ".join(anomaly_graph.lacking())
    )
    for name in names:
        if name in lacks:
            print(f"not measured, {lacks[name]} not installed: {name}")
    return [name for name in names if name not in lacks]


def verdict(first: dict[str, Any]) -> list[str]:
    """Do the memories earn their place, and the network beside what needs no training of one."""
    against = [("graph model", name) for name in first if name != "graph model"]
    return [
        versus(first, one, other)
        for one, other in [(CHOSEN, f"{CHOSEN}, zeroed memory"), *against]
        if {one, other} <= {*first}
    ]


def versus(first: dict[str, Any], one: str, other: str) -> str:
    """In words."""
    both = list(zip(first[one]["mean"], first[other]["mean"], strict=True))
    gains = [f"{gain - less:+.3f} at {rate:g}" for (gain, less), rate in zip(both, RATES, strict=True)]
    return (
        f"{one}: {'beats' if all(gain > less for gain, less in both) else 'does NOT beat'} {other}: {', '.join(gains)}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=PEERS, action="append", help="this detector alone (may be repeated)")
    parser.add_argument("--skip-b2", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, each one core; same figures")
    given = parser.parse_args()
    try:
        stream = darpa98.load()
    except darpa98.DataMissing as missing:
        print(f"anomaly_edges: {missing}")
        return 0
    began = time.process_time()
    values = darpa98.causal(stream)
    speed = len(values) / (time.process_time() - began)
    seen = Seen(stream.minute * darpa98.MINUTE_NS, stream.source, stream.destination, values)
    parts = Parts(
        seen.part(0, stream.train),
        seen.part(stream.train, stream.calibrate),
        seen.part(stream.calibrate, len(seen)),
    )
    print(
        f"DARPA-98: {len(seen):,} edges, {stream.calibrate:,} of them before the test; "
        f"{int(stream.instances.max()) + 1} attack instances; features {speed / 1e3:.0f} k edges/s\n"
    )
    names = at_hand(given.only or list(PEERS))
    _ = stream.benign, stream.instances  # made once, before any fork
    _INPUT[:] = [(stream, parts)]
    told = all_measured(names, given.seeds, [] if given.skip_b2 else [*LIMITED, "graph model"], given.jobs)
    first = b1_table(told)
    print("\n" + "\n".join(verdict(first)))
    second = b2_table(told)
    missed = misses(first, second)
    cpu_s = sum(one.cpu_s for runs in told.values() for one in runs)
    print(f"\n{cpu_s:.0f} s of CPU")
    print("\n" + ("\n".join(f"missed: {line}" for line in missed) if missed else "all targets are met"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(
        json.dumps(
            {
                "features_edges_per_second": speed,
                "chosen": CHOSEN,
                "b1": first,
                "b2": second,
                "missed": missed,
                "verdict": verdict(first),
                "cpu_s": cpu_s,
            }
        )
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
