"""What travels on the bus: streams, envelopes around Arrow batches, and the Protocols of a bus.

Called by `loom.bus` (whose adapters carry it), by sources (which publish), by runners and committers (which read).
Leaves all I/O to the adapters. One envelope is one batch of 64 to 256 KiB; its id `producer/epoch/seq` is given by
who made it and never changes, so that whoever meets it twice can tell: the bus within its window, the lake for ever.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Protocol, Self


class Stream(enum.StrEnum):
    """The streams, each one subject or topic and one lake table of the same name."""

    FLOWS = "flows"  # `schemas.FLOW_RECORDS`
    METRICS = "metrics"  # `schemas.METRICS`
    EVENTS = "events"  # `schemas.EVENTS`
    ENTITIES = "entities"  # `schemas.ENTITIES`: which entity owned an address from when to when
    COUNTERS = "counters"  # `schemas.COUNTERS`: the loss balance
    EDGE_WINDOWS = "edge_windows"  # `schemas.EDGE_WINDOWS`
    ENTITY_WINDOWS = "entity_windows"  # `schemas.ENTITY_WINDOWS`
    LATE = "late"  # `schemas.FLOW_RECORDS`: what came after its window was closed
    FINDINGS = "findings"
    PLANS = "plans"
    RECEIPTS = "receipts"
    LABELS = "labels"


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """One batch, encoded, with what is needed to place it without decoding it."""

    stream: str  # a `Stream`
    producer: str  # who made it, such as a node's name: letters, digits, `.`, `_`, `-`
    epoch: int  # of this run of the producer: ns since the epoch at its start; grows from run to run
    seq: int  # 0, 1, 2, ... within producer, epoch and stream
    rows: int  # of the batch
    payload: bytes  # Arrow IPC stream in one frame of zstd; `loom.bus.envelopes` packs and unpacks it
    schema_version: int = 1  # of the stream's schema; grows when a column is added
    sampling_interval: int = 1  # IE 34 samplingInterval: one row stands for so many; 1: all are there
    created_ns: int = 0  # epoch; when the batch was complete, which freshness is measured from

    @property
    def id(self) -> str:
        """`producer/epoch/seq`, unique within a stream; what `Nats-Msg-Id` carries."""
        return f"{self.producer}/{self.epoch}/{self.seq}"


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """An envelope as it came from the bus."""

    envelope: Envelope
    partition: int  # 0 where a stream has only one
    offset: int  # grows by at least 1 within a partition
    deliveries: int = 1  # to this reader, this one included


@dataclasses.dataclass(frozen=True, slots=True)
class Ack:
    """The bus holds it durably."""

    id: str
    duplicate: bool  # it had been held before


@dataclasses.dataclass(frozen=True, slots=True)
class Lag:
    """What a durable consumer has not committed yet."""

    messages: int
    octets: int | None  # None where the bus cannot tell


@dataclasses.dataclass(frozen=True, slots=True)
class Dead:
    """A message that nobody could use, kept with the reason."""

    id: int  # on the dead-letter stream
    stream: str
    envelope_id: str
    cause: str  # one line
    at_ns: int
    reader: str
    payload: bytes


Position = Mapping[int, int]
"""Partition -> offset of the last message that is dealt with. Empty: none yet."""


class Reader(Protocol):
    """One durable consumer of one stream, in the order of each partition."""

    async def fetch(self, most: int = 64, timeout_s: float = 1.0) -> list[Message]:
        """Up to `most` messages; waits up to `timeout_s` for the first. Raises Retryable when the bus is away."""

    async def commit(self, position: Position) -> None:
        """All up to `position` is dealt with: a later reader of this name goes on after it."""

    async def lag(self) -> Lag:
        """What is not committed yet."""

    async def close(self) -> None:
        """Let go; what was fetched and not committed comes again to the next reader of this name."""


class Bus(Protocol):
    """Carries envelopes durably. Adapters: in memory, NATS JetStream, Apache Kafka."""

    name: str  # memory, nats, kafka

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        """Durable when it returns, in the order given; a whole sequence is one flight, acknowledged together.

        Raises Retryable when the bus is away or full: some of them may be held, and the same call may be repeated, for
        an id that is held is not held twice (within the bus's window; the lake closes the rest).
        """

    async def reader(self, stream: str, name: str, *, after: Position | None = None) -> Reader:
        """The durable consumer `name`; with `after` it begins behind that position, whatever it had committed."""

    async def lineage(self, stream: str) -> str:
        """Identity of the stream's numbering: another one when offsets have begun anew, so that no position holds."""

    async def bury(self, message: Message, *, reader: str, cause: str) -> None:
        """Keep it on the dead-letter stream. Durable when it returns; commit its position afterwards."""

    async def dead(self, *, most: int = 100, stream: str | None = None) -> list[Dead]:
        """The oldest dead letters."""

    async def exhume(self, ids: Sequence[int]) -> int:
        """Publish dead letters anew on their streams and remove them; returns how many there were."""

    async def reachable(self) -> bool:
        """Whether it answers now."""

    async def close(self) -> None:
        """Let go of connections; nothing that was acknowledged is lost."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
