"""How fast edges are judged: per tick at 1,000 workloads and 8,000 flows, edges per second, memory, training time.

One core. The scorer runs in a process of its own that has no torch, and says how much memory it took; all detectors see
the same ticks in the same run. The graph model is trained before, on 60 minutes of such ticks, where torch is at hand
(the environment of `make train-tools`); elsewhere `--model FILE` names one, or it is left out and that is said. Exit
code 1 when a target is missed. Where torch finds a GPU, the same training is done on it too.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loomidi.origami.features import CAUSAL, EdgeFeatures
from loomidi.origami.model import ModelSettings, learn
from loomidi.origami.online import EdgeSketch, HalfSpaceTrees, RobustNorm, Seen
from loomidi.origami.scoring import GraphModel, Habits

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / ".work" / "bench" / "anomaly_speed.json"
WORKLOADS, FLOWS, TICK_S, MINUTES = 1000, 8000, 5, 60
TARGETS = {"tick_p99_ms": 50.0, "edges_per_second": 1e6, "rss_mb": 600.0, "training_s": 600.0}
ONLINE = ("robust norm", "count sketch", "half-space trees")
START_NS = 1_700_000_000 * 10**9


def ticks(count: int, seed: int) -> Seen:
    """Services that talk to a few peers each, some of them much more often than others."""
    random = np.random.default_rng(seed)
    keys = random.integers(1, 1 << 62, WORKLOADS).astype(np.uint64)
    peers = random.integers(0, WORKLOADS, (WORKLOADS, 8))
    share = random.pareto(1.2, WORKLOADS) + 0.1
    source = random.choice(WORKLOADS, count * FLOWS, p=share / share.sum())
    destination = peers[source, random.integers(0, 8, len(source))]
    times = START_NS + np.repeat(np.arange(count), FLOWS) * TICK_S * 10**9
    features, values = EdgeFeatures(), np.empty((len(source), len(CAUSAL)), np.float32)
    for at in range(0, len(source), 1 << 16):
        part = slice(at, at + (1 << 16))
        ones = np.ones(len(times[part]), np.uint32)
        np.log1p(features.columns(times[part], keys[source[part]], keys[destination[part]], ones).T, out=values[part])
    return Seen(times, keys[source], keys[destination], values)


def detectors(model: str | None) -> dict[str, Callable[[], Any]]:
    """Each by name; the graph model where there is a file."""
    made: dict[str, Callable[[], Any]] = dict(zip(ONLINE, (RobustNorm, EdgeSketch, HalfSpaceTrees), strict=True))
    made |= {"habits": Habits}
    return made | ({"graph model": lambda: GraphModel.load(Path(model))} if model else {})


def measured(make: Callable[[], Any], warm: Seen, rest: Seen) -> dict[str, float]:
    """Each tick by itself, as it comes live: CPU time, so that what else runs here does not count."""
    one, took = make(), list[float]()
    one.fit(warm)
    for at in range(0, len(rest), FLOWS):
        began = time.process_time()
        one.score(rest.part(at, at + FLOWS))
        took.append(time.process_time() - began)
    p50, p99 = np.quantile(took, (0.5, 0.99)) * 1e3
    return {"tick_p50_ms": float(p50), "tick_p99_ms": float(p99), "edges_per_second": len(rest) / sum(took)}


def peak_mb() -> float:
    """Of this process; what `getrusage` tells is inherited from the process that began it, which had torch."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def scorer(model: str | None, count: int, seeds: int) -> dict[str, Any]:
    """All detectors in this process, which must not have torch; by seed of the stream."""
    out: dict[str, Any] = {}
    for seed in range(seeds):
        warm, rest = ticks(10, seed), ticks(count, seed)
        for name, make in detectors(model).items():
            out.setdefault(name, []).append(measured(make, warm, rest))
    out["rss_mb"] = peak_mb()
    out["torch"] = "torch" in sys.modules
    return out


def trained(folder: Path, minutes: int) -> tuple[str | None, float, dict[str, Any]]:
    """A model, the CPU seconds that its training took, and what a GPU took; None where torch is absent."""
    from bench.anomaly_graph import lacking

    if lacking():
        print(f"not measured, {', '.join(lacking())} not installed: training of the graph model")
        return None, float("nan"), {}
    seen = ticks(minutes * 60 // TICK_S, 1)
    settings = ModelSettings(tick_s=float(TICK_S))
    began = time.process_time()
    model = learn(seen, settings, 0)
    seconds = time.process_time() - began
    model.export(folder / "graph.onnx")
    print(f"training on {len(seen):,} edges of {minutes} minutes: {seconds:.0f} s of one core", flush=True)
    return str(folder / "graph.onnx"), seconds, on_gpu(seen, settings)


def on_gpu(seen: Seen, settings: ModelSettings) -> dict[str, Any]:
    """The same training, edges and settings on a GPU, by the clock; nothing where there is none."""
    import torch

    if not torch.cuda.is_available():
        print("not measured, there is no GPU here: training on one")
        return {}
    torch.zeros(1).cuda()  # its start is not the training's
    began = time.perf_counter()
    learn(seen, dataclasses.replace(settings, device="cuda"), 0)
    told = {"training_s": time.perf_counter() - began, "name": torch.cuda.get_device_name()}
    print(f"the same on {told['name']}: {told['training_s']:.0f} s", flush=True)
    return told


def table(told: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean of the medians, and the worst of all else, over seeds; printed."""
    print(
        f"{'one core, 1,000 workloads, 8,000 flows':40}{'tick p50':>10}{'tick p99':>10}{'k edges/s':>11}  (worst seed)"
    )
    out = dict[str, dict[str, float]]()
    for name, runs in told.items():
        if isinstance(runs, list):
            out[name] = {
                "tick_p50_ms": float(np.mean([run["tick_p50_ms"] for run in runs])),
                "tick_p99_ms": max(run["tick_p99_ms"] for run in runs),
                "edges_per_second": min(run["edges_per_second"] for run in runs),
            }
            row = out[name]
            each = f"{row['tick_p50_ms']:7.1f} ms{row['tick_p99_ms']:7.1f} ms{row['edges_per_second'] / 1e3:11.0f}"
            print(f"{name:40}{each}")
    print(f"memory of what scores: {told['rss_mb']:.0f} MB, torch {'loaded' if told['torch'] else 'not loaded'}")
    return out


def misses(rows: dict[str, dict[str, float]], rss_mb: float, training_s: float) -> list[str]:
    """The targets that were not met."""
    out = [
        f"{name}: p99 of a tick {row['tick_p99_ms']:.1f} ms, not {TARGETS['tick_p99_ms']:.0f}"
        for name, row in rows.items()
        if row["tick_p99_ms"] > TARGETS["tick_p99_ms"]
    ]
    slow = [name for name in ONLINE if rows[name]["edges_per_second"] < TARGETS["edges_per_second"]]
    out += [f"{name}: {rows[name]['edges_per_second'] / 1e6:.2f} M edges/s, not 1" for name in slow]
    if rss_mb > TARGETS["rss_mb"]:
        out.append(f"memory of the scorer {rss_mb:.0f} MB, not {TARGETS['rss_mb']:.0f}")
    if training_s > TARGETS["training_s"]:
        out.append(f"training {training_s:.0f} s, not {TARGETS['training_s']:.0f}")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--model", help="a graph model that was exported, instead of training one")
    parser.add_argument("--ticks", type=int, default=100, help="that are scored, for each seed")
    parser.add_argument("--seeds", type=int, default=5, help="of the stream")
    parser.add_argument("--minutes", type=int, default=MINUTES, help="of ticks that are trained on")
    parser.add_argument("--scorer", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.scorer:
        print(json.dumps(scorer(given.model, given.ticks, given.seeds)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        model, training_s, gpu = (
            (given.model, float("nan"), {}) if given.model else trained(Path(folder), given.minutes)
        )
        command = [sys.executable, "-m", "bench.anomaly_speed", "--scorer", "--ticks", str(given.ticks)]
        command += ["--seeds", str(given.seeds), *(["--model", model] if model else [])]
        one_core = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        outcome = subprocess.run(command, cwd=ROOT, env=one_core, capture_output=True, text=True, check=True)
    told = json.loads(outcome.stdout)
    rows = table(told)
    missed = misses(rows, told["rss_mb"], training_s) + (["the scorer has loaded torch"] if told["torch"] else [])
    print(
        "\n" + ("\n".join(f"missed: {line}" for line in missed) if missed else "all targets that were measured are met")
    )
    given.json.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "rows": rows,
        "told": told,
        "minutes": given.minutes,
        "training_s": training_s,
        "gpu": gpu,
        "missed": missed,
    }
    given.json.write_text(json.dumps(figures))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
