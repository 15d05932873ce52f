"""B3: incidents in recordings of the lab, leave one family out: recall, false incidents, time to detect, look-alikes.

`--recordings DIR` (LOOMIDI_RECORDINGS, else .work/recordings) holds recordings of `loomidi-lab record`, one a folder.
Those of seeds 1 to 5 are learned from and tuned on, the others are reported. Each detector learns from the windows in
which nothing was staged, calibrates on the last third of them, and is judged as the pipeline judges (`Judge`, windows
of 10 s). Its budget is chosen on the tuning recordings without the family that is reported. A finding counts for an
occurrence when it names one of its workloads while it goes on, or up to a minute later; whatever matches none is false.
Static rules are judged on the same flows.
Exit code 1 when a target is missed or a peer wins, 2 when there are no recordings: nothing is measured then.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import loomidi_lab
from loomidi.contracts.errors import LoomidiError
from loomidi.contracts.schemas import EDGE_WINDOWS, ENTITIES, FLOWS
from loomidi.contracts.streams import Stream
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.flows.recording import as_records
from loomidi.loom.runners import WindowMachine
from loomidi.loom.windows import SPECS, WindowSettings
from loomidi.origami.causes.placements import Placements
from loomidi.origami.features import WindowFeatures
from loomidi.origami.online import (
    Detector,
    EdgeSketch,
    FlowDetectors,
    HalfSpaceTrees,
    RobustNorm,
    Seen,
    SketchSettings,
    TreesSettings,
)
from loomidi.origami.scoring import CalibrationSettings, GuardSettings, IncidentSettings, Judge, JudgeSettings
from loomidi.origami.scoring.floors import Floor, FloorSettings
from loomidi.services.shared.naming_flows import NamingFlows

RESULT = Path(__file__).resolve().parent.parent / ".work" / "bench" / "incidents.json"
NS = 10**9
SIZE_S, LATENESS_S = 10, 12.0  # of windows; a window is told that long after its end
TUNING = range(1, 6)  # seeds
BUDGETS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)  # false incidents a day, of the calibration slice
AFTER_NS = 60 * NS  # an alarm may come so long after the end
CLEAR_NS = 30 * NS  # around what was staged nothing is learned
RECALL, FALSE, MEDIAN_S, P95_S, ALIKE = 0.90, 1.0, 10.0, 60.0, 1.0  # targets; false ones per 100 pods and day
WINDOW = 512  # rows of half-space trees: a recording of minutes has few
OWN = "floor"


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """One scenario that was staged, and held by its own symptoms."""

    scenario: str
    category: str  # attack, failure, benign
    family: str
    start_ns: int
    end_ns: int
    ends: frozenset[str]  # of its sources and victims, as windows know them


@dataclasses.dataclass(frozen=True)
class Alarm:
    """What a detector told."""

    told_ns: int
    first_ns: int
    last_ns: int
    ends: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Run:
    """One recording as the protocol sees it."""

    name: str
    seed: int
    pods: int
    windows: list[pa.RecordBatch]  # one each, in order of time
    occurrences: list[Occurrence]
    ruled: list[Alarm]  # by static rules

    @property
    def days(self) -> float:
        """How long it is."""
        return len({end_of(one) for one in self.windows}) * SIZE_S / 86_400

    def quiet(self) -> list[bool]:
        """Of each window, whether nothing was staged in or shortly before it."""
        spans = [(one.start_ns - CLEAR_NS, one.end_ns + AFTER_NS) for one in self.occurrences]
        return [not any(first <= end_of(one) <= last for first, last in spans) for one in self.windows]


def end_of(window: pa.RecordBatch) -> int:
    """ns."""
    return int(window.column("window_end").cast(pa.int64())[0].as_py())


# -- detectors -----------------------------------------------------------------------------------------------------


class Forest:
    """Isolation forest of scikit-learn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def fit(self, seen: Seen) -> None:
        """On all rows."""
        from sklearn.ensemble import IsolationForest

        self._forest = IsolationForest(n_estimators=50, max_samples=1024, random_state=self._seed).fit(seen.values)

    def score(self, seen: Seen, learn: Any = None) -> Any:
        """It learns nothing while it scores."""
        del learn
        return -self._forest.score_samples(seen.values).astype(np.float32)

    def snapshot(self) -> bytes:
        """None: both copies are the same."""
        return b""

    def restore(self, state: bytes) -> None:
        """Fitted already."""


FEATURES = len(WindowFeatures.schema) - 4
DETECTORS: dict[str, tuple[str, Callable[[int], Detector]]] = {
    OWN: ("own", lambda seed: Floor(FloorSettings(window=WINDOW, seed=seed))),
    "robust norm": ("own", lambda _seed: RobustNorm(features=FEATURES)),
    "half-space trees": ("peer", lambda seed: HalfSpaceTrees(TreesSettings(window=WINDOW, seed=seed), FEATURES)),
    "sketch": ("peer", lambda seed: EdgeSketch(SketchSettings(seed=seed))),
    "isolation forest": ("peer", Forest),
}
RULES = "static rules"


def learned(runs: Sequence[Run], name: str, budget: float, seed: int) -> tuple[Judge, WindowFeatures]:
    """A judge that learned from what was quiet; features that have seen all of it, as live."""
    features, usual = WindowFeatures(), list[pa.RecordBatch]()
    for run in sorted(runs, key=lambda one: end_of(one.windows[0])):
        told = [features.feed(window) for window in run.windows]
        usual += [one for one, quiet in zip(told, run.quiet(), strict=True) if quiet]
    cut = len(usual) * 2 // 3
    guard = GuardSettings(calibration=CalibrationSettings(least=200))
    settings = JudgeSettings(incidents_per_day=budget, guard=guard, incidents=IncidentSettings(quiet_s=120.0))
    judge = Judge(lambda: DETECTORS[name][1](seed), settings)
    judge.fit(usual[:cut], usual[cut:])
    return judge, features


def alarms(judge: Judge, features: WindowFeatures, run: Run) -> list[Alarm]:
    """New incidents of a recording, each with all ends that it had in the end."""
    first, ends, last = dict[str, int](), dict[str, frozenset[str]](), dict[str, tuple[int, int]]()
    for window in run.windows:
        for one in judge.tick(features.feed(window)):
            first.setdefault(one.incident_id, end_of(window) + int(LATENESS_S * NS))
            ends[one.incident_id] = frozenset(one.entities)
            last[one.incident_id] = (one.first_ns, one.last_ns)
    return [Alarm(first[name], *last[name], ends[name]) for name in first]


# -- the protocol --------------------------------------------------------------------------------------------------


def judged(run: Run, told: Sequence[Alarm]) -> dict[str, Any]:
    """What was found of a recording, by occurrence; what was false; how long it took."""
    matched, found = set[int](), list[tuple[Occurrence, float | None]]()
    for one in run.occurrences:
        mine = [at for at, alarm in enumerate(told) if meets(one, alarm)]
        matched |= {*mine}
        times = [(told[at].told_ns - one.start_ns) / NS for at in mine]
        found.append((one, max(min(times), 0.0) if times else None))
    return {"found": found, "false": len(told) - len(matched), "pod_days": run.pods * run.days}


def meets(occurrence: Occurrence, alarm: Alarm) -> bool:
    """Whether it names one of its ends while it goes on."""
    timely = alarm.first_ns <= occurrence.end_ns + AFTER_NS and alarm.told_ns >= occurrence.start_ns
    return timely and bool(alarm.ends & occurrence.ends)


def figures(results: Sequence[dict[str, Any]], family: str = "") -> dict[str, float]:
    """Recall of attacks (of one family), times to detect, false incidents per 100 pods and day, look-alikes a run."""
    found = [pair for one in results for pair in one["found"]]
    attacks = [pair for pair in found if pair[0].category == "attack" and family in ("", pair[0].family)]
    times = [seconds for _, seconds in attacks if seconds is not None]
    alike = sum(seconds is not None for one, seconds in found if one.category == "benign")
    return {
        "attacks": len(attacks),
        "recall": len(times) / len(attacks) if attacks else float("nan"),
        "false": 100 * sum(one["false"] for one in results) / max(sum(one["pod_days"] for one in results), 1e-9),
        "median_s": float(np.median(times)) if times else float("nan"),
        "p95_s": float(np.quantile(times, 0.95)) if times else float("nan"),
        "alike": alike / max(len(results), 1),
    }


def chosen(tuned: dict[float, list[dict[str, Any]]], family: str) -> float:
    """The budget with the most recall of the other families at few enough false incidents; else the least budget."""

    def worth(budget: float) -> tuple[bool, float]:
        others = [
            {**one, "found": [pair for pair in one["found"] if pair[0].family != family]} for one in tuned[budget]
        ]
        told = figures(others)
        return told["false"] <= FALSE, np.nan_to_num(told["recall"]) if told["false"] <= FALSE else -budget

    return max(tuned, key=worth)


def measured(runs: Sequence[Run], name: str, seed: int) -> dict[str, Any]:
    """One detector with one seed: for each family the figures with the budget that the others chose."""
    tuning, reported = ([run for run in runs if (run.seed in TUNING) is tunes] for tunes in (True, False))
    if name == RULES:
        results = [judged(run, run.ruled) for run in reported]
        return by_family(results, dict.fromkeys(families(reported), results))
    tuned, told = dict[float, list[dict[str, Any]]](), dict[float, list[dict[str, Any]]]()
    for budget in BUDGETS:
        for part, into in ((tuning, tuned), (reported, told)):
            judge, features = learned(tuning, name, budget, seed)
            into[budget] = [judged(run, alarms(judge, features, run)) for run in part]
    picked = {family: chosen(tuned, family) for family in families(reported)}
    return by_family(told[chosen(tuned, "")], {family: told[budget] for family, budget in picked.items()})


def families(runs: Sequence[Run]) -> list[str]:
    """Of attacks."""
    return sorted({one.family for run in runs for one in run.occurrences if one.category == "attack"})


def by_family(all_of_them: list[dict[str, Any]], each: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Overall recall is the one of left-out families, each with its own budget."""
    told = {family: figures(results, family) for family, results in each.items()}
    count = sum(one["attacks"] for one in told.values())
    overall = figures(all_of_them)
    overall["recall"] = sum(one["recall"] * one["attacks"] for one in told.values()) / count if count else float("nan")
    return {"overall": overall, "families": told}


# -- recordings ----------------------------------------------------------------------------------------------------


def read(folder: Path) -> Run:
    """A recording by its folder."""
    found = loomidi_lab.load(folder)
    placements, naming = Placements(), NamingFlows()
    entities = owners(folder / "addresses.jsonl")
    placements.learn(entities)
    naming.learn(entities)
    flows = found.flows.to_table().sort_by("recorded_ns").combine_chunks().to_batches()
    windows = machine_windows(flows, naming)
    return Run(
        name=folder.name,
        seed=int(found.schedule["seed"]),
        pods=len({row["name"] for row in entities.to_pylist() if row["kind"] == "Pod"}),
        windows=windows,
        occurrences=list(occurrences(found.truth, placements)),
        ruled=ruled(flows, placements),
    )


def owners(book: Path) -> pa.RecordBatch:
    """The address book of a recording as ENTITIES."""
    rows = []
    for line in book.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        times = {"from": row["from_ns"], "to": row["to_ns"] or None, "seen": row["from_ns"]}
        texts = {
            "ports": json.dumps(row["ports"]),
            "labels": list(row["labels"].items()),
            "services": [],
            "cluster": "",
        }
        rows.append({name: row[name] for name in row if not name.endswith("_ns")} | texts | times)
    return pa.RecordBatch.from_pylist(rows, schema=ENTITIES)


def machine_windows(flows: Sequence[pa.RecordBatch], naming: NamingFlows) -> list[pa.RecordBatch]:
    """Aligned windows of 10 s, as the pipeline makes them."""
    specs = tuple(spec for spec in SPECS if spec.size_s == SIZE_S)
    machine, rows = WindowMachine(WindowSettings(specs=specs, lateness_s=LATENESS_S), epoch=1), list[pa.RecordBatch]()
    for batch in flows:
        for node in sorted({*batch.column("node").to_pylist()}):
            mine = batch.filter(pc.equal(batch.column("node"), node))
            metered = pa.RecordBatch.from_arrays(mine.columns[: len(FLOWS)], schema=FLOWS)
            created = max(mine.column("recorded_ns").to_pylist())
            machine.absorb(naming.namer(as_records(metered, exporter=node, link="lab")), created_ns=created)
    last = max(pc.max(batch.column("flow_end_nanoseconds").cast(pa.int64())).as_py() for batch in flows)
    for envelope in machine.close((last // (SIZE_S * NS) + 1) * SIZE_S * NS):
        if envelope.stream == Stream.EDGE_WINDOWS:
            rows.append(decode(envelope, EDGE_WINDOWS))
    table = pa.Table.from_batches(rows, EDGE_WINDOWS).sort_by("window_end")
    ends = pc.unique(table["window_end"])
    return [table.filter(pc.equal(table["window_end"], end)).combine_chunks().to_batches()[0] for end in ends]


def ruled(flows: Sequence[pa.RecordBatch], placements: Placements) -> list[Alarm]:
    """What the rules tell of the same flows, looked at every batch as they came."""
    detectors, told = FlowDetectors(), dict[str, Alarm]()
    for batch in flows:
        detectors.observe(pa.RecordBatch.from_arrays(batch.columns[: len(FLOWS)], schema=FLOWS))
        now = max(batch.column("recorded_ns").to_pylist())
        for one in detectors.look():
            ends = frozenset(map(placements.end, one.entities))
            first = told[one.id].told_ns if one.id in told else now
            told[one.id] = Alarm(first, one.first_ns, one.last_ns, ends)
    return list(told.values())


def occurrences(truth: Sequence[dict[str, Any]], placements: Placements) -> Iterator[Occurrence]:
    """Those that held; a void one is neither found nor missed."""
    for entry in truth:
        planned, measure = entry["planned"], entry["measured"]
        if measure["valid"]:
            ends = {end for one in [*measure["sources"], *measure["victims"]] for end in ends_of(one, placements)}
            about = (planned["scenario"], planned["category"], planned["family"])
            yield Occurrence(*about, measure["start_ns"], measure["end_ns"], frozenset(ends))


def ends_of(found: dict[str, Any], placements: Placements) -> Iterator[str]:
    """The workloads of its pods; without any, what it is itself."""
    entity = found["entity"]
    space, name = entity.get("namespace") or "default", entity["name"]
    for pod in found.get("pods") or ():
        yield placements.end(f"pod/{space}/{pod['name']}")
        yield placements.end(f"host/{pod['address']}")
    yield placements.end(f"pod/{space}/{name}")
    yield from (f"{kind}/{space}/{name}" for kind in ("deployment", "statefulset", "daemonset", "pod"))


# -- the table -----------------------------------------------------------------------------------------------------


def row(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line; mean, deviation and worst over seeds."""
    found = {key: np.array([one["overall"][key] for one in runs]) for key in runs[0]["overall"]}
    told = {
        "mean": {key: float(values.mean()) for key, values in found.items()},
        "sd": {key: float(values.std(ddof=min(1, len(values) - 1))) for key, values in found.items()},
        "worst": {key: float(values.min() if key == "recall" else values.max()) for key, values in found.items()},
        "families": runs[0]["families"],
    }
    each = "".join(
        f"{told['mean'][key]:10.3f}{told['sd'][key]:8.3f}{told['worst'][key]:8.3f}" for key in ("recall", "false")
    )
    rest = "".join(f"{told['mean'][key]:9.1f}" for key in ("median_s", "p95_s", "alike"))
    print(f"{name:20}{each}{rest}", flush=True)
    for family, one in told["families"].items():
        print(f"    {family:24}{one['recall']:7.2f} of {one['attacks']}, false {one['false']:.2f}")
    return told


def misses(told: dict[str, dict[str, Any]]) -> list[str]:
    """The targets that were not met, in words."""
    own, out = told[OWN], list[str]()
    bounds = {"false": FALSE, "median_s": MEDIAN_S, "p95_s": P95_S, "alike": ALIKE}
    if not own["mean"]["recall"] >= RECALL:
        out.append(f"recall {own['mean']['recall']:.3f}, not {RECALL}")
    out += [
        f"{key} {own['mean'][key]:.2f}, not at most {most:g}"
        for key, most in bounds.items()
        if not own["mean"][key] <= most
    ]
    fair = {name: one for name, one in told.items() if name != OWN and one["mean"]["false"] <= FALSE}
    better = (name for name, one in fair.items() if one["mean"]["recall"] > own["mean"]["recall"])
    return out + [f"{name} finds more than {OWN}" for name in better]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = Path(os.environ.get("LOOMIDI_RECORDINGS", ".work/recordings"))
    parser.add_argument("--recordings", type=Path, default=there, help="folder of recordings")
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    parser.add_argument("--seeds", type=int, default=5, help="of each detector")
    given = parser.parse_args(arguments)
    folders = sorted(one.parent for one in given.recordings.glob("*/schedule.json"))
    if not folders:
        print(f"incidents: no recordings in {given.recordings}: `loomidi-lab record` makes them. Nothing was measured")
        return 2
    try:
        runs = [read(folder) for folder in folders]
    except LoomidiError as error:
        print(f"incidents: a recording cannot be read: {error}. Nothing was measured")
        return 2
    if {run.seed in TUNING for run in runs} != {True, False}:
        print("incidents: seeds 1 to 5 to tune on and others to report are needed. Nothing was measured")
        return 2
    print(f"{len(runs)} recordings, {sum(len(run.occurrences) for run in runs)} occurrences")
    print(f"{'':20}    recall      sd   worst     false      sd   worst   median      p95    alike")
    told = dict[str, Any]()
    for name in (*DETECTORS, RULES):
        if name == "isolation forest" and importlib.util.find_spec("sklearn") is None:
            print("isolation forest    left out: scikit-learn is not installed")
            continue
        fixed = name in (RULES, "robust norm")
        told[name] = row(name, [measured(runs, name, seed) for seed in range(1 if fixed else given.seeds)])
    missed = misses(told)
    print(*(f"missed: {line}" for line in missed), sep="\n")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(
        json.dumps({"recordings": [run.name for run in runs], "told": told, "missed": missed}, indent=1)
    )
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
