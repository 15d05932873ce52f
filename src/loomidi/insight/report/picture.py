"""Places the hosts of a report on a picture: who spoke first on the left, who answered on the right, both in between.

Called by `page`. In: links and findings. Out: nodes with coordinates and arcs, at most `NODES` of them; the other hosts
of a column are collapsed into one node that says how many they are. Deterministic: rows are ordered by the mean row of
their neighbours, ties by name, so that the same report gives the same picture. Leaves drawing to `page`.
"""

import dataclasses
import math
from collections.abc import Sequence

from loomidi.contracts.records import Finding
from loomidi.insight import wording
from loomidi.insight.report.choosing import host
from loomidi.insight.report.records import Link

NODES = 57  # shown one by one; with the three collapsed ones 60
_ROWS = 24  # shown one by one in a column; a flood has thousands of equal senders
_COLUMNS = (0.22, 0.5, 0.78)  # of the width: only initiators, both, only responders
_ROW, _MARGIN, _WIDTH = 24, 30, 1000
_SWEEPS = 6  # of ordering; more changes nothing at this size


@dataclasses.dataclass(slots=True)
class Node:
    """One host, or a heap of hosts."""

    entity: str
    label: str
    column: int
    octets: int
    role: str  # first (to act on), involved, heap, other
    x: float = 0.0
    y: float = 0.0

    @property
    def radius(self) -> float:
        """Grows with the logarithm of the octets."""
        return 4 + min(6, math.log10(1 + self.octets) / 1.6)


@dataclasses.dataclass(frozen=True, slots=True)
class Arc:
    """Traffic between two nodes; `role`: first, involved, other."""

    source: Node
    target: Node
    octets: int
    flows: int
    label: str
    role: str


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """Ready to be drawn in a box of `width` times `height`."""

    nodes: tuple[Node, ...]
    arcs: tuple[Arc, ...]
    width: int
    height: int


def picture(links: Sequence[Link], findings: Sequence[Finding], not_shown: Sequence[int] = (0, 0, 0)) -> Picture:
    """Choose nodes, collapse the rest, order rows, set coordinates. `not_shown`: further hosts per column."""
    first, involved = _roles(findings)
    columns = _columns(links)
    weights = _weights(links)
    order = sorted(columns, key=lambda name: (name not in first, name not in involved, -weights[name], name))
    chosen = _chosen(order, columns)
    shown = {name: _node(name, columns[name], weights[name], (first, involved)) for name in chosen}
    heaps = _heaps([name for name in order if name not in shown], columns, weights, not_shown)
    where = {name: shown.get(name) or heaps[columns[name]] for name in columns}
    arcs = _arcs(links, where, findings)
    nodes = [*shown.values(), *heaps.values()]
    return Picture(tuple(nodes), arcs, _WIDTH, _place(nodes, arcs))


def _roles(findings: Sequence[Finding]) -> tuple[set[str], set[str]]:
    first = {host(finding.entities[0]) for finding in findings if finding.entities}
    involved = {host(entity) for finding in findings for entity in finding.entities[1:]}
    return first, involved - first


def _columns(links: Sequence[Link]) -> dict[str, int]:
    starts, answers = {link.source for link in links}, {link.target for link in links}
    names = dict.fromkeys(end for link in links for end in (link.source, link.target))
    return {name: 1 if name in starts and name in answers else 0 if name in starts else 2 for name in names}


def _chosen(order: Sequence[str], columns: dict[str, int]) -> list[str]:
    """The first of the order, in each column at most `_ROWS`."""
    rows = [0, 0, 0]
    chosen = []
    for name in order:
        rows[columns[name]] += 1
        if rows[columns[name]] <= _ROWS:
            chosen.append(name)
    return chosen[:NODES]


def _weights(links: Sequence[Link]) -> dict[str, int]:
    weights: dict[str, int] = {}
    for link in links:
        for end in (link.source, link.target):
            weights[end] = weights.get(end, 0) + link.octets
    return weights


def _node(name: str, column: int, octets: int, roles: tuple[set[str], set[str]]) -> Node:
    first, involved = roles
    role = "first" if name in first else "involved" if name in involved else "other"
    return Node(name, wording.name(name), column, octets, role)


def _heaps(
    rest: Sequence[str], columns: dict[str, int], weights: dict[str, int], not_shown: Sequence[int]
) -> dict[int, Node]:
    """One node for the hosts of each column that are not shown one by one."""
    heaps: dict[int, Node] = {}
    for column in sorted({columns[name] for name in rest}):
        names = [name for name in rest if columns[name] == column]
        label = wording.plural(len(names) + not_shown[column], "other host")
        heaps[column] = Node(f"heap/{column}", label, column, sum(weights[name] for name in names), "heap")
    return heaps


def _arcs(links: Sequence[Link], where: dict[str, Node], findings: Sequence[Finding]) -> tuple[Arc, ...]:
    sums: dict[tuple[str, str], list[int]] = {}
    labels: dict[tuple[str, str], str] = {}
    nodes = {node.entity: node for node in where.values()}
    for link in links:
        pair = (where[link.source].entity, where[link.target].entity)
        row = sums.setdefault(pair, [0, 0, 0])
        for at, number in enumerate((link.octets, link.flows, link.service_count)):
            row[at] += number
        labels[pair] = wording.listing([wording.printable(name) for name in link.services], 2)
    arcs = []
    for (source, target), (octets, flows, services) in sums.items():
        label = labels[source, target] if services <= 2 else wording.plural(services, "service")
        role = _arc_role({source, target}, findings)
        arcs.append(Arc(nodes[source], nodes[target], octets, flows, label, role))
    return tuple(sorted(arcs, key=lambda arc: (_RANK.index(arc.role), arc.octets)))  # what matters is drawn last


_RANK = ("other", "involved", "first")


def _arc_role(ends: set[str], findings: Sequence[Finding]) -> str:
    """`first` between hosts of one finding; `involved` at the only host of one, whose attackers may be anybody."""
    hosts = [{host(entity) for entity in finding.entities} for finding in findings]
    if any(len(found & ends) == 2 for found in hosts):
        return "first"
    return "involved" if any(len(found) == 1 and found & ends for found in hosts) else "other"


def _place(nodes: Sequence[Node], arcs: Sequence[Arc]) -> int:
    """Set x and y of every node; give the height that is needed."""
    rows = {column: sorted((n for n in nodes if n.column == column), key=_importance) for column in range(3)}
    height = 2 * _MARGIN + _ROW * max([len(row) for row in rows.values()] + [3])
    beside: dict[str, list[Node]] = {node.entity: [] for node in nodes}
    for arc in arcs:
        beside[arc.source.entity].append(arc.target)
        beside[arc.target.entity].append(arc.source)
    for _ in range(_SWEEPS):
        for column, row in rows.items():
            _stand(row, _WIDTH * _COLUMNS[column], height)
            row.sort(key=lambda node: (_mean([other.y for other in beside[node.entity]], node.y), node.entity))
            _stand(row, _WIDTH * _COLUMNS[column], height)
    return height


def _importance(node: Node) -> tuple[bool, int, str]:
    return node.role == "heap", -node.octets, node.entity


def _stand(row: Sequence[Node], x: float, height: int) -> None:
    """Evenly from top to bottom, few nodes in the middle."""
    gap = min(3 * _ROW, (height - 2 * _MARGIN) / max(len(row), 1))
    top = height / 2 - gap * (len(row) - 1) / 2
    for at, node in enumerate(row):
        node.x, node.y = x, top + at * gap


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
