"""What root cause analysis looks at and what it answers: Arrow schemas, roles of signals, frozen records.

Read by all of `origami.causes` and by who feeds it. In: tables of these schemas. Out: `Cause`, most likely first.
A signal is a number over time of an entity (`peer` empty) or of the calls from an entity to a peer.
"""

import dataclasses
import enum

import pyarrow as pa


class Role(enum.StrEnum):
    """What a signal says about its entity, and so who may explain it."""

    RESOURCE = "resource"  # processor, memory, descriptors: the entity's own, but for what its load explains
    LATENCY = "latency"  # seconds that a request takes here, callees included: callees may explain it
    ERRORS = "errors"  # share of requests that fail here, 0..1: callees may explain it
    TRAFFIC = "traffic"  # requests per step: explains resources, is no evidence by itself
    SELF = "self"  # seconds in own code, callees excluded: the entity's own
    BRANCH = "branch"  # how often a step inside follows another, per call: the entity's own behaviour
    CHANGE = "change"  # 1 since a rollout or another change began, 0 before: explains those that rest on it
    CLIENT = "client"  # of an edge: seconds that the caller waits for the callee
    SERVER = "server"  # of an edge: seconds that the callee itself measures
    CALLS = "calls"  # of an edge: calls to the callee per request of the caller: the caller's behaviour
    GAP = "gap"  # of an edge, made here: client minus server, what is lost between the two


SIGNALS = pa.schema(
    [
        ("time_ns", pa.int64()),  # begin of the step that was measured, since the epoch
        ("entity", pa.string()),
        ("peer", pa.string()),  # the callee, empty for a signal of the entity itself
        ("signal", pa.string()),
        ("role", pa.string()),
        ("value", pa.float64()),
        ("samples", pa.float64()),  # how many requests the value stands for; null when unknown
    ]
)
CALLS = pa.schema([("caller", pa.string()), ("callee", pa.string())])
PLACES = pa.schema([("entity", pa.string()), ("host", pa.string())])  # what an entity rests on: host, rollout
RANKED = pa.schema(
    [
        ("rank", pa.int32()),
        ("entity", pa.string()),
        ("score", pa.float64()),
        ("share", pa.float64()),
        ("kind", pa.string()),
        ("evidence", pa.list_(pa.string())),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a system: its signals, who calls whom, what runs where. Unknown parts stay empty."""

    signals: pa.Table  # SIGNALS, past and window
    calls: pa.Table = dataclasses.field(default_factory=CALLS.empty_table)
    places: pa.Table = dataclasses.field(default_factory=PLACES.empty_table)
    remote: frozenset[str] = frozenset()  # entities that are only seen from their callers: no signals of their own side


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The time in which something is wrong; all before it is the past."""

    start_ns: int
    end_ns: int
    step_ns: int = 60_000_000_000  # how far apart values of one signal are


@dataclasses.dataclass(frozen=True, slots=True)
class Symptom:
    """What raised the alarm, where it is known: causes are then asked of what this entity rests on."""

    entity: str
    role: Role = Role.LATENCY
    signal: str = ""  # any of the role when empty


@dataclasses.dataclass(frozen=True, slots=True)
class Sign:
    """One signal that left its own past, and who explains how much of it away."""

    signal: str
    role: Role
    peer: str  # empty for a signal of the entity itself
    past: float
    now: float
    deviation: float  # in robust standard deviations of its own past
    strength: float  # in doublings beyond what the past itself does now and then
    explained: tuple[tuple[str, float], ...] = ()  # (by whom, share of it)

    def told(self) -> str:
        """One plain line."""
        where = f" to {self.peer}" if self.peer else ""
        by = ", ".join(f"{share:.0%} explained by {name}" for name, share in self.explained)
        change = f"{self.signal}{where} {self.past:.4g} -> {self.now:.4g} ({self.deviation:.1f} sigma)"
        return f"{change}; {by}" if by else change


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One entity, how much of the blame stays with it, and why."""

    entity: str
    score: float  # blame that nobody else explains, in doublings; comparable within one answer only
    share: float  # of all blame, 0..1
    kind: str  # the role of its strongest sign, `walk` for the fallback
    signs: tuple[Sign, ...]
