"""The PetShop data set (amazon-science, data CC-BY-4.0) as cases of root cause analysis.

Called by `services.benching`. In: its folder, or the `dataset` in it, or one scenario. Out: one `Case` per issue, of
the splits that lie there, and `quiet` cases of windows in which nothing is wrong. Normal rows were recorded at another
time than the issues: they are moved to lie right before. A scenario without normal rows of its own takes those of the
one whose load is nearest. Nodes named `..._remote` and `..._client` are X-Ray's views from a caller.
"""

import contextlib
import csv
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from loomidi.contracts import InputError
from loomidi.origami.causes import CALLS, SIGNALS, Observed, Role, Symptom, Window
from loomidi.services.benching.cases import Case

STEP_NS = 300_000_000_000
SPLITS = ("train", "test")
BEFORE, WITHIN = 2, 3  # rows of an issue before its alarm, and after
_ROLES = {"latency": Role.LATENCY, "availability": Role.ERRORS, "requests": Role.TRAFFIC}
Array = np.ndarray[Any, np.dtype[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """One metrics file: times in seconds, columns (node, metric, statistic), values with NaN where there is none."""

    times: Array
    columns: tuple[tuple[str, str, str], ...]
    values: Array


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One folder: who calls whom, what is normal (its own or borrowed), its issues by split."""

    name: str
    calls: pa.Table
    normal: Metrics
    issues: tuple[tuple[str, str, Metrics, dict[str, Any]], ...]  # split, name, metrics, target
    own_normal: bool


def cases(path: Path, splits: tuple[str, ...] = SPLITS) -> Iterator[Case]:
    """Every issue of these splits, scenario by scenario."""
    for scenario in scenarios(path):
        for split, name, metrics, target in scenario.issues:
            if split in splits:
                yield _issue(scenario, f"{scenario.name}/{split}/{name}", metrics, target)


def quiet(path: Path) -> Iterator[Case]:
    """Windows of the second half of the normal rows, each after all normal rows before it; nothing is wrong there."""
    for scenario in scenarios(path):
        if not scenario.own_normal:
            continue
        targets = [target["target"] for *_, target in scenario.issues]
        alarms = sorted({(str(asked["node"]), str(asked["metric"])) for asked in targets})
        known = observed(scenario, scenario.normal)  # what lies after a window is not looked at
        times = scenario.normal.times
        for begin in range(len(times) // 2, len(times) - WITHIN, BEFORE + WITHIN):
            window = _window(times[begin], times[begin + WITHIN - 1])
            for node, metric in alarms:
                yield Case(
                    name=f"{scenario.name}/quiet/{begin}",
                    group=scenario.name,
                    kind=metric,
                    truth="",
                    window=window,
                    observe=functools.partial(_same, known),
                    symptom=Symptom(node, _ROLES[metric]),
                )


def _same(known: Observed) -> Observed:
    return known


def scenarios(path: Path) -> list[Scenario]:
    """All scenarios there, in the order of their names."""
    folders = _folders(path)
    normal = {
        folder: _metrics(folder / "noissue" / "metrics.csv")
        for folder in folders
        if (folder / "noissue" / "metrics.csv").is_file()
    }
    if not normal:
        raise InputError(
            f"{path}: no scenario there has noissue/metrics.csv; without normal rows nothing can be judged"
        )
    return [_scenario(folder, normal) for folder in folders]


def _folders(path: Path) -> list[Path]:
    for base in (path, path / "dataset", path / "petshop" / "dataset"):
        found = sorted(graph.parent for graph in base.glob("*/graph.csv"))
        if found:
            return found
    if (path / "graph.csv").is_file():
        return [path]
    raise InputError(f"{path}: no PetShop data there; give the folder that holds dataset/SCENARIO/graph.csv")


def _scenario(folder: Path, normal: dict[Path, Metrics]) -> Scenario:
    issues = [
        (split, file.parent.name, _metrics(file.parent / "metrics.csv"), _target(file))
        for split in SPLITS
        for file in sorted((folder / split).glob("*/target.json"))
    ]
    nearest = normal.get(folder) or min(normal.values(), key=lambda of: _distance(of, issues))
    return Scenario(folder.name, _calls(folder / "graph.csv"), nearest, tuple(issues), folder in normal)


def _distance(normal: Metrics, issues: list[Any]) -> float:
    """How far the load of these normal rows is from that of the issues before their alarms."""
    if not issues:
        return 0.0
    mine = np.array([np.nansum(_loads(metrics)[:BEFORE], axis=1).max() for *_, metrics, _ in issues])
    return float(abs(np.log1p(np.median(np.nansum(_loads(normal), axis=1))) - np.log1p(np.median(mine))))


def _loads(metrics: Metrics) -> Array:
    wanted = [at for at, column in enumerate(metrics.columns) if column[1] == "requests"]
    loads: Array = metrics.values[:, wanted]
    return loads


def _after_normal(scenario: Scenario, metrics: Metrics) -> Metrics:
    """The normal rows, then the issue's own, as if recorded one after the other; columns of the issue."""
    place = {column: at for at, column in enumerate(scenario.normal.columns)}
    known = np.full((len(scenario.normal.times), len(metrics.columns)), np.nan)
    for at, column in enumerate(metrics.columns):
        if column in place:
            known[:, at] = scenario.normal.values[:, place[column]]
    step = STEP_NS / 1e9
    times = metrics.times[0] - step * np.arange(len(known), 0, -1)
    return Metrics(np.concatenate([times, metrics.times]), metrics.columns, np.concatenate([known, metrics.values]))


def _issue(scenario: Scenario, name: str, metrics: Metrics, target: dict[str, Any]) -> Case:
    asked = target["target"]
    within = np.flatnonzero(metrics.times > float(asked["timestamp"]))
    begin = int(within[0]) if len(within) else BEFORE
    return Case(
        name=name,
        group=scenario.name,
        kind=str(asked["metric"]),
        truth=str(target["root_cause"]["node"]),
        window=_window(metrics.times[begin], metrics.times[-1]),
        observe=lambda: observed(scenario, _after_normal(scenario, metrics)),
        symptom=Symptom(str(asked["node"]), _ROLES[asked["metric"]]),
    )


def _window(first_s: float, last_s: float) -> Window:
    return Window(int(first_s) * 1_000_000_000, int(last_s) * 1_000_000_000 + STEP_NS, STEP_NS)


def observed(scenario: Scenario, metrics: Metrics) -> Observed:
    """Metrics as signals: availability as the share of failures."""
    times = (metrics.times * 1e9).astype(np.int64)
    loads = {
        node: metrics.values[:, at] for at, (node, metric, _) in enumerate(metrics.columns) if metric == "requests"
    }
    tables = []
    for at, (node, metric, statistic) in enumerate(metrics.columns):
        if metric not in _ROLES:
            continue
        value = 1 - metrics.values[:, at] / 100 if metric == "availability" else metrics.values[:, at]
        texts = [
            pa.array([text] * len(times), pa.string())
            for text in (node, "", f"{metric} {statistic}", _ROLES[metric].value)
        ]
        tables.append(pa.table([pa.array(times), *texts, pa.array(value), pa.array(loads[node])], schema=SIGNALS))
    nodes = {column[0] for column in metrics.columns}
    remote = frozenset(node for node in nodes if node.endswith(("_remote", "_client")))
    return Observed(pa.concat_tables(tables), scenario.calls, remote=remote)


def _metrics(file: Path) -> Metrics:
    with _read_as(file, "a PetShop metrics file"), file.open(newline="") as opened:
        rows = list(csv.reader(opened))
        columns = tuple((node, metric, how) for node, metric, how in zip(*(row[1:] for row in rows[:3]), strict=True))
        body = [row for row in rows[3:] if row and _is_number(row[0])]
        values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in body], dtype=np.float64)
        if values.shape != (len(body), len(columns)) or not body:
            raise ValueError("no rows of numbers under the three rows of names")
        return Metrics(np.array([float(row[0]) for row in body]), columns, values)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _calls(file: Path) -> pa.Table:
    with _read_as(file, "a table of who calls whom"), file.open(newline="") as opened:
        head, *rows = list(csv.reader(opened))
        flags = [(row[0], *each) for row in rows for each in zip(head[1:], row[1:], strict=True)]
        edges = [(caller, callee) for caller, callee, flag in flags if float(flag or 0) > 0]
    return pa.table([pa.array([edge[side] for edge in edges], pa.string()) for side in (0, 1)], schema=CALLS)


def _target(file: Path) -> dict[str, Any]:
    with _read_as(file, "a PetShop target with target and root_cause"):
        found: dict[str, Any] = json.loads(file.read_text())
        asked = found["target"]
        if asked["metric"] not in _ROLES or not isinstance(found["root_cause"]["node"], str):
            raise ValueError(f"metric {asked['metric']} is none of {', '.join(_ROLES)}")
        float(asked["timestamp"]), str(asked["node"])
    return found


@contextlib.contextmanager
def _read_as(file: Path, what: str) -> Iterator[None]:
    """What goes wrong in reading is said of the file, with what it should have been."""
    try:
        yield
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not {what}: {error}") from error
