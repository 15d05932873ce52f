"""Failures that spread along the call graph, one after the other, and in which direction.

Called by whoever knows what fails and who calls whom. In: since when each entity has failed, and calls. Out: `Finding`s
of pattern `failure_cascade`, one for each connected set of failing entities, the same id while it grows. Upwards: a
dependency fails, its callers follow. Downwards: a caller is first, and what it calls follows, as with retries without
a budget. Who is at fault within one moment is left to `origami.causes`; this one only reads the order of time.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.records import content_id

SOURCE = "origami.forecasts.cascading"
UP, DOWN, MIXED = "from the dependency to its callers", "from the caller to what it calls", "in both directions"


@dataclasses.dataclass(frozen=True, slots=True)
class CascadeSettings:
    """What belongs together."""

    least: int = 3
    # Entities that fail: two are one failing call, seen from both ends.
    lag_s: float = 120.0
    # Within which the failure of one end of a call must follow that of the other.
    apart_s: float = 1.0
    # Less than that is at the same time and tells no direction.
    agree: float = 0.75
    # Share of the calls with an order that must say the same.
    most: int = 4096
    # Entities that are looked at, those that failed first.


class Cascades:
    """Remembers nothing: what has failed since when is given, so the same answer comes of the same facts."""

    def __init__(self, settings: CascadeSettings | None = None) -> None:
        self.settings = settings or CascadeSettings()

    def look(self, at_ns: int, failing: Mapping[str, int], calls: Iterable[tuple[str, str]]) -> list[Finding]:
        """`failing`: entity -> ns since the epoch. `calls`: (caller, callee). Findings, the oldest first."""
        first = dict(sorted(failing.items(), key=lambda one: (one[1], one[0]))[: self.settings.most])
        lag = self.settings.lag_s * 1e9
        joined = {
            (caller, callee)
            for caller, callee in calls
            if caller != callee and caller in first and callee in first and abs(first[caller] - first[callee]) <= lag
        }
        return [
            self._finding(at_ns, members, first, [call for call in joined if call[0] in members])
            for members in _connected(first, joined)
            if len(members) >= self.settings.least
        ]

    def _finding(
        self, at_ns: int, members: list[str], first: Mapping[str, int], calls: list[tuple[str, str]]
    ) -> Finding:
        direction, share = self._direction(first, calls)
        origin, depth = members[0], _depth(members[0], calls)
        spread = (first[members[-1]] - first[origin]) / 1e9
        evidence = (
            Evidence("failing", len(members), self.settings.least, "entities", "connected by calls"),
            Evidence("direction", direction, None, "", "in which failure followed failure"),
            Evidence("agreeing", round(share, 2), self.settings.agree, "1", "of the calls whose two ends failed apart"),
            Evidence("depth", depth, None, "calls", f"from {origin}, which failed first, to the farthest"),
            Evidence("spread", round(spread, 1), None, "s", "from the first failure to the last"),
            Evidence("order", " > ".join(members[:8]), None, "", "by when each began to fail"),
        )
        return Finding(
            id=content_id("finding", ["failure_cascade", origin, first[origin]]),
            pattern="failure_cascade",
            techniques=(),
            severity=Severity.HIGH,
            confidence=round(0.5 + 0.45 * share, 3) if direction != MIXED else 0.5,
            entities=tuple(members),
            first_ns=first[origin],
            last_ns=at_ns,
            evidence=evidence,
            source=SOURCE,
        )

    def _direction(self, first: Mapping[str, int], calls: list[tuple[str, str]]) -> tuple[str, float]:
        """What most calls with an order say, and how many of them."""
        apart = [(first[caller] - first[callee]) / 1e9 for caller, callee in calls]
        up = sum(one >= self.settings.apart_s for one in apart)
        down = sum(one <= -self.settings.apart_s for one in apart)
        if not up + down:
            return MIXED, 0.0
        share = max(up, down) / (up + down)
        if share < self.settings.agree:
            return MIXED, share
        return (UP if up > down else DOWN), share


def _connected(first: Mapping[str, int], calls: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Sets of entities that calls connect, each in order of time; `first` is in that order."""
    beside = defaultdict[str, set[str]](set)
    for caller, callee in calls:
        beside[caller].add(callee)
        beside[callee].add(caller)
    order = {entity: at for at, entity in enumerate(first)}
    left, out = set(beside), list[list[str]]()
    for entity in first:
        if entity not in left:
            continue
        members, todo = {entity}, [entity]
        while todo:
            new = beside[todo.pop()] - members
            members |= new
            todo.extend(new)
        left -= members
        out.append(sorted(members, key=order.__getitem__))
    return out


def _depth(origin: str, calls: Iterable[tuple[str, str]]) -> int:
    """Calls between the origin and what is farthest from it."""
    beside = defaultdict[str, set[str]](set)
    for caller, callee in calls:
        beside[caller].add(callee)
        beside[callee].add(caller)
    seen, edge, depth = {origin}, {origin}, 0
    while edge := {other for one in edge for other in beside[one]} - seen:
        seen |= edge
        depth += 1
    return depth
