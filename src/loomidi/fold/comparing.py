"""What a Fold changed: the traffic that it is about before, during and after it, and what would have come without it.

Called by `loomidi fold compare`. Pure. In: a Fold, and `Replay`s of its match over three spans, as `spans` names them.
Out: `Compared`, with probes and end of the Fold beside. Without the Fold the traffic before is taken to go on at its
rate: an assumption, and told as one. What the lake does not know stays unknown; reading it is left to the caller.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Refused, Replay, Step
from loomidi.fold.operator.views import View
from loomidi.fold.resources.objects import nanoseconds

BEFORE, DURING, AFTER = "before", "during", "after"
LONGEST_NS = 3600 * 10**9  # of the spans before and after
SHORTEST_NS = 60 * 10**9
ASSUMED = "without it the traffic of before goes on at its rate"
Span = tuple[int, int]


class NotBegun(Refused):
    """It never touched anything: ask what it would have cut (`loomidi fold radius`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """With and without. Octets and flows are of the traffic that the Fold is about."""

    fold: str  # key
    phase: str
    spans: Mapping[str, Span]
    seen: Mapping[str, Replay]  # by span
    without_octets: int | None  # that would have come while it was in force, by the rate before; None: not known
    without_flows: int | None
    kept_off_octets: int | None  # of these, that did not come; less than 0: more came than before
    probes: tuple[tuple[str, bool, str], ...]  # name, whether it held last, what was seen
    back: str  # what was heard after its end; '' where nobody listened

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        seen = {name: one.as_dict() for name, one in self.seen.items()}
        spans = {name: list(span) for name, span in self.spans.items()}
        return plain | {"seen": seen, "spans": spans, "assumed": ASSUMED, "probes": [list(one) for one in self.probes]}


def spans(view: View, now_ns: int) -> dict[str, Span]:
    """Of as much time before and after as it was in force, a minute at least and an hour at most.

    Raises NotBegun. After is left out while it is in force, or where no time has passed since.
    """
    if view.applied is None:
        raise NotBegun(
            f"{view.key} is {view.phase or 'new'}: it never touched anything; `loomidi fold radius` says more"
        )
    begun_ns = nanoseconds(view.applied["atTime"])
    ends = [nanoseconds(one["atTime"]) for one in view.receipts if one["step"] in (Step.UNDONE, Step.EXPIRED)]
    ended_ns = min(ends[-1] if ends else now_ns, now_ns)
    long_ns = min(LONGEST_NS, max(SHORTEST_NS, ended_ns - begun_ns))
    found = {BEFORE: (begun_ns - long_ns, begun_ns), DURING: (begun_ns, max(ended_ns, begun_ns + 1))}
    after = (ended_ns, min(now_ns, ended_ns + long_ns))
    return found | ({AFTER: after} if ends and after[1] > after[0] else {})


def compared(view: View, times: Mapping[str, Span], seen: Mapping[str, Replay]) -> Compared:
    """`seen`: of each span."""
    told = tuple((one["name"], bool(one["holds"]), one.get("message", "")) for one in view.status.get("probes") or ())
    before, during = seen[BEFORE], seen[DURING]
    octets = flows = None
    if before.measured:
        share = _long(times[DURING]) / _long(times[BEFORE])
        octets, flows = round(before.octets * share), round(before.flows * share)
    kept_off = octets - during.octets if octets is not None and during.measured else None
    back = str(view.condition("Back").get("message", ""))
    return Compared(view.key, str(view.phase or ""), times, seen, octets, flows, kept_off, told, back)


def _long(span: Span) -> int:
    return span[1] - span[0]
