"""Most likely causes first, each with its evidence.

Called by the bench of root causes and by whoever has an incident. In: `Observed`, the window, the symptom if it is
known. Out: `Cause` records, or the same as a table of `RANKED`. Pure and deterministic: the same input gives the same
answer, bit for bit. What to do about a cause is left to `policy`.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from loomidi.origami.causes.deviating import Array, Deviations, deviations
from loomidi.origami.causes.explaining import Blame, explain, system
from loomidi.origami.causes.observations import RANKED, Cause, Observed, Role, Sign, Symptom, Window
from loomidi.origami.causes.settings import CauseSettings
from loomidi.origami.causes.walking import reached, walk


def rank(
    observed: Observed, window: Window, symptom: Symptom | None = None, settings: CauseSettings | None = None
) -> list[Cause]:
    """Causes of what is wrong in the window; empty when nothing is."""
    settings = settings or CauseSettings()
    found = deviations(observed, window, settings)  # 1 how far is each signal from its own past
    at = _at(found, symptom)
    shown = _alarm(found, at, symptom) if symptom is not None else settings.alarm
    if shown <= 0:
        return []
    graph = system(observed, found)
    blame = explain(found, graph, settings)  # 2 who explains whom away
    scores = _scores(blame, found, observed, settings)  # 3 what stays with each
    if at >= 0:
        scores = np.where(reached(graph, at), scores, 0.0)  # 4 only what the symptom rests on
    if symptom is not None and shown < settings.alarm and scores.max(initial=0.0) < settings.sure:
        return []
    if scores.max(initial=0.0) > 0:
        return _causes(found, blame, scores, settings)
    if symptom is None:
        return []
    return _causes(found, blame, walk(found, graph, at, settings), settings, "walk")  # 5 nobody stands out: a walk


def as_table(causes: Sequence[Cause]) -> pa.Table:
    """The same as Arrow, evidence as plain lines."""
    rows = [
        {
            "rank": place,
            "entity": cause.entity,
            "score": cause.score,
            "share": cause.share,
            "kind": cause.kind,
            "evidence": [sign.told() for sign in cause.signs],
        }
        for place, cause in enumerate(causes, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=RANKED)


def _at(found: Deviations, symptom: Symptom | None) -> int:
    return found.names.index(symptom.entity) if symptom is not None and symptom.entity in found.names else -1


def _alarm(found: Deviations, at: int, symptom: Symptom) -> float:
    rows = [row for row in found.where(symptom.role) if found.entity[row] == at]
    return max((float(found.strength[row]) for row in rows if symptom.signal in ("", found.signal[row])), default=0.0)


def _scores(blame: Blame, found: Deviations, observed: Observed, settings: CauseSettings) -> Array:
    weights = {
        Role.RESOURCE: settings.resource_weight,
        Role.SELF: settings.self_weight,
        Role.BRANCH: settings.branch_weight,
        Role.CALLS: settings.calls_weight,
        Role.GAP: settings.gap_weight,
        Role.LATENCY: settings.latency_weight,
        Role.ERRORS: settings.error_weight,
    }
    scores: Array = sum((weight * blame.stays[role] for role, weight in weights.items()), np.zeros(len(found.names)))
    remote = np.array([name in observed.remote for name in found.names], dtype=bool)
    return np.where(remote, settings.remote_weight * scores, scores)


def _causes(found: Deviations, blame: Blame, scores: Array, settings: CauseSettings, kind: str = "") -> list[Cause]:
    order = sorted(np.flatnonzero(scores > 0).tolist(), key=lambda at: (-scores[at], found.names[at]))
    total = float(scores.sum())
    causes = []
    for at in order[: settings.most]:
        signs = tuple(
            Sign(
                signal=found.signal[row],
                role=found.role[row],
                peer=found.names[found.peer[row]] if found.peer[row] >= 0 else "",
                past=float(found.past[row]),
                now=float(found.now[row]),
                deviation=float(found.deviation[row]),
                strength=float(found.strength[row]),
                explained=tuple((found.names[by], share) for by, share in blame.explained.get(row, ())),
            )
            for row in _rows(found, at)
        )
        strongest = max(blame.stays, key=lambda role: blame.stays[role][at])
        causes.append(
            Cause(found.names[at], float(scores[at]), float(scores[at]) / total, kind or strongest.value, signs)
        )
    return causes


def _rows(found: Deviations, at: int) -> list[int]:
    """The strongest signs of an entity and of the edges around it."""
    mine = [row for row in found.where(*Role) if at in (found.entity[row], found.peer[row])]
    return sorted(mine, key=lambda row: (-found.strength[row], row))[:5]
