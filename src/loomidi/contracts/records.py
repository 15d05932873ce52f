"""The frozen records that houses hand to each other.

Called by every house. In and out: plain values only, so that a record can be hashed, stored, signed and shown.
Batches of packets, flows or metrics are never records: they are Arrow (see `schemas`).
"""

import dataclasses
import enum
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any


class Severity(enum.StrEnum):
    """How bad it is if true, lowest first. `info` never leads to a fold."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class FoldKind(enum.StrEnum):
    """The three remediations of the blueprint (seed/transformer_control_api.yaml), then our own extension.

    Only the first three are ever proposed under the blueprint's API; the guards judge all of them.
    """

    ISOLATE_POD = "ISOLATE_POD"
    RECONFIGURE_NETWORK = "RECONFIGURE_NETWORK"
    SCALE_OUT = "SCALE_OUT"
    # our extension: what only the Kubernetes driver does
    CORDON = "CORDON"
    EVICT = "EVICT"
    RESIZE = "RESIZE"
    RESTART = "RESTART"
    ROLLBACK = "ROLLBACK"
    TERMINATE = "TERMINATE"


class Mode(enum.StrEnum):
    """How far a plan may go without a person. The default everywhere is `shadow`."""

    SHADOW = "shadow"  # plan and record, touch nothing
    SUGGEST = "suggest"  # plan and ask
    GUARDED = "guarded"  # act when guards allow, on reversible things only
    AUTONOMOUS = "autonomous"  # act when guards allow


class Step(enum.StrEnum):
    """What a receipt records. `intent` is written before the first effect, `extending` before a longer end."""

    INTENT = "intent"
    APPLIED = "applied"
    VERIFIED = "verified"
    EXTENDING = "extending"
    EXTENDED = "extended"
    UNDONE = "undone"
    EXPIRED = "expired"
    REFUSED = "refused"
    FAILED = "failed"


_JSON_SCALARS = frozenset({str, int, float, bool, type(None)})
_NEVER = object()  # the default of a field that is never left out
_LATER = {"later": True}  # a field's metadata: left out of documents while empty, so ids of older versions stay true


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


@functools.cache
def _later_defaults(kind: Any) -> Mapping[str, Any]:
    """Fields that came after the first ids were given out: left out at their default, so that those ids stay true."""
    return {field.name: field.default for field in dataclasses.fields(kind) if field.metadata.get("later")}


def _plain(value: Any) -> Any:
    """Turn records, enums and tuples into what JSON can hold."""
    kind: Any = type(value)
    if kind in _JSON_SCALARS:  # most values, and the fast lane hashes several records for each act
        return value
    if names := _field_names(kind):
        later = _later_defaults(kind)
        plain = {name: _plain(raw) for name in names if (raw := getattr(value, name)) is not later.get(name, _NEVER)}
        for name in later:
            if name in plain and not plain[name]:
                del plain[name]
        return plain
    if isinstance(value, (dict, Mapping)):  # a dict is known at once, any other Mapping is asked
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list, frozenset, set)):
        items = [_plain(v) for v in value]
        return sorted(items) if isinstance(value, (frozenset, set)) else items
    return value.value if isinstance(value, enum.Enum) else value


def content_id(prefix: str, value: Any) -> str:
    """`prefix-` and the first 16 hex digits of SHA-256 over the sorted, compact JSON of `value`."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Record:
    """Mixin: a record as a plain JSON-able dict."""

    __slots__ = ()

    def as_dict(self) -> dict[str, Any]:
        """All fields but empty ones that a later version added; enums as their values, tuples as lists."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclasses.dataclass(frozen=True, slots=True)
class Entity(_Record):
    """A thing in the live graph. `id` is `<kind>/<name>`, such as `host/10.0.0.1` or `service/10.0.0.2:80/tcp`."""

    id: str
    kind: str  # host, service, pod, workload, node, namespace, external, network
    name: str
    attributes: tuple[tuple[str, str | int | float], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Edge(_Record):
    """A relation between two entities over a window of time."""

    source: str  # entity id
    target: str  # entity id
    kind: str  # flows, owns, runs-on, selects, mounts, can
    flows: int = 0
    packets: int = 0
    octets: int = 0
    first_ns: int = 0
    last_ns: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence(_Record):
    """One measured fact that a finding rests on, beside what it was held against."""

    name: str  # snake_case, such as syn_rate
    value: float | int | str
    threshold: float | int | str | None = None  # the limit or the learned baseline it broke
    unit: str = ""
    meaning: str = ""  # one plain sentence


@dataclasses.dataclass(frozen=True, slots=True)
class Finding(_Record):
    """Something that a detector holds to be true, with its evidence. Never an order."""

    id: str
    pattern: str  # syn_flood, udp_flood, amplification, vertical_scan, ... (origami.online.PATTERNS)
    techniques: tuple[str, ...]  # ATT&CK ids
    severity: Severity
    confidence: float  # 0..1
    entities: tuple[str, ...]  # entity ids, the one to act on first
    first_ns: int
    last_ns: int
    evidence: tuple[Evidence, ...]
    source: str  # the detector that says so
    explanation: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Match(_Record):
    """Which packets a data-plane fold touches. Empty string or 0 means any; at least one must be set."""

    source: str = ""  # address or CIDR of the remote end
    destination: str = ""  # address
    source_port: int = 0
    destination_port: int = 0
    protocol: int = 0  # IANA protocol number


@dataclasses.dataclass(frozen=True, slots=True)
class FoldSpec(_Record):
    """One proposed remediation, in the terms of the user and of the data plane."""

    kind: FoldKind
    target: str  # entity id
    action: str  # drop, rate, eject, isolate, scale
    match: Match = Match()
    rate_pps: int = 0  # packets per second let through when action is `rate`
    burst: int = 0  # packets
    replicas: int = 0  # added replicas when action is `scale`
    ttl_s: float = 60.0  # every action ends by itself
    because: str = ""  # finding id
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the Kubernetes object it becomes
    undo: str = ""  # in words; the machine's inverse is in the receipt
    means: str = dataclasses.field(default="", metadata=_LATER)  # who carries out a RECONFIGURE_NETWORK:
    # agent, networkpolicy, cilium, istio; empty leaves it to the driver
    thresholds: Mapping[str, int] = dataclasses.field(default_factory=dict, metadata=_LATER)  # of `tune`: counts in
    # one short window of `window_ms` at which the data plane tells a suspect


@dataclasses.dataclass(frozen=True, slots=True)
class Conversation(_Record):
    """Who asks whom by which port, as it was seen on links: a Service by its own address, and by that of its pod."""

    client: str  # address or CIDR
    server: str  # address or CIDR
    port: int  # of the server; 0 where there is none, or it is not known
    protocol: int  # IANA protocol number


def _later(default: Any) -> Any:
    return dataclasses.field(default=default, metadata=_LATER)


@dataclasses.dataclass(frozen=True, slots=True)
class Replay(_Record):
    """What a fold would have cut of the flows that were kept, had it been in force then. Empty: nobody asked."""

    state: str = _later("")  # measured, unknown
    why: str = _later("")  # it is not known
    since_ns: int = _later(0)
    until_ns: int = _later(0)
    rows: int = _later(0)  # flow records that were looked at
    peers: int = _later(0)  # distinct other ends of what it would have cut
    flows: int = _later(0)
    octets: int = _later(0)
    share_of_octets: float = _later(0.0)  # 0..1 of all octets in that time
    named: tuple[str, ...] = _later(())  # peers as they were known, the busiest first; bounded
    paths: tuple[str, ...] = _later(())  # ways of users' requests that it would have cut, each from user to the cut end
    unlisted_paths: int = _later(0)  # beyond those that are listed
    protected: tuple[str, ...] = _later(())  # addresses of the protected set that it would have met

    @property
    def measured(self) -> bool:
        """Whether the lake has answered."""
        return self.state == "measured"


@dataclasses.dataclass(frozen=True, slots=True)
class BlastRadius(_Record):
    """What the fold would cut, counted on the live graph: the attack and whoever else it meets."""

    peers: int  # distinct remote hosts whose traffic it touches
    flows: int
    packets: int
    octets: int
    share_of_octets: float  # 0..1 of all octets seen in the window
    bystanders: tuple[str, ...] = ()  # entity ids touched that no finding names
    protected: tuple[str, ...] = ()  # entity ids of the protected set that it would touch: must be empty
    conversations: tuple[Conversation, ...] = dataclasses.field(default=(), metadata=_LATER)
    # What an isolation cuts, one by one, the busiest first; bounded.
    unlisted: int = dataclasses.field(default=0, metadata=_LATER)
    # Conversations that it meets beyond those that are listed.
    replay: Replay = dataclasses.field(default=Replay(), metadata=_LATER)
    # The same question, asked of the flows that were kept.


@dataclasses.dataclass(frozen=True, slots=True)
class Plan(_Record):
    """A fold that is ready to be judged. The id is bound to its content, so a changed plan is another plan."""

    id: str
    finding: Finding
    fold: FoldSpec
    blast_radius: BlastRadius
    mode: Mode
    created_ns: int
    expires_ns: int  # an approval after this is void


@dataclasses.dataclass(frozen=True, slots=True)
class Extension(_Record):
    """A later end for a plan at work. It takes an approval of its own, as a plan does: see `ionic.approvals`."""

    id: str  # bound to its content
    plan_id: str
    until_ns: int  # epoch, the new end
    created_ns: int
    expires_ns: int  # an approval after this is void


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict(_Record):
    """One guard's answer. Anything but `allow=True` is a denial."""

    guard: str
    rule: str
    allow: bool | None  # None: undefined, missing, timed out or errored
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Approval(_Record):
    """Leave to carry out exactly one plan; drivers refuse a plan without one that they can verify."""

    plan_id: str
    plan_hash: str  # SHA-256 hex of the plan's canonical JSON
    verdicts: tuple[Verdict, ...]
    approver: str
    granted_ns: int
    expires_ns: int
    signature: str  # hex, keyed; see ionic.decide


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt(_Record):
    """A durable line of what was about to be done, was done, or was undone."""

    id: str
    plan_id: str
    step: Step
    at_ns: int
    driver: str
    inverse: Mapping[str, Any]  # how the driver undoes it, stored before the effect
    detail: Mapping[str, Any]
    previous: str  # id of the receipt before it in the same store: a hash chain


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome(_Record):
    """How a plan turned out; the label that learning starts from."""

    plan_id: str
    label: str  # worked, no_effect, harmful, expired, undone
    at_ns: int
    evidence: tuple[Evidence, ...] = ()
