"""What a run has to show, as one JSON document: docs/model-report.schema.json describes it, `insight` draws it.

Called by `services.anomalies.modelling`. In: a stream, a trial of a model on its test part. Out: plain dicts and lists.
Thresholds are those that the model runs with (its own p-values, from the past); one taken from the test says so.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.origami.scoring.manifests import Manifest, Model
from loomidi.origami.train.gating import found, known, usual_of
from loomidi.origami.train.streams import Stream
from loomidi.origami.train.trying import Trial

FORMAT = 1
_LEVELS = (0.1, 0.03, 0.01, 0.003, 1e-3, 3e-4, 1e-4)
_RATES = (1e-2, 1e-3, 1e-4)
_POINTS, _BLOCKS, _EXAMPLES, _REASONS = 60, 48, 20, 4
_DAY_NS = 86_400 * 10**9
_Z = 1.959964  # two-sided 95 %


def document(model: Model, stream: Stream, trial: Trial, nominal: float) -> dict[str, Any]:
    """Everything that one trial shows."""
    found_by = {
        "format": FORMAT,
        "model": about(model.manifest),
        "data": _data(stream),
        "nominal": nominal,
        "alarms": _alarms(stream, trial, nominal),
        "calibration": _calibration(stream, trial),
        "latency": _latency(trial),
        "promises": dict(trial.broken),
        "apart": round(trial.apart, 4),
        "false_alarms": _false_alarms(model, stream, trial, nominal),
    }
    if stream.labelled and known(stream):
        found_by |= {
            "at": [_at(stream, trial, rate) for rate in _RATES],
            "precision_recall": _curve(stream, trial),
            **_by_incident(stream, trial, nominal),
        }
    return found_by


def about(manifest: Manifest) -> dict[str, Any]:
    """Who it is."""
    names = ("id", "name", "version", "kind", "seed", "run", "schema_hash", "made_ns")
    plain = {name: getattr(manifest, name) for name in names}
    return plain | {
        "features": list(manifest.features),
        "settings": dict(manifest.settings),
        "data": dict(manifest.data),
    }


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); the whole of 0 to 1 where nothing was counted."""
    if not count:
        return 0.0, 1.0
    share, z2 = hits / count, _Z * _Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def summary(stream: Stream, strange: npt.NDArray[np.float64], nominal: float) -> dict[str, float]:
    """One seed or ablation in three figures."""
    usual = usual_of(stream)
    ratio = float(np.mean(strange[usual] >= -math.log10(nominal)) / nominal) if usual.any() else math.nan
    told: dict[str, float] = {"alarms": round(ratio, 4)}
    if stream.labelled and known(stream):
        told |= {f"recall_at_{rate:g}": round(float(found(stream, strange, rate)[0].mean()), 4) for rate in _RATES[1:]}
    return told


def _data(stream: Stream) -> dict[str, Any]:
    times, test = stream.seen.times_ns, stream.incident[stream.calibrate :]
    return {
        **dict(stream.data),
        "edges": len(times),
        "train": stream.train,
        "calibrate": stream.calibrate - stream.train,
        "test": len(times) - stream.calibrate,
        "from_ns": int(times[0]),
        "to_ns": int(times[-1]),
        "labelled": stream.labelled,
        "incidents": len(known(stream)),
        "base_rate": float(np.mean(test >= 0)),
    }


def _alarms(stream: Stream, trial: Trial, nominal: float) -> dict[str, Any]:
    times, usual = stream.seen.times_ns[stream.calibrate :], usual_of(stream)
    alarms = trial.alarms(nominal) & usual
    edges = np.linspace(times[0], times[-1] + 1, _BLOCKS + 1)
    block = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, _BLOCKS - 1)
    many, told = (np.bincount(block[mask], minlength=_BLOCKS) for mask in (usual, alarms))
    days = max((int(times[-1]) - int(times[0])) / _DAY_NS, 1e-9)
    return {
        "told": int(alarms.sum()),
        "usual": int(usual.sum()),
        "times_nominal": float(alarms.sum() / max(nominal * usual.sum(), 1e-9)),
        "per_day": float(alarms.sum() / days),
        "blocks": [{"from_ns": int(edges[at]), "usual": int(many[at]), "told": int(told[at])} for at in range(_BLOCKS)],
    }


def _calibration(stream: Stream, trial: Trial) -> list[dict[str, float]]:
    strange = trial.strange[usual_of(stream)]
    rows = list[dict[str, float]]()
    for level in _LEVELS:
        hits = int(np.sum(strange >= -math.log10(level)))
        low, high = wilson(hits, len(strange))
        rows.append({"nominal": level, "realised": hits / max(len(strange), 1), "low": low, "high": high})
    return rows


def _latency(trial: Trial) -> dict[str, float]:
    if not len(trial.latencies_ms):
        return {"ticks": 0}
    p50, p99 = np.quantile(trial.latencies_ms, (0.5, 0.99)).tolist()
    return {"ticks": len(trial.latencies_ms), "p50_ms": p50, "p99_ms": p99}


def _at(stream: Stream, trial: Trial, rate: float) -> dict[str, float]:
    """Recall of incidents where the threshold is taken on the test: for comparing models."""
    hits, used = found(stream, trial.strange, rate)
    low, high = wilson(int(hits.sum()), len(hits))
    return {"fpr": rate, "used": used, "recall": float(hits.mean()), "low": low, "high": high, "incidents": len(hits)}


def _curve(stream: Stream, trial: Trial) -> list[dict[str, float]]:
    """Share of incidents found, and precision of edges at the base rate of this stream, by threshold."""
    usual, attack = usual_of(stream), stream.incident[stream.calibrate :] >= 0
    strange = np.nan_to_num(trial.strange, nan=-1.0)
    tops = np.array([strange[rows].max() for rows in known(stream)])
    benign = np.sort(strange[usual])
    rows = list[dict[str, float]]()
    for share in np.geomspace(1 / max(len(benign), 2), 0.5, _POINTS).tolist():
        limit = benign[max(len(benign) - 1 - int(share * len(benign)), 0)]
        hits, false = int(np.sum(strange[attack] > limit)), int(np.sum(benign > limit))
        rows.append(
            {
                "fpr": false / max(len(benign), 1),
                "recall": float(np.mean(tops > limit)),
                "edge_recall": hits / max(int(attack.sum()), 1),
                "precision": hits / max(hits + false, 1),
            }
        )
    return rows


def _by_incident(stream: Stream, trial: Trial, nominal: float) -> dict[str, Any]:
    """By the model's own threshold: what was found when, by family; and what was missed."""
    times, number = stream.seen.times_ns[stream.calibrate :], stream.incident[stream.calibrate :]
    alarms, families = trial.alarms(nominal), dict[str, list[float | None]]()
    misses = list[dict[str, Any]]()
    for rows in known(stream):
        incident = stream.incidents[int(number[rows[0]])]
        told = rows[alarms[rows]]
        begins = max(incident.first_ns, int(times[0]))
        delay = max(int(times[told[0]]) - begins, 0) / 1e9 if len(told) else None
        families.setdefault(incident.family, []).append(delay)
        if delay is None:
            misses.append(_miss(stream, trial, rows, incident.family))
    delays = sorted(delay for some in families.values() for delay in some if delay is not None)
    return {
        "families": [_family(name, some) for name, some in sorted(families.items())],
        "delay": {"found": len(delays), "each_s": delays, **_quantiles(delays)},
        "misses": sorted(misses, key=lambda miss: -miss["edges"])[:_EXAMPLES],
        "missed": len(misses),
    }


def _family(name: str, delays: list[float | None]) -> dict[str, Any]:
    hits = [delay for delay in delays if delay is not None]
    low, high = wilson(len(hits), len(delays))
    share = len(hits) / len(delays)
    return {"family": name, "incidents": len(delays), "found": len(hits), "recall": share, "low": low, "high": high} | (
        _quantiles(hits)
    )


def _quantiles(delays: list[float]) -> dict[str, float]:
    if not delays:
        return {}
    return dict(zip(("p50_s", "p95_s"), np.quantile(delays, (0.5, 0.95)).tolist(), strict=True))


def _miss(stream: Stream, trial: Trial, rows: npt.NDArray[np.int64], family: str) -> dict[str, Any]:
    strange = np.nan_to_num(trial.strange[rows], nan=0.0)
    at = int(rows[int(np.argmax(strange))])
    return {"family": family, "edges": len(rows), "p_value": float(10 ** -strange.max()), **_edge(stream, at)}


def _false_alarms(model: Model, stream: Stream, trial: Trial, nominal: float) -> list[dict[str, Any]]:
    """The strangest usual edges that were told, each pair once, with what was unusual about them."""
    alarms = np.flatnonzero(trial.alarms(nominal) & usual_of(stream))
    order = alarms[np.argsort(-trial.strange[alarms], kind="stable")]
    pairs, out = set[tuple[str, str]](), list[dict[str, Any]]()
    for at in order[: 50 * _EXAMPLES].tolist():
        edge = _edge(stream, at)
        pair = (edge["source"], edge["destination"])
        if pair in pairs:
            continue
        pairs.add(pair)
        out.append({"p_value": float(10 ** -trial.strange[at]), **edge, "reasons": reasons(model, stream, at)})
        if len(out) == _EXAMPLES:
            break
    return out


def reasons(model: Model, stream: Stream, at: int) -> list[dict[str, Any]]:
    """The features of an edge of the test that are furthest from usual, with their values and shares."""
    row = stream.calibrate + at
    off = model.reasons().deviations(stream.seen.values[row : row + 1])[0]
    share = off / max(float(off.sum()), 1e-12)
    return [
        {
            "feature": stream.features[one],
            "value": float(np.expm1(stream.seen.values[row, one])),
            "share": round(float(share[one]), 4),
        }
        for one in np.argsort(-share)[:_REASONS].tolist()
    ]


def strangest(model: Model, stream: Stream, trial: Trial, most: int) -> list[Mapping[str, Any]]:
    """The edges of the test that a model finds strangest, with their reasons."""
    order = np.argsort(-np.nan_to_num(trial.strange, nan=-1.0), kind="stable")[:most]
    number = stream.incident[stream.calibrate :]
    return [
        {
            "p_value": float(10 ** -trial.strange[at]),
            **_edge(stream, at),
            "family": stream.incidents[int(number[at])].family if number[at] >= 0 else "",
            "reasons": reasons(model, stream, at),
        }
        for at in order.tolist()
    ]


def _edge(stream: Stream, at: int) -> dict[str, Any]:
    """Of the test: when and who."""
    row = stream.calibrate + at
    ends = {end: stream.rows.column(end)[row].as_py() for end in ("source", "destination")}
    return {"at_ns": int(stream.seen.times_ns[row]), **ends}
