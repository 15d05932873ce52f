"""Batches of many links as one stream in which every conversation is counted once, and the graph of the last minutes.

Called by `watching`. In: (link, batch) pairs of a turn. Out: one batch, and how many rows were left out because another
link had told them: a packet between two pods passes both their links, and a node's besides. Memory is bounded.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from loomidi.contracts import Match
from loomidi.contracts.schemas import FLOWS
from loomidi.garden.graph import EntityGraph, Touched
from loomidi.garden.graph.columns import U64, hashes, joined, numbers, texts
from loomidi.loom.flows.links import LinkId

_MOST_OWNED = 500_000  # directions of conversations remembered in each of two generations
_OWNED_NS = 60_000_000_000  # a generation; one that is not seen for two of them is forgotten


class Once:
    """Each direction of a conversation belongs to the link that told it first."""

    def __init__(self) -> None:
        self._young: dict[int, LinkId] = {}
        self._old: dict[int, LinkId] = {}
        self._turned_ns = 0
        self.again = 0  # rows left out so far

    def gather(self, taken: Sequence[tuple[LinkId, pa.RecordBatch]], now_ns: int) -> pa.RecordBatch | None:
        """The rows of a turn that are not another link's, as one batch; None when there are none."""
        self._turn(now_ns)
        kept = [batch for one in taken if (batch := self._own(*one)).num_rows]
        if not kept:
            return None
        if len(kept) == 1:
            return kept[0]
        (batch,) = pa.Table.from_batches(kept, FLOWS).combine_chunks().to_batches()
        return batch

    def _own(self, link: LinkId, batch: pa.RecordBatch) -> pa.RecordBatch:
        there, back = _directions(batch)
        sent, answered = numbers(batch, "packet_delta_count") > 0, numbers(batch, "reverse_packet_delta_count") > 0
        rows = zip(there.tolist(), back.tolist(), sent.tolist(), answered.tolist(), strict=True)
        mine = [
            (not forth or self._owner(key, link) == link) and (not answer or self._owner(other, link) == link)
            for key, other, forth, answer in rows
        ]
        missed = len(mine) - sum(mine)
        self.again += missed
        return batch.filter(pa.array(mine, pa.bool_())) if missed else batch

    def _owner(self, key: int, link: LinkId) -> LinkId:
        owner = self._young.get(key)
        if owner is None:
            owner = self._young[key] = self._old.get(key, link)
        return owner

    def _turn(self, now_ns: int) -> None:
        if now_ns - self._turned_ns > _OWNED_NS or len(self._young) > _MOST_OWNED:
            self._old, self._young, self._turned_ns = self._young, {}, now_ns


class Recent:
    """The graph of the last minutes: of two that both take everything in, the older one answers, for twice its time."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = round(window_s * 1e9)
        self._older, self._younger = EntityGraph(), EntityGraph()
        self._turned_ns = 0

    def absorb(self, batch: pa.RecordBatch, now_ns: int) -> None:
        """Take in one batch of flows."""
        if now_ns - self._turned_ns > self._window_ns:
            self._older, self._younger, self._turned_ns = self._younger, EntityGraph(), now_ns
        self._older.absorb(batch)
        self._younger.absorb(batch)

    def touching(self, match: Match) -> Touched:
        """Whom and what the match would meet, as the blast radius asks."""
        return self._older.touching(match)


def _directions(batch: pa.RecordBatch) -> tuple[U64, U64]:
    """A hash of each row's flow in the direction of its initiator, and one in the other."""
    protocol = numbers(batch, "protocol_identifier")
    ends = [
        joined(hashes(texts(batch.column(f"{side}_ip_address"))), numbers(batch, f"{side}_transport_port"), protocol)
        for side in ("source", "destination")
    ]
    kinds = np.asarray(numbers(batch, "icmp_type"))
    return joined(ends[0], ends[1], kinds), joined(ends[1], ends[0], kinds)
