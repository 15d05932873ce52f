"""Who explains whose signs away: blame goes from what suffers to what makes it suffer.

Called by `ranking`. In: deviations, who calls whom, what runs where. Out: `Blame`, what stays with each entity and how
it came there. Four rules, in the order in which they run:

1 a resource that rose no more than its load did is explained by the load
2 a gap between the two sides of calls is laid to the one end that explains most of the edges around it
3 another behaviour towards callees is explained by the callers' other behaviour towards oneself
4 latency and errors are explained by callees, as far as their own excess goes; then passed on, round by round
5 what stays is explained by what an entity rests on: a host that is short of something, a rollout that just came; and
  a host's shortage by the one on it that takes most
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from loomidi.origami.causes.deviating import Array, Deviations
from loomidi.origami.causes.observations import Observed, Role
from loomidi.origami.causes.settings import CauseSettings

Edge = tuple[int, int]
_SILENT = 0.1  # of its usual load: an entity with less has stopped answering, or nobody reaches it
_SUFFERED = (Role.LATENCY, Role.ERRORS, Role.SELF)  # what a shortage on the host may do to those on it
_CHANGED = (*_SUFFERED, Role.RESOURCE, Role.BRANCH, Role.CALLS)  # what another version may do


@dataclasses.dataclass(slots=True)
class Blame:
    """What stays with each entity, by role; and of each row of the deviations, who explains how much of it."""

    stays: dict[Role, Array]
    explained: dict[int, list[tuple[int, float]]]


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """The graph as indexes: callees of each caller, hosts of each entity, usual requests per step."""

    size: int
    callees: dict[int, tuple[int, ...]]
    hosts: dict[int, tuple[int, ...]]
    traffic: dict[int, int]  # entity -> row of its traffic
    per_request: dict[Edge, int]  # edge -> row of its calls per request


def system(observed: Observed, found: Deviations) -> System:
    """The graph of what was observed; edges that only signals know count too."""
    index = {name: at for at, name in enumerate(found.names)}
    called: dict[int, set[int]] = defaultdict(set)
    for caller, callee in zip(*(observed.calls[name].to_pylist() for name in ("caller", "callee")), strict=True):
        called[index[caller]].add(index[callee])
    for row in found.of(Role.CLIENT, Role.SERVER, Role.CALLS, Role.GAP):
        called[int(found.entity[row])].add(int(found.peer[row]))
    placed: dict[int, set[int]] = defaultdict(set)
    for entity, host in zip(*(observed.places[name].to_pylist() for name in ("entity", "host")), strict=True):
        placed[index[entity]].add(index[host])
    return System(
        size=len(found.names),
        callees={at: tuple(sorted(found_ - {at})) for at, found_ in called.items()},
        hosts={at: tuple(sorted(hosts)) for at, hosts in placed.items()},
        traffic={int(found.entity[row]): row for row in found.of(Role.TRAFFIC)},
        per_request={(int(found.entity[row]), int(found.peer[row])): row for row in found.of(Role.CALLS)},
    )


def explain(found: Deviations, graph: System, settings: CauseSettings) -> Blame:
    """Blame of all signs, explained away as far as it goes."""
    blame = Blame({role: np.zeros(graph.size) for role in Role}, defaultdict(list))
    _resources(found, graph, blame)  # 1
    ends = _gaps(found, blame)  # 2
    _behaviour(found, blame)  # 3
    for role in (Role.LATENCY, Role.ERRORS):  # 4
        _inclusive(role, found, graph, ends, blame, settings=settings)
    _places(found, graph, blame, settings)  # 5
    return blame


def _strongest(found: Deviations, rows: Iterable[int]) -> dict[int, int]:
    """For each entity its strongest row; the first of equal ones."""
    best: dict[int, int] = {}
    for row in rows:
        at = int(found.entity[row])
        if at not in best or found.strength[row] > found.strength[best[at]]:
            best[at] = row
    return best


def _resources(found: Deviations, graph: System, blame: Blame) -> None:
    for role in (Role.RESOURCE, Role.SELF):
        for at, row in _strongest(found, found.where(role)).items():
            load = graph.traffic.get(at) if role is Role.RESOURCE else None
            share = 0.0
            if load is not None and found.past[load] > 0 and found.strength[load] > 0 and found.past[row] > 0:
                rise = found.now[row] / found.past[row] - 1
                share = float(np.clip((found.now[load] / found.past[load] - 1) / max(rise, 1e-9), 0, 1))
            if share > 0:
                blame.explained[row].append((at, share))
            blame.stays[role][at] += found.strength[row] * (1 - share)


def _gaps(found: Deviations, blame: Blame) -> dict[Edge, int]:
    """Lay each gap to the end that explains most: share of its edges that are hit, times how hard; greedily."""
    edges: dict[Edge, float] = {}
    for row in found.of(Role.GAP):
        edge = (int(found.entity[row]), int(found.peer[row]))
        edges[edge] = max(edges.get(edge, 0.0), float(found.strength[row]))
    open_edges = {edge for edge, strength in edges.items() if strength > 0}
    around = [(end, side) for side in (1, 0) for end in sorted({edge[side] for edge in open_edges})]
    sides = {(end, side): [edge for edge in edges if edge[side] == end] for end, side in around}
    laid: dict[Edge, int] = {}
    while open_edges:
        worth = {
            (end, side): sum(edges[edge] for edge in mine if edge in open_edges) * _hit(mine, edges)
            for (end, side), mine in sides.items()
        }
        end, side = max(around, key=lambda key: worth[key])
        mine = [edge for edge in sides[end, side] if edge in open_edges]
        if not mine:
            break
        blame.stays[Role.GAP][end] += max(edges[edge] for edge in mine) * _hit(sides[end, side], edges)
        laid |= dict.fromkeys(mine, end)
        open_edges -= set(mine)
    return laid


def _hit(mine: list[Edge], edges: dict[Edge, float]) -> float:
    return sum(edges[edge] > 0 for edge in mine) / len(mine)


def _behaviour(found: Deviations, blame: Blame) -> None:
    asked: dict[int, tuple[int, float]] = {}  # entity -> the caller that asks it differently, how strongly
    for row in found.where(Role.CALLS):
        caller, callee = int(found.entity[row]), int(found.peer[row])
        if found.strength[row] > asked.get(callee, (0, 0.0))[1]:
            asked[callee] = (caller, float(found.strength[row]))
    for role in (Role.CALLS, Role.BRANCH):
        for at, row in _strongest(found, found.where(role)).items():
            strength = float(found.strength[row])
            caller, other = asked.get(at, (at, 0.0))
            share = min(1.0, other / strength) if caller != at else 0.0
            if share > 0:
                blame.explained[row].append((caller, share))
            blame.stays[role][at] += strength * (1 - share)
            blame.stays[role][caller] += strength * share if share else 0.0


def _inclusive(
    role: Role, found: Deviations, graph: System, ends: dict[Edge, int], blame: Blame, *, settings: CauseSettings
) -> None:
    suffering = _strongest(found, found.where(role))
    silent = _silent(found, graph, suffering) if role is Role.ERRORS else {}
    brought = _Brought(role, found, graph, ends)
    share = np.zeros((graph.size, graph.size))
    held = np.zeros(graph.size)
    for at, row in silent.items():
        held[at] += found.strength[row]
    for at, row in suffering.items():
        held[at] += found.strength[row]
        parts = {callee: 1.0 if callee in silent else brought.part(row, callee) for callee in graph.callees.get(at, ())}
        total = sum(parts.values())
        for callee, part in parts.items():
            if part > 0:
                share[at, callee] = settings.passing * part / max(1.0, total)
                blame.explained[row].append((callee, float(share[at, callee])))
    blame.stays[role] += _passed(held, share, settings.rounds)


def _silent(found: Deviations, graph: System, failing: dict[int, int]) -> dict[int, int]:
    """Callees that fell silent while a caller fails: no signal of theirs says so but the missing load."""
    asked = {callee for caller in failing for callee in graph.callees.get(caller, ())}
    return {
        at: row
        for at, row in sorted(graph.traffic.items())
        if at in asked and found.strength[row] > 0 and found.now[row] < _SILENT * found.past[row]
    }


class _Brought:
    """How much of what a caller has too much of its callee has brought in: excess per call, times calls per request."""

    def __init__(self, role: Role, found: Deviations, graph: System, ends: dict[Edge, int]) -> None:
        self._found = found
        self._graph = graph
        self._rows = {(int(found.entity[row]), found.signal[row]): row for row in found.of(role)}
        self._edges: dict[Edge, float] = defaultdict(float)
        for row in found.where(Role.SERVER, Role.CLIENT) if role is Role.LATENCY else ():
            edge = (int(found.entity[row]), int(found.peer[row]))
            if found.role[row] is Role.SERVER or ends.get(edge) != edge[0]:  # else the caller itself made the wait
                self._edges[edge] = max(self._edges[edge], self._excess(row))

    def part(self, row: int, callee: int) -> float:
        """Of the excess of this row, 0..1."""
        found, caller = self._found, int(self._found.entity[row])
        excess = float(found.now[row] - found.past[row])
        theirs = self._rows.get((callee, found.signal[row]))
        brought = max(self._edges.get((caller, callee), 0.0), self._excess(theirs) if theirs is not None else 0.0)
        return min(1.0, brought * self._calls(caller, callee) / excess) if excess > 0 else 0.0

    def _excess(self, row: int) -> float:
        """What a sign has beyond its past, believed the more the stronger it is."""
        strength = float(self._found.strength[row])
        return float(self._found.now[row] - self._found.past[row]) * (1 - 4.0**-strength) if strength > 0 else 0.0

    def _calls(self, caller: int, callee: int) -> float:
        """Calls to the callee per request of the caller: measured, else by both loads, else one."""
        found, graph = self._found, self._graph
        if (row := graph.per_request.get((caller, callee))) is not None:
            return float(found.now[row])
        if caller in graph.traffic and callee in graph.traffic:
            mine, theirs = (float(found.now[graph.traffic[at]]) for at in (caller, callee))
            return theirs / mine if mine > 0 else 1.0
        return 1.0


def _passed(held: Array, share: Array, rounds: int) -> Array:
    """What stays where when each round passes on what is explained; a cycle ends with what little is left in it."""
    keeps = 1 - share.sum(axis=1)
    stays = np.zeros_like(held)
    for _ in range(rounds):
        stays += held * keeps
        held = held @ share
        if held.sum() < 1e-6:
            break
    return stays + held


def _places(found: Deviations, graph: System, blame: Blame, settings: CauseSettings) -> None:
    short = _strongest(found, found.where(Role.RESOURCE, Role.CHANGE))
    rests: dict[int, list[int]] = defaultdict(list)
    for at, places in sorted(graph.hosts.items()):
        for place in (place for place in places if place in short):
            rests[place].append(at)
            changed = found.role[short[place]] is Role.CHANGE
            for role in _CHANGED if changed else _SUFFERED:
                _move(found, blame, (at, place), role, settings.passing * _covers(found, short, at, place, role))
    for place, residents in rests.items():
        takes = [at for at in residents if at in short and found.role[short[place]] is Role.RESOURCE]
        if takes:
            most = max(takes, key=lambda at: (found.strength[short[at]], -at))
            part = min(1.0, float(found.strength[short[most]] / found.strength[short[place]]))
            for role in (*_SUFFERED, Role.RESOURCE):
                _move(found, blame, (place, most), role, settings.passing * part)


def _covers(found: Deviations, short: dict[int, int], at: int, place: int, role: Role) -> float:
    """How far a place's own sign goes to explain a resident's of that role."""
    mine = max((float(found.strength[row]) for row in found.where(role) if found.entity[row] == at), default=0.0)
    return min(1.0, float(found.strength[short[place]]) / mine) if mine > 0 else 0.0


def _move(found: Deviations, blame: Blame, way: tuple[int, int], role: Role, part: float) -> None:
    """Take a part of one's blame to another, and say so at the signs that it came from."""
    source, target = way
    moved = part * blame.stays[role][source]
    if moved <= 0:
        return
    blame.stays[role][source] -= moved
    blame.stays[role][target] += moved
    for row in found.where(role):
        if found.entity[row] == source:
            blame.explained[row].append((target, part))
