"""What a Fold says that it cuts, held against the packets that were delivered before and after.

Called by `bench.fold_exact`. Pure. In: conversations that a Fold states as cut and as going on, and counts of packets
by flow and direction. Out: `Compared`, empty lists where both agree. Both ways count: what was cut and not stated, and
what was stated and goes on.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from loomidi.contracts import Conversation


class Flow(NamedTuple):
    """One service that one address uses of another."""

    client: str
    server: str
    port: int  # of the server; 0 for what has none
    protocol: int

    def __str__(self) -> str:
        return f"{self.client} -> {self.server}:{self.port}/{self.protocol}"


Way = tuple[Flow, bool]  # towards the server, or back
Counts = Mapping[Way, int]  # packets that arrived


@dataclasses.dataclass(frozen=True)
class Compared:
    """One isolation."""

    stated: int  # flows stated as cut, of those that ran
    cut: int  # of those, without a packet after
    spared: int  # flows of the pod stated as going on, of those that ran
    others: int  # flows of others that ran
    packets_before: int
    packets_after: int
    idle: list[str]  # stated, and did not run before: nothing was proven of them
    still_open: list[str]  # stated as cut, and goes on; or new on a pod that is cut
    wrongly_cut: list[str]  # not stated as cut, and silent

    @property
    def exact(self) -> bool:
        """Whether the Fold did what it said."""
        return not (self.idle or self.still_open or self.wrongly_cut)


def compare(
    pod: str, before: Counts, after: Counts, cut: Iterable[Conversation], stays: Iterable[Conversation]
) -> Compared:
    """`pod`: the address that is isolated."""
    ran = {flow for (flow, _), count in before.items() if count}
    cut, stays = tuple(cut), tuple(stays)
    silenced = {flow for flow in ran if any(_is(flow, one) for one in cut)}
    spared = {flow for flow in ran if any(_is(flow, one) for one in stays)}
    idle = [one for one in (*cut, *stays) if not any(_is(flow, one) for flow in ran)]
    open_ones = {flow for (flow, _), count in after.items() if count and flow in silenced}
    new = {
        flow for flow, _ in after if pod in flow[:2] and flow not in ran and not any(_is(flow, one) for one in stays)
    }
    cut_off = {flow for flow, _ in silent(before, after, silenced)}
    return Compared(
        stated=len(silenced),
        cut=len(silenced - open_ones),
        spared=len(spared),
        others=len(ran - silenced - spared),
        packets_before=sum(before.values()),
        packets_after=sum(after.values()),
        idle=sorted(f"{one.client} -> {one.server}:{one.port}/{one.protocol}" for one in idle),
        still_open=sorted(map(str, open_ones | new)),
        wrongly_cut=sorted(map(str, cut_off)),
    )


def silent(before: Counts, after: Counts, but: Iterable[Flow]) -> set[Way]:
    """Ways that had packets before and have none after, of all flows but those."""
    left = set(but)
    return {way for way, count in before.items() if count and way[0] not in left and not after.get(way)}


def stated_of(flows: Iterable[Flow], cut: Iterable[Conversation]) -> set[Flow]:
    """Those that a Fold states as cut."""
    cut = tuple(cut)
    return {flow for flow in flows if any(_is(flow, one) for one in cut)}


def _is(flow: Flow, one: Conversation) -> bool:
    """A port that is not known is any of that protocol."""
    ends = (flow.client, flow.server, flow.protocol) == (one.client, one.server, one.protocol)
    return ends and one.port in (0, flow.port)
