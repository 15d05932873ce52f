"""The fallback: a random walk over the calls that ends where deviations are.

Called by `ranking` when no entity keeps enough blame. In: deviations, the graph, the symptom. Out: how often each
entity is visited. Personalised PageRank from the symptom along the calls, weighted by how far the callee is off.
"""

import numpy as np

from loomidi.origami.causes.deviating import Array, Deviations
from loomidi.origami.causes.explaining import System
from loomidi.origami.causes.settings import CauseSettings


def reached(graph: System, start: int) -> Array:
    """Everything that an entity rests on: its callees, their callees and all their hosts."""
    seen = np.zeros(graph.size, dtype=bool)
    todo = [start]
    while todo:
        at = todo.pop()
        if not seen[at]:
            seen[at] = True
            todo += [*graph.callees.get(at, ()), *graph.hosts.get(at, ())]
    return seen


def walk(found: Deviations, graph: System, start: int, settings: CauseSettings) -> Array:
    """Visits of a walk that restarts at the symptom; entities without any deviation are not visited."""
    off = np.zeros(graph.size)
    np.maximum.at(off, found.entity, np.log1p(np.maximum(found.deviation, 0)))
    step = np.zeros((graph.size, graph.size))
    for at in range(graph.size):
        for next_ in (*graph.callees.get(at, ()), *graph.hosts.get(at, ())):
            step[at, next_] = off[next_]
        step[at, at] = off[at]  # to stay is likelier where the deviation is larger than those below it
    total = step.sum(axis=1, keepdims=True)
    step = np.divide(step, total, out=np.zeros_like(step), where=total > 0)
    begin = np.zeros(graph.size)
    if start < 0:
        return begin
    begin[start] = 1.0
    visits = begin
    for _ in range(settings.rounds):
        visits = settings.walk_return * begin + (1 - settings.walk_return) * visits @ step
    return visits * (off > 0)
