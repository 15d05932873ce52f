"""Where an agent's flows come from, whichever way its links are captured.

Called by `services.agents.agent`. In: links by namespace and glob. Out: flows by link, and for each link a tally that
adds up at any moment: received is the sum of the other packets, accounted is what was exported in flows plus what is in
flows still open. Adapters: `sockets` (AF_PACKET, both directions) and `shields` (XDP or tc, what arrives).
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc


class Taken(NamedTuple):
    """Flows (schema `FLOWS`) of one link."""

    link: str  # "netns/name" or "name"
    flows: pa.RecordBatch


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Where the packets of one link went, since this capture began."""

    rung: str  # xdp-native, xdp-generic, tc, sockets
    packets: Mapping[str, int]  # received, accounted, and each other reason; received is the sum of all others
    exported: int  # packets in flows that were handed out
    flows: int  # handed out
    undelivered: int = 0  # packets in flows that nobody took before the end
    uncovered: int = 0  # packets that the kernel counted while nobody took flows, and that no flow shows
    base: Mapping[str, int] = dataclasses.field(default_factory=dict)  # what its counter had when it began for us
    identity: str = ""  # of what counts: when it is another at the next start, its counts are gone; empty: always

    @property
    def open(self) -> int:
        """Packets in flows that have not ended."""
        return self.packets.get("accounted", 0) - self.exported - self.undelivered - self.uncovered


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted:
    """A shield that had gone on counting since an agent before us had ended."""

    identity: str
    packets: Mapping[str, int]  # as in `Tally`, when we took over
    recovered: int  # packets in flows that were still in the kernel


class Capture(Protocol):
    """Links that are followed as they come and go. For one thread."""

    @property
    def rung(self) -> str:
        """What it uses, or `mixed`."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be captured, one line each."""

    def take(self) -> list[Taken]:
        """The flows that have ended since the last call; does not wait."""

    def finish(self) -> list[Taken]:
        """Stop, and give everything that is still there; afterwards no flow is open."""

    def tallies(self) -> dict[str, Tally]:
        """By link, of all that were ever captured."""

    def adopted(self) -> dict[str, Adopted]:
        """By link, what was found running. Once."""

    def close(self) -> None:
        """Let go of everything."""


def packets_in(flows: pa.RecordBatch) -> int:
    """Of both directions."""
    columns = ("packet_delta_count", "reverse_packet_delta_count")
    return sum(int(pc.sum(flows.column(name)).as_py() or 0) for name in columns)


def summed(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Name by name."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def joined(one: Tally | None, other: Tally) -> Tally:
    """With what a link of the same name had before it."""
    if one is None:
        return other
    return dataclasses.replace(
        other,
        packets=summed(one.packets, other.packets),
        exported=one.exported + other.exported,
        flows=one.flows + other.flows,
        undelivered=one.undelivered + other.undelivered,
        uncovered=one.uncovered + other.uncovered,
        # So that what its counter has later, less this, holds both.
        base={name: other.base.get(name, 0) - one.packets.get(name, 0) for name in {**one.packets, **other.base}},
    )
