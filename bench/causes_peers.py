"""Peers of root cause analysis, each given the same cases; called by causes.py.

Plain ones are written down here as their authors describe them; BARO is the authors' own package (`fse-baro`). A method
takes a case and what was observed and gives scores of entities.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from loomidi.origami.causes import CauseSettings, Observed, Role
from loomidi.origami.causes.deviating import deviations
from loomidi.services.benching.cases import Case
from loomidi.services.benching.scoring import Method

NODE_ROLES = (Role.RESOURCE, Role.LATENCY, Role.ERRORS, Role.TRAFFIC)
PAST = 60  # steps that the metric peers look back
ANOMALOUS = 5.0  # deviations by median and MAD, as PetShop's authors take it


def node_metrics(case: Case, observed: Observed) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Metrics of entities alone, without traces and edges: names, past and window as steps times metrics."""
    window = case.window
    series: dict[tuple[str, str], dict[int, float]] = {}
    table = observed.signals.select(["time_ns", "entity", "peer", "signal", "role", "value", "samples"]).to_pydict()
    traced = {"latency", "requests", "failed"}  # what SpanSums calls its signals of entities
    for at, entity, peer, signal, role, value in zip(*list(table.values())[:6], strict=True):
        step = (at - window.start_ns) // window.step_ns
        if (
            not peer
            and role in NODE_ROLES
            and signal not in traced
            and step >= -PAST
            and at < window.end_ns
            and value is not None
        ):
            series.setdefault((entity, signal), {})[step] = value
    last = (window.end_ns - window.start_ns) // window.step_ns
    names = sorted(series)
    values = np.array([[series[name].get(step, np.nan) for name in names] for step in range(-PAST, last)])
    return names, values[:PAST], values[PAST:]


def z_score(case: Case, observed: Observed) -> Mapping[str, float]:
    """The largest deviation of any metric, in standard deviations of its past."""
    names, past, now = node_metrics(case, observed)
    with np.errstate(all="ignore"):
        spread = np.nanstd(past, axis=0)
        off = np.nanmax(np.abs(now - np.nanmean(past, axis=0)), axis=0) / np.where(spread > 0, spread, np.nan)
    return _best(names, np.nan_to_num(off, nan=0.0, posinf=0.0))


def unexplained(case: Case, observed: Observed) -> Mapping[str, float]:
    """Ablation: our own signals and strengths, edges counted for the callee, nothing explained away."""
    found = deviations(observed, case.window, CauseSettings())
    at = [int(peer) if peer >= 0 else int(entity) for entity, peer in zip(found.entity, found.peer, strict=True)]
    rows = [row for row, role in enumerate(found.role) if role is not Role.TRAFFIC]
    return _best([(found.names[at[row]], "") for row in rows], found.strength[rows])


def baro(case: Case, observed: Observed) -> Mapping[str, float]:
    """BARO's robust scorer, given the time of the onset; an entity stands where its first metric does."""
    import pandas as pd
    from baro.root_cause_analysis import robust_scorer

    names, past, now = node_metrics(case, observed)
    columns = {
        f"{entity}\x1f{signal}": values
        for (entity, signal), values in zip(names, np.concatenate([past, now]).T, strict=True)
    }
    data = pd.DataFrame({"time": np.arange(len(past) + len(now)), **columns}).ffill().bfill().fillna(0.0)
    ranks = robust_scorer(data, inject_time=len(past))["ranks"]
    scores: dict[str, float] = {}
    for place, name in enumerate(ranks):
        scores.setdefault(name.split("\x1f")[0], float(len(ranks) - place))
    return scores


def traversal(case: Case, observed: Observed) -> Mapping[str, float]:
    """Anomalous entities none of whose callees is anomalous, on an anomalous path to the target; its scores summed."""
    off, _ = _anomalous(case, observed)
    target = case.symptom.entity if case.symptom else ""
    if target not in off:
        return {}
    callees: dict[str, set[str]] = {}
    for caller, callee in zip(observed.calls["caller"].to_pylist(), observed.calls["callee"].to_pylist(), strict=True):
        callees.setdefault(caller, set()).add(callee)
    scores: dict[str, float] = {}
    todo: list[tuple[str, tuple[str, ...]]] = [(target, (target,))]
    while todo:
        at, path = todo.pop()
        below = [callee for callee in callees.get(at, ()) if callee in off and callee not in path]
        todo += [(callee, (*path, callee)) for callee in below]
        if not below:
            scores[at] = max(scores.get(at, 0.0), sum(off[name] for name in path))
    return scores


def ranked_correlation(case: Case, observed: Observed) -> Mapping[str, float]:
    """Anomalous entities by how their metric moves with the target's in the window and two steps before."""
    off, series = _anomalous(case, observed)
    target = case.symptom.entity if case.symptom else ""
    if target not in off:
        return {}
    scores = {}
    for name in off:
        both = np.isfinite(series[name]) & np.isfinite(series[target])
        if name != target and both.sum() > 2 and np.std(series[name][both]) > 0 and np.std(series[target][both]) > 0:
            scores[name] = float(abs(np.corrcoef(series[name][both], series[target][both])[0, 1]))
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:3])


def _anomalous(case: Case, observed: Observed) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Entities over the limit at the first step at which the target is, by the target's metric; and their series."""
    window, symptom = case.window, case.symptom
    assert symptom is not None
    signal = {"latency": "latency Average", "errors": "availability Average"}[symptom.role.value]
    series: dict[str, dict[int, float]] = {}
    rows = observed.signals.filter(pc.equal(observed.signals["signal"], signal))
    columns = [rows[name].to_pylist() for name in ("time_ns", "entity", "value")]
    for at, entity, value in zip(*columns, strict=True):
        if at < window.end_ns:
            series.setdefault(entity, {})[(at - window.start_ns) // window.step_ns] = np.nan if value is None else value
    steps = (window.end_ns - window.start_ns) // window.step_ns
    off: dict[int, dict[str, float]] = {step: {} for step in range(steps)}
    for entity, values in series.items():
        past = np.array([value for step, value in values.items() if step < 0])
        past = past[np.isfinite(past)]
        if len(past) < 10:
            continue
        middle = float(np.median(past))
        mad = 1.4826 * float(np.median(np.abs(past - middle)))
        scale, limit = (mad, ANOMALOUS) if mad > 0 else (1.0, 0.0)
        for step, found in off.items():
            score = abs(values.get(step, np.nan) - middle) / scale
            if score > limit:
                found[entity] = float(score)
    first = next((found for found in off.values() if symptom.entity in found), {})
    near = {
        entity: np.array([values.get(step, np.nan) for step in range(-2, steps)]) for entity, values in series.items()
    }
    return first, near


def _best(names: list[tuple[str, str]], values: Any) -> dict[str, float]:
    best: dict[str, float] = {}
    for (entity, _), value in zip(names, values, strict=True):
        best[entity] = max(best.get(entity, 0.0), float(value))
    return {entity: value for entity, value in best.items() if value > 0}


BARO_IS_THERE = importlib.util.find_spec("baro") is not None
NEZHA: dict[str, Method] = {"z-score": z_score, "nothing explained": unexplained} | (
    {"BARO": baro} if BARO_IS_THERE else {}
)
PETSHOP: dict[str, Method] = {"traversal": traversal, "ranked correlation": ranked_correlation} | NEZHA
