"""One table for each stream: its columns, which of them is the time, what it is sorted by.

Read by every module of `loom.lake`. The columns are those of `contracts.schemas`, found by the stream's name; a stream
whose schema is not there yet has no table.
"""

import dataclasses

import pyarrow as pa

from loomidi.contracts import schemas
from loomidi.contracts.errors import UsageError
from loomidi.contracts.streams import Stream


@dataclasses.dataclass(frozen=True, slots=True)
class TableSpec:
    """What a table of the lake is made of."""

    name: str
    schema: pa.Schema  # as batches have it on the bus
    time: str  # partitioned by its hour, sorted by it
    sources: tuple[str, ...]  # sorted by these within one time
    bounded: tuple[str, ...] = ()  # their least and greatest value is kept for each file, beside time and sources


_FLOWS = ("flow_end_nanoseconds", ("exporter", "source_ip_address"))
_ENDS = ("flow_start_nanoseconds", "destination_ip_address", "destination_transport_port", "source_entity")
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    Stream.FLOWS: _FLOWS,
    Stream.LATE: _FLOWS,
    Stream.METRICS: ("timestamp", ("source_id", "metric_name")),
    Stream.EVENTS: ("timestamp", ("source", "entity")),
    Stream.ENTITIES: ("seen", ("address",)),
    Stream.COUNTERS: ("timestamp", ("node", "component")),
}
_SCHEMA_OF = {Stream.FLOWS: "FLOW_RECORDS", Stream.LATE: "FLOW_RECORDS"}


def table_of(stream: str) -> TableSpec:
    """The table of a stream. Raises UsageError for what is no stream, or one that has no columns yet."""
    if stream not in {each.value for each in Stream}:
        raise UsageError(f"there is no stream {stream!r}; there are {', '.join(each.value for each in Stream)}")
    name = Stream(stream)
    schema = getattr(schemas, _SCHEMA_OF.get(name, name.value.upper()), None)
    if not isinstance(schema, pa.Schema):
        raise UsageError(f"the stream {stream!r} has no columns yet, so it has no table")
    time, sources = _KNOWN.get(name) or (_first_time(schema), _first_texts(schema))
    bounded = _ENDS if name in (Stream.FLOWS, Stream.LATE) else ()
    return TableSpec(name.value, schema, time, sources, bounded)


def streams() -> tuple[str, ...]:
    """Those that have a table."""
    there = []
    for each in Stream:
        try:
            there.append(table_of(each.value).name)
        except UsageError:
            continue
    return tuple(there)


def _first_time(schema: pa.Schema) -> str:
    """The first time that is always there."""
    return next(str(field.name) for field in schema if pa.types.is_timestamp(field.type) and not field.nullable)


def _first_texts(schema: pa.Schema) -> tuple[str, ...]:
    """The first text that is always there: who or what a row is about."""
    return tuple(str(field.name) for field in schema if pa.types.is_string(field.type) and not field.nullable)[:1]
