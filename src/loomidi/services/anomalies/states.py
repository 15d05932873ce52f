"""All that the model's part needs to go on where it was, as one value.

Called by `part`. In: positions on the bus, what was learned, what is open, what is to be told. Out: bytes for a
snapshot and back. What was learned stays bytes here: it is `noticing` that judges whether it fits.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from loomidi.contracts.errors import InputError
from loomidi.contracts.streams import Envelope, Stream
from loomidi.origami.scoring import Incident
from loomidi.services.shared.counting import Count

STREAMS = (Stream.EDGE_WINDOWS, Stream.ENTITY_WINDOWS, Stream.ENTITIES, Stream.FINDINGS)
_VERSION = 2


@dataclasses.dataclass(slots=True)
class State:
    """Of one part, over all its starts."""

    epoch: int = 0  # ns, of the first start: it is in the ids of what is told
    seq: int = 0  # of the next envelope
    offered: int = 0  # rows that were to be told
    published: int = 0  # of them on the bus
    positions: dict[Stream, dict[int, int]] = dataclasses.field(default_factory=lambda: {one: {} for one in STREAMS})
    lineages: dict[str, str] = dataclasses.field(default_factory=dict)
    open: dict[str, Incident] = dataclasses.field(default_factory=dict)  # by id, as they were told last
    also: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # by id: findings of rules that it names
    rules: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    early: dict[str, Incident] = dataclasses.field(default_factory=dict)  # by id: told early, not confirmed yet
    names: dict[str, str] = dataclasses.field(default_factory=dict)  # id of the judge -> id that it was told early by
    outbox: list[Envelope] = dataclasses.field(default_factory=list)  # written down, perhaps not told yet
    noticing: bytes = b""
    signals: bytes = b""

    def follow(self, stream: Stream, lineage: str) -> None:
        """Where the bus has begun to count anew, a position says nothing: all that it holds is taken."""
        if self.lineages.get(stream, lineage) != lineage:
            self.positions[stream] = {}
        self.lineages[stream] = lineage

    def after(self, stream: Stream) -> dict[int, int]:
        """Where a reader is to go on."""
        return dict(self.positions[stream])

    def to_bytes(self) -> bytes:
        """One line of JSON, then the pieces."""
        plain = ("epoch", "seq", "offered", "published", "lineages", "also", "rules", "names")
        pieces = [self.noticing, self.signals, *(one.payload for one in self.outbox)]
        head = {name: getattr(self, name) for name in plain} | {
            "version": _VERSION,
            "positions": {stream.value: some for stream, some in self.positions.items()},
            "open": [dataclasses.asdict(one) for one in self.open.values()],
            "early": [dataclasses.asdict(one) for one in self.early.values()],
            "outbox": [_without_payload(one) for one in self.outbox],
            "lengths": [len(piece) for piece in pieces],
        }
        return json.dumps(head).encode() + b"\n" + b"".join(pieces)

    @classmethod
    def of(cls, data: bytes) -> "State":
        """What `to_bytes` gave. Raises InputError when a later version wrote it."""
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        if head.pop("version") != _VERSION:
            raise InputError("the state of anomalies is of another version; move its folder away to learn anew")
        lengths, outbox = head.pop("lengths"), head.pop("outbox")
        ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
        noticing, signals, *payloads = (rest[end - length : end] for end, length in zip(ends, lengths, strict=True))
        positions = {Stream(name): _numbered(some) for name, some in head.pop("positions").items()}
        opened, early = ({one["incident_id"]: _incident(one) for one in head.pop(name)} for name in ("open", "early"))
        envelopes = [Envelope(payload=payload, **one) for one, payload in zip(outbox, payloads, strict=True)]
        head |= {"positions": positions, "open": opened, "early": early, "outbox": envelopes}
        return cls(**head, noticing=noticing, signals=signals)


class Ledger:
    """Counters for the loss balance: of what was told since the first start, of what was judged in this run."""

    def __init__(self) -> None:
        self.told, self.judged = list[Count](), list[Count]()
        self.epoch = 0  # of what was told; 0: nothing is marked yet
        self._base, self._carried, self._now = Counter[str](), Counter[str](), Counter[str]()

    def begin(self, figures: Mapping[str, int]) -> None:
        """From here on: what was restored has been counted by another run, or by this one before it failed.

        What waited when the snapshot was made is read once more by this run, so that no counter is below nothing.
        """
        before = self._run()
        before["read"] -= before.pop("pending")
        self._carried, self._base, self._now = before, Counter(figures), Counter(figures)

    def mark(self, state: State, figures: Mapping[str, int]) -> None:
        """At a moment when nothing is under way."""
        waiting = sum(one.rows for one in state.outbox)
        told = {"offered": state.offered, "published": state.published, "waiting": waiting}
        self.told = [Count("publish", Stream.FINDINGS, "", name, "rows", value) for name, value in told.items()]
        self.epoch, self._now = state.epoch, Counter(figures)
        values = self._run()
        self.judged = [
            Count("judge", Stream.EDGE_WINDOWS, "", _NAMES.get(key, key), "rows", values[key]) for key in _JUDGED
        ]

    def _run(self) -> Counter[str]:
        """Of this run: read = learned + scored + pending."""
        found = Counter({key: self._carried[key] + self._now[key] - self._base[key] for key in _JUDGED})
        found["read"] += self._base["pending"]
        found["pending"] = self._now["pending"]
        return found


_JUDGED = ("read", "learned", "scored", "pending")
_NAMES = {"pending": "waiting"}


def _numbered(some: dict[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in some.items()}


def _without_payload(envelope: Envelope) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(envelope) if field.name != "payload"]
    return {name: getattr(envelope, name) for name in names}


def _incident(plain: dict[str, Any]) -> Incident:
    """Lists of JSON as the tuples that they were."""
    tuples = {name: tuple(map(tuple, plain[name])) for name in ("contributions", "quoted", "pairs")}
    return Incident(**{**plain, **tuples, "entities": tuple(plain["entities"])})
