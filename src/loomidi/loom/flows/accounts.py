"""What one link's packets became, summed over every time that its socket was opened.

Called by `links`. In: states of a meter, batches handed over. Out: a balance whose parts add up to what the kernel
counted, and figures beside it. Plain numbers; locking is left to the caller.
"""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from loomidi.loom.capture import native


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class LinkId:
    """One link of one namespace; the index tells two links of the same name apart that follow each other."""

    netns: str
    name: str
    index: int

    def __str__(self) -> str:
        """`n1/veth3f2a`, or the name alone in our own namespace."""
        return f"{self.netns}/{self.name}" if self.netns else self.name


class Account:
    """Counts of one link."""

    def __init__(self) -> None:
        self.refused = False  # it cannot be metered
        self._done: dict[str, int] = {}  # of sockets that are closed
        self._now: dict[str, int] = {}  # of the one that is open
        self._beside = dict.fromkeys(
            ("opened", "before_opening", "flows", "in_flows", "undelivered_flows", "undelivered", "waited_ns"), 0
        )

    def opened(self, packets: int) -> None:
        """A socket was opened when the link had seen that many packets."""
        self._beside["opened"] += 1
        self._beside["before_opening"] += packets if self._beside["opened"] == 1 else 0

    def note(self, state: native.State, *, ended: bool) -> None:
        """Take over what the open socket's meter has counted."""
        self._now = _counts(state)
        if ended:
            self._done = _sum(self._done, self._now)
            self._now = {}

    def delivered(self, batch: pa.RecordBatch, waited_ns: int) -> None:
        """A batch was queued for the consumer, after so long."""
        self._beside["flows"] += batch.num_rows
        self._beside["in_flows"] += _packets(batch)
        self._beside["waited_ns"] += waited_ns

    def discarded(self, batch: pa.RecordBatch, *, handed: bool) -> None:
        """A batch that nobody took; `handed` when it had been queued before."""
        packets = _packets(batch)
        self._beside["flows"] -= batch.num_rows if handed else 0
        self._beside["in_flows"] -= packets if handed else 0
        self._beside["undelivered_flows"] += batch.num_rows
        self._beside["undelivered"] += packets

    def absorb(self, other: "Account") -> None:
        """Add another link's counts, closed by now."""
        self._done = _sum(self._done, other._done)
        self._beside = _sum(self._beside, other._beside)

    def balance(self) -> dict[str, int]:
        """`received`, then its parts: accounted, each other reason that was met, and what did not reach the meter."""
        counts = _sum(self._done, self._now)
        reasons = {name: counts.get(name, 0) for name in native.REASONS}
        parts = {name: packets for name, packets in reasons.items() if packets or name == "accounted"}
        parts |= {name: counts.get(name, 0) for name in ("socket_dropped", "seen_twice")}
        received = counts.get("received", 0)
        return {"received": received, **parts, "unread": received - sum(parts.values())}

    def figures(self) -> dict[str, int]:
        """Beside the balance, in packets where nothing else is said:

        `octets` of the accounted frames, `flows` handed over and the packets `in_flows` (once stopped, `accounted` is
        `in_flows` + `undelivered`), `evicted` flows, `opened` sockets, `before_opening` what the link had seen by then,
        `waited_ms` for the consumer.
        """
        counts, beside = _sum(self._done, self._now), dict(self._beside)
        waited_ms = beside.pop("waited_ns") // 1_000_000
        return {name: counts.get(name, 0) for name in ("octets", "evicted")} | beside | {"waited_ms": waited_ms}


def _counts(state: native.State) -> dict[str, int]:
    counts = {name: int(count.packets) for name, count in zip(native.REASONS, state.reasons, strict=True)}
    return counts | {
        "received": int(state.received),
        "socket_dropped": int(state.lost),
        "seen_twice": int(state.twice),
        "octets": int(state.reasons[0].octets),
        "evicted": int(state.evicted),
    }


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def _packets(batch: pa.RecordBatch) -> int:
    columns = ("packet_delta_count", "reverse_packet_delta_count")
    return sum(int(pc.sum(batch.column(name)).as_py() or 0) for name in columns)
