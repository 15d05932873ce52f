"""Exhaustion foreseen: synthetic faults on real metrics, or recordings of the lab, beside extrapolation and boosting.

B6, second half. At each reading a method says how likely it is that the series reaches its capacity within 300 s, from
what was before. Runs are split: choices, and the training of gradient boosting, see noise and faults of development
runs alone (two recorded runs); the test (three others) is seen once a seed. Ours is the forecast by itself, and beside
it one with a head: boosting on lags and on what the forecast says, which needs labels that a cluster does not have.
PR-AUC over readings, and the lead: how long before exhaustion, at most the horizon, the first alarm came at the
threshold with precision .8, 0 for a miss; the median over all that failed. The threshold is each method's best on the
test, for comparing; what the threshold of the development runs gives stands beside. The faults are synthetic, over
metrics that pods of a real cluster measured (bench/failing_faults.py); `--recording DIR` reads recordings of the lab
instead. Exit code 1 when a target is missed or a peer wins, 0 when the data are not there.
"""

import argparse
import dataclasses
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.failing_faults import BENIGN, DEVELOPMENT, EVERY_S, F64, FAULTS, TEST, DataMissing, Run, recorded, runs
from bench.failing_lab import run_of as recording_run
from loomidi.origami.forecasts import READINGS, Exhaustion, ExhaustionSettings

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / ".work" / "bench" / "failing.json"
HORIZON_S, PRECISION = 300.0, 0.8
AHEAD, LEAD_S = 0.05, 60.0  # targets
LAGS = (*range(24), 30, 36, 48, 60)
WINDOWS = (12, 24, 60)  # readings of an extrapolated line
PARTS = 4  # times that each recorded development run is drawn over
SEEN_S = 60.0  # that every method has seen before it is asked
OURS, HEADED, BOOSTED = "forecast (ours)", "forecast + head (ours)", "boosting on lags"
COLUMNS = ("probability", "earliest_s", "latest_s", "level", "slope", "noise", "resets", "readings")
VARIANTS = {
    "as it is (Theil's slopes, trends that bend)": ExhaustionSettings(),
    "Theil's slopes, straight": ExhaustionSettings(bends=False),
    "Holt's damped trend": ExhaustionSettings(trend="holt"),
}
Mask = npt.NDArray[np.bool_]
Scored = Callable[[Sequence[Run]], list[F64]]


def streamed(stream: Exhaustion, given: Sequence[Run], start_s: float) -> list[F64]:
    """All series of all runs side by side, reading by reading, until each is exhausted: (readings, series, COLUMNS)."""
    out = [np.full((*run.values.shape, len(COLUMNS)), np.nan) for run in given]
    names = [
        pa.array([f"{start_s:.0f}/{number}/{at}" for at in range(len(run.shapes))]) for number, run in enumerate(given)
    ]
    for at in range(max(len(run.values) for run in given)):
        live = [number for number, run in enumerate(given) if at < len(run.values)]
        parts = [
            _readings(given[number], at, start_s, names[number]).filter(pa.array(at <= given[number].exhausted))
            for number in live
        ]
        told = stream.update(pa.concat_tables(parts))
        places = np.array([name.split("/")[1:] for name in told["entity"].to_pylist()], np.int64).reshape(-1, 2)
        values = np.stack([told[name].to_numpy().astype(float) for name in COLUMNS], axis=1)
        for number in live:
            rows = places[:, 0] == number
            out[number][at, places[rows, 1]] = values[rows]
    return out


def chances(columns: Sequence[F64]) -> list[F64]:
    """What the forecast says by itself; 0 before it says anything."""
    return [np.nan_to_num(one[:, :, 0]) for one in columns]


def _readings(run: Run, at: int, start_s: float, names: pa.Array) -> pa.Table:
    stamps = pa.array(np.full(len(names), round((start_s + run.times_s[at]) * 1e9), np.int64))
    none = pa.nulls(len(names), pa.int64())
    columns = [stamps.cast(READINGS.field(0).type), names, pa.array(list(run.kinds)), pa.array(run.values[at])]
    return pa.table([*columns, pa.array(run.capacities), none], schema=READINGS)


def extrapolated(window: int) -> Scored:
    """A line by least squares through the last readings: the sooner it crosses the capacity, the likelier."""

    def scored(given: Sequence[Run]) -> list[F64]:
        return [_extrapolated(run, window) for run in given]

    return scored


def _extrapolated(run: Run, window: int) -> F64:
    out = np.zeros(run.values.shape)
    for at in range(2, len(run.values)):
        last = run.values[max(0, at + 1 - window) : at + 1]
        steps = np.arange(len(last)) - (len(last) - 1) / 2
        slope = steps @ last / (steps @ steps) / EVERY_S
        level = last.mean(axis=0) + slope * steps[-1] * EVERY_S
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(slope > 0, (run.capacities - level) / slope, np.inf)
        out[at] = 1 / (1 + np.maximum(left, 0.0) / HORIZON_S)
    return out


def boosted(rows: F64, labels: Mask, seed: int) -> Any:
    """Gradient boosting of scikit-learn, trained with the labels of development runs."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=200, random_state=seed).fit(rows, labels)


def lags(run: Run) -> F64:
    """The used share now and earlier: (readings, series, lags)."""
    share = run.values / run.capacities
    padded = np.concatenate([np.full((max(LAGS), share.shape[1]), np.nan), share])
    return np.stack([padded[max(LAGS) - lag : len(padded) - lag] for lag in LAGS], axis=2)


def headed(run: Run, columns: F64) -> F64:
    """The same, and what the forecast says (`COLUMNS`), by the capacity where it is in the metric's unit."""
    scaled = columns.copy()
    scaled[:, :, 3:6] /= run.capacities[None, :, None]
    return np.concatenate([lags(run), scaled], axis=2)


def learned(first: tuple[Sequence[Run], Sequence[F64]], seed: int) -> Callable[[Sequence[F64]], list[F64]]:
    """A model of the readings of runs whose answer is known, given their features; it scores features of other runs."""
    known = [judged(run) for run in first[0]]
    rows = np.concatenate([one[mask] for one, (mask, _) in zip(first[1], known, strict=True)])
    model = boosted(rows, np.concatenate([fails[mask] for mask, fails in known]), seed)

    def scored(features: Sequence[F64]) -> list[F64]:
        return [model.predict_proba(one.reshape(-1, one.shape[2]))[:, 1].reshape(one.shape[:2]) for one in features]

    return scored


def judged(run: Run) -> tuple[Mask, Mask]:
    """Which readings have a known answer, and the answer: exhausted within the horizon. None after exhaustion."""
    at = np.arange(len(run.values))[:, None]
    left = (run.exhausted[None, :] - at) * EVERY_S
    fails = (left > 0) & (left <= HORIZON_S) & (run.exhausted[None, :] < len(run.values))
    known = (at < run.exhausted[None, :]) & (fails | (at + HORIZON_S / EVERY_S < len(run.values)))
    known &= at * EVERY_S >= SEEN_S
    return known, fails


def ranked(scores: F64, truth: Mask) -> tuple[float, float]:
    """Average precision, and the lowest threshold with the precision wanted; ties count against the method."""
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    right = np.cumsum(truth)[ends]
    precision, recall = right / (ends + 1), right / max(int(truth.sum()), 1)
    enough = np.flatnonzero(precision >= PRECISION)
    threshold = float(scores[ends[enough[-1]]]) if len(enough) else np.inf
    return float(np.sum(np.diff(recall, prepend=0.0) * precision)), threshold


def leads(given: Sequence[Run], scores: Sequence[F64], threshold: float) -> F64:
    """Of each series that fails, and was seen for a minute before: seconds from its first alarm within the horizon."""
    out = list[float]()
    for run, scored in zip(given, scores, strict=True):
        for at in np.flatnonzero((run.exhausted < len(run.values)) & (run.exhausted * EVERY_S > SEEN_S)):
            end = int(run.exhausted[at])
            start = max(0, end - int(HORIZON_S / EVERY_S))
            alarms = np.flatnonzero(scored[start:end, at] >= threshold)
            out.append((end - start - alarms[0]) * EVERY_S if len(alarms) else 0.0)
    return np.array(out)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one method said of some runs."""

    runs: Sequence[Run]
    scores: Sequence[F64]

    def flat(self) -> tuple[F64, Mask]:
        """Scores and answers of all readings that have a known answer."""
        known = [judged(run) for run in self.runs]
        scores = np.concatenate([one[mask] for one, (mask, _) in zip(self.scores, known, strict=True)])
        return scores, np.concatenate([fails[mask] for mask, fails in known])

    def figures(self, carried: float) -> dict[str, Any]:
        """`carried`: the threshold with the wanted precision on development runs."""
        scores, truth = self.flat()
        area, threshold = ranked(scores, truth)
        alarms, found = scores >= carried, leads(self.runs, self.scores, carried)
        return {
            "pr_auc": area,
            "lead_s": float(np.median(leads(self.runs, self.scores, threshold))),
            "base_rate": float(truth.mean()),
            "carried_precision": float(truth[alarms].mean()) if alarms.any() else 0.0,
            "carried_lead_s": float(np.median(found)),
            "carried_found": float(np.mean(found > 0)),
            "shapes": self.by_shape(threshold),
        }

    def by_shape(self, threshold: float) -> dict[str, float]:
        """Of each shape of fault the median lead in s, of each look-alike the share of its series with an alarm."""
        out = dict[str, list[float]]()
        for run, scored in zip(self.runs, self.scores, strict=True):
            for at, shape in enumerate(run.shapes):
                if shape in BENIGN:
                    out.setdefault(shape, []).append(float((scored[12:, at] >= threshold).any()))
            failed = np.flatnonzero((run.exhausted < len(run.values)) & (run.exhausted * EVERY_S > SEEN_S))
            for at, lead in zip(failed, leads([run], [scored], threshold), strict=True):
                out.setdefault(run.shapes[at], []).append(float(lead))
        return {name: float(np.median(each) if name in FAULTS else np.mean(each)) for name, each in sorted(out.items())}


def variants(development: Sequence[Run]) -> dict[str, Any]:
    """What the choices of the forecast are worth, on development runs alone."""
    print(f"{'choices, on development runs':44}{'PR-AUC':>8}{'lead s':>8}{'CPU s':>8}")
    told = dict[str, Any]()
    for name, settings in VARIANTS.items():
        began = time.process_time()
        scores = chances(streamed(Exhaustion(settings), development, 0.0))
        seconds = time.process_time() - began
        area, threshold = ranked(*Answer(development, scores).flat())
        told[name] = {
            "pr_auc": area,
            "lead_s": float(np.median(leads(development, scores, threshold))),
            "cpu_s": seconds,
        }
        print(f"{name:44}{area:8.3f}{told[name]['lead_s']:8.0f}{seconds:8.1f}", flush=True)
    return told


def compared(real: dict[str, Any], seeds: int) -> dict[str, dict[str, Any]]:
    """Every method and seed: development runs of that seed to learn from, then its test runs."""
    found = dict[str, list[dict[str, Any]]]()
    for seed in range(seeds):
        drawn = [runs(real, DEVELOPMENT, 1000 + seed * PARTS + part) for part in range(PARTS)]
        parts = [[run for each in drawn[at::2] for run in each] for at in range(2)]
        parts.append(runs(real, TEST, seed))
        for name, (second, test) in answers(parts, seed).items():
            _, carried = ranked(*Answer(parts[1], second).flat())
            found.setdefault(name, []).append(Answer(parts[2], test).figures(carried))
        each = ", ".join(f"{name} {one[-1]['pr_auc']:.3f} {one[-1]['lead_s']:.0f} s" for name, one in found.items())
        print(f"seed {seed}: {each}", flush=True)
    return {name: summary(each) for name, each in found.items()}


def answers(parts: Sequence[Sequence[Run]], seed: int) -> dict[str, tuple[list[F64], list[F64]]]:
    """Of each method its scores on the second half of development, from the first, and on the test, from all before it.

    The forecast reads what is before without any label, as a stream that has run for a while; boosting with them.
    """
    stream = Exhaustion()
    columns = [streamed(stream, part, 1e5 * (1 + at)) for at, part in enumerate(parts)]
    told = {
        f"line through {window} readings": tuple(extrapolated(window)(part) for part in parts[1:]) for window in WINDOWS
    }
    told[OURS] = chances(columns[1]), chances(columns[2])
    if importlib.util.find_spec("sklearn"):
        told[BOOSTED] = _boosting(parts, [[lags(run) for run in part] for part in parts], seed)
        both = [
            [headed(*one) for one in zip(part, each, strict=True)] for part, each in zip(parts, columns, strict=True)
        ]
        told[HEADED] = _boosting(parts, both, seed)
    return told


def _boosting(
    parts: Sequence[Sequence[Run]], features: Sequence[Sequence[F64]], seed: int
) -> tuple[list[F64], list[F64]]:
    early = learned((parts[0], features[0]), seed)
    late = learned(([*parts[0], *parts[1]], [*features[0], *features[1]]), seed)
    return early(features[1]), late(features[2])


def summary(each: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, deviation and worst over seeds."""
    areas = np.array([one["pr_auc"] for one in each])
    told = {key: float(np.mean([one[key] for one in each])) for key in each[0] if key != "shapes"}
    names = sorted({name for one in each for name in one["shapes"]})
    shapes = {name: float(np.mean([one["shapes"][name] for one in each if name in one["shapes"]])) for name in names}
    spread = float(areas.std(ddof=1)) if len(areas) > 1 else 0.0
    worst = {"pr_auc_worst": float(areas.min()), "lead_s_worst": min(one["lead_s"] for one in each)}
    return {**told, "pr_auc_sd": spread, **worst, "shapes": shapes, "runs": each}


def shown(told: dict[str, dict[str, Any]]) -> None:
    """The tables."""
    rate = told[OURS]["base_rate"]
    print(f"\n{f'test, base rate {rate:.3f}':28}{'PR-AUC':>8}{'sd':>7}{'worst':>7}{'lead s':>8}{'worst':>7}", end="")
    print(f"{'| carried: precision':>21}{'lead s':>8}{'found':>7}")
    for name, one in told.items():
        print(
            f"{name:28}{one['pr_auc']:8.3f}{one['pr_auc_sd']:7.3f}{one['pr_auc_worst']:7.3f}{one['lead_s']:8.0f}",
            end="",
        )
        print(f"{one['lead_s_worst']:7.0f}{one['carried_precision']:21.2f}{one['carried_lead_s']:8.0f}", end="")
        print(f"{one['carried_found']:7.2f}")
    print(f"\n{'median lead of each fault, s':28}" + "".join(f"{name:>14}" for name in FAULTS))
    for name, one in told.items():
        print(f"{name:28}" + "".join(f"{one['shapes'].get(shape, float('nan')):14.0f}" for shape in FAULTS))
    print(f"\n{'look-alikes with an alarm':28}" + "".join(f"{name:>14}" for name in BENIGN))
    for name, one in told.items():
        print(f"{name:28}" + "".join(f"{one['shapes'].get(shape, float('nan')):14.2f}" for shape in BENIGN))


def misses(told: dict[str, dict[str, Any]]) -> list[str]:
    """What was not met, in words: by the forecast itself, which needs no labels; and by the one with a trained head."""
    peers = {name: one for name, one in told.items() if name not in (OURS, HEADED)}
    best = max(peers, key=lambda name: peers[name]["pr_auc"])
    out = list[str]()
    for name in (OURS, HEADED):
        if name not in told:
            continue
        ahead = told[name]["pr_auc"] - peers[best]["pr_auc"]
        if ahead < AHEAD:
            out.append(f"B6: {name}: PR-AUC {told[name]['pr_auc']:.3f} is {ahead:+.3f} beside {best}, not +{AHEAD:g}")
        if told[name]["lead_s"] < LEAD_S:
            out.append(
                f"B6: {name}: median lead {told[name]['lead_s']:.0f} s at precision {PRECISION:g}, not {LEAD_S:g} s"
            )
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--skip-choices", action="store_true", help="not the table of what was chosen between")
    parser.add_argument("--recording", type=Path, action="append", help="of the lab, instead (may be repeated)")
    given = parser.parse_args()
    if given.recording:
        return of_recordings(given.recording)
    try:
        real = recorded()
    except DataMissing as missing:
        print(f"failing: {missing}")
        return 0
    print("SYNTHETIC FAULTS over metrics that were measured on real pods; not failures of a real system\n")
    development = [run for part in range(PARTS) for run in runs(real, DEVELOPMENT, 1000 + part)]
    chosen = {} if given.skip_choices else variants(development)
    told = compared(real, given.seeds)
    shown(told)
    missed = misses(told)
    if "boosting on lags" not in told:
        print("\nnot measured, scikit-learn is not installed: boosting on lags")
    print("\n" + ("\n".join(f"missed: {line}" for line in missed) if missed else "all targets are met"))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(
        json.dumps({"data": "synthetic faults on real metrics", "variants": chosen, "test": told, "missed": missed})
    )
    return 1 if missed else 0


def of_recordings(folders: list[Path]) -> int:
    """Without training and without targets: a recording of minutes holds too few failures for either."""
    given = [recording_run(folder) for folder in folders]
    failed = sum(int((run.exhausted < len(run.values)).sum()) for run in given)
    print(f"{len(given)} recordings of the lab, {sum(len(run.shapes) for run in given)} series, {failed} exhausted\n")
    if not failed:
        print("nothing was exhausted: PR-AUC and lead cannot be told")
        return 0
    line = extrapolated(WINDOWS[0])(given)
    ours = chances(streamed(Exhaustion(), given, 0.0))
    for name, scores in {f"line through {WINDOWS[0]} readings": line, OURS: ours}.items():
        area, threshold = ranked(*Answer(given, scores).flat())
        lead = np.median(leads(given, scores, threshold))
        print(f"{name:28} PR-AUC {area:.3f}, lead at precision {PRECISION:g}: median {lead:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
