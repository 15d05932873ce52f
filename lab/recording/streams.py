"""Arrow schemas of a recording's streams, and what a recording's folder is made of.

Called by the recorder's sources (which fill them), `verifying` and `loading` (which read them). Every stream begins
with `recorded_ns`, when the recorder had the row (never falls within a stream), and `time_ns`, when the thing itself
happened; both are int64 ns since the epoch. Names of columns are only ever added.
"""

import pyarrow as pa

from loomidi.contracts.schemas import FLOWS as METERED

STAMPS = (pa.field("recorded_ns", pa.int64(), nullable=False), pa.field("time_ns", pa.int64(), nullable=False))


def _schema(*columns: pa.Field | str) -> pa.Schema:
    """The stamps, then the columns; a bare name is a text that is never null."""
    fields = (pa.field(column, pa.utf8(), nullable=False) if isinstance(column, str) else column for column in columns)
    return pa.schema([*STAMPS, *fields])


def _int(name: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.int64(), nullable=nullable)


# Columns of the observation point, behind those of the meter: the link on the node's side, and the pod behind it.
WHERE = (
    pa.field("recorded_ns", pa.int64(), nullable=False),
    pa.field("time_ns", pa.int64(), nullable=False),  # the flow's end
    pa.field("node", pa.utf8(), nullable=False),
    pa.field("netns", pa.utf8(), nullable=False),
    pa.field("link", pa.utf8(), nullable=False),
    pa.field("link_index", pa.int64(), nullable=False),
    pa.field("link_kind", pa.utf8(), nullable=False),  # pod, node, outside, unknown
    pa.field("namespace", pa.utf8(), nullable=False),
    pa.field("pod", pa.utf8(), nullable=False),
)
FLOWS = pa.schema([*METERED, *WHERE])

_OBJECT = ("kind", "api_version", "namespace", "name", "uid", "resource_version", "change", "via")
OBJECTS = _schema(*_OBJECT, "object")  # change: LISTED ADDED MODIFIED DELETED; via: list watch relist
EVENTS = _schema(
    *_OBJECT,
    "type",
    "reason",
    "involved_kind",
    "involved_namespace",
    "involved_name",
    "message",
    _int("count"),
    "object",
)
AUDIT = _schema(
    _int("requested_ns"),
    "audit_id",
    "stage",
    "level",
    "verb",
    "user",
    "user_agent",
    "source_address",
    "api_group",
    "resource",
    "subresource",
    "namespace",
    "name",
    _int("code"),
    "decision",
    "via",  # webhook, or file when the webhook never brought it
    "event",
)
METRICS = _schema("job", "instance", "name", "kind", "labels", pa.field("value", pa.float64(), nullable=False))
TRACES = _schema(
    _int("end_ns"),
    "trace_id",
    "span_id",
    "parent_id",  # empty: a root
    "service",
    "name",
    "kind",
    "status",
    "attributes",
    "resource",
    "span",  # as it came, without what the columns hold
)
LOGS = _schema("node", "namespace", "pod", "uid", "container", _int("restart"), "stream", "line")
REQUESTS = _schema(  # time_ns: when it was due; users do not wait for each other
    _int("duration_ns"),  # from when it was due
    "journey",
    "method",
    "route",
    "path",
    _int("status"),  # 0: no answer
    "error",
    "client_address",
    _int("user"),
    _int("visit"),
    "request",
)
ENTITIES = pa.schema(
    [
        *(pa.field(name, pa.utf8(), nullable=False) for name in ("address", "kind", "namespace", "name", "uid")),
        *(pa.field(name, pa.utf8(), nullable=False) for name in ("owner_kind", "owner", "labels", "node", "ports")),
        pa.field("from_ns", pa.int64(), nullable=False),
        pa.field("to_ns", pa.int64(), nullable=False),  # 0: still when the recording ended
    ]
)

STREAMS: dict[str, pa.Schema] = {
    "flows": FLOWS,
    "objects": OBJECTS,
    "events": EVENTS,
    "audit": AUDIT,
    "metrics": METRICS,
    "traces": TRACES,
    "logs": LOGS,
    "requests": REQUESTS,
}
# Beside one folder per stream; `pcap/` is there only when it was asked for.
DOCUMENTS = ("schedule.json", "truth.json", "provenance.json", "balance.json", "entities.parquet", "addresses.jsonl")
MANIFEST = "MANIFEST.sha256"
PCAP = "pcap"
