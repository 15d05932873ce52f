"""Columns of the bus as columns of Iceberg, and back; nothing is lost on the way, or it is refused.

Called by `loom.lake` for every batch that is written and read. In: an Arrow schema of the contracts, batches of it.
Out: the Iceberg schema, batches as Parquet takes them (docs/lake.md has the table of types, ADR 0041 the reasons):

    timestamp ns      `NAME`    timestamptz, microseconds, cut; and
                      `NAME_ns` long, nanoseconds since the epoch, exact
    uint64            long; a value above 2^63 - 1 is refused
    uint64 of an id   decimal(20, 0)
    uint32            long           uint8, uint16   int
    list, map         of the same, element by element

Pure.
"""

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)

from loomidi.contracts.errors import InputError, UsageError

EXACT = "_ns"
"""What the exact column beside a time is called, behind its name."""

IDS = frozenset({"flow_id"})
"""Unsigned columns that are hashes, so that the upper half of their values is as likely as the lower."""

_ID = pa.decimal128(20, 0)
_MICROS = pa.timestamp("us", "UTC")
_PLAIN = {
    pa.bool_(): (pa.bool_(), BooleanType()),
    pa.utf8(): (pa.utf8(), StringType()),
    pa.large_utf8(): (pa.utf8(), StringType()),
    pa.float64(): (pa.float64(), DoubleType()),
    pa.float32(): (pa.float64(), DoubleType()),
    pa.int8(): (pa.int32(), IntegerType()),
    pa.int16(): (pa.int32(), IntegerType()),
    pa.int32(): (pa.int32(), IntegerType()),
    pa.int64(): (pa.int64(), LongType()),
    pa.uint8(): (pa.int32(), IntegerType()),
    pa.uint16(): (pa.int32(), IntegerType()),
    pa.uint32(): (pa.int64(), LongType()),
    pa.uint64(): (pa.int64(), LongType()),
}


class DoesNotFit(InputError):
    """A batch holds a value that the table cannot hold; the message names the column, in one line."""


def is_exact(field: pa.Field) -> bool:
    """Whether a column is a time in nanoseconds, which becomes two columns."""
    return bool(pa.types.is_timestamp(field.type) and field.type.unit == "ns")


def stored(schema: pa.Schema) -> pa.Schema:
    """The columns of the table's files for a schema of the bus."""
    fields = []
    for field in schema:
        fields.append(pa.field(field.name, _stored_type(field.name, field.type), field.nullable))
        if is_exact(field):
            fields.append(pa.field(field.name + EXACT, pa.int64(), field.nullable))
    return pa.schema(fields)


def _stored_type(name: str, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return _MICROS
    if pa.types.is_map(kind):
        item = pa.field("value", _stored_type("", kind.item_type), kind.item_field.nullable)
        return pa.map_(pa.field("key", _stored_type("", kind.key_type), nullable=False), item)
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _stored_type("", kind.value_type), kind.value_field.nullable))
    if name in IDS:
        return _ID
    if kind not in _PLAIN:
        raise UsageError(f"column {name!r}: the lake has no type for {kind}; add it to loom/lake/mapping.py")
    return _PLAIN[kind][0]


def iceberg_type(kind: pa.DataType, ids: list[int]) -> IcebergType:
    """Of a stored type; takes the ids of nested fields from the end of the list."""
    if pa.types.is_timestamp(kind):
        return TimestamptzType()
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_map(kind):
        key, value = ids.pop(), ids.pop()
        kinds = iceberg_type(kind.key_type, ids), iceberg_type(kind.item_type, ids)
        return MapType(key, kinds[0], value, kinds[1], not kind.item_field.nullable)
    if pa.types.is_list(kind):
        return ListType(ids.pop(), iceberg_type(kind.value_type, ids), not kind.value_field.nullable)
    return _PLAIN[kind][1]


def iceberg_schema(schema: pa.Schema) -> Schema:
    """A new table's schema: ids 1, 2, 3 ... for the columns, then for what is nested in them."""
    fields = list(stored(schema))
    ids = list(range(len(fields) + 4 * len(fields), len(fields), -1))
    made = [
        NestedField(at, field.name, iceberg_type(field.type, ids), required=not field.nullable)
        for at, field in enumerate(fields, 1)
    ]
    return Schema(*made)


def with_ids(schema: pa.Schema, table: Schema) -> pa.Schema:
    """Stored columns, each marked with the id that the table gives it, as Iceberg's readers look for it."""
    return pa.schema([_marked(field, table.find_field(field.name)) for field in schema])


def _marked(field: pa.Field, known: NestedField) -> pa.Field:
    kind, of = field.type, known.field_type
    if isinstance(of, MapType):
        kind = pa.map_(_marked(kind.key_field, of.key_field), _marked(kind.item_field, of.value_field))
    elif isinstance(of, ListType):
        kind = pa.list_(_marked(kind.value_field, of.element_field))
    return pa.field(field.name, kind, field.nullable, {"PARQUET:field_id": str(known.field_id)})


def to_stored(rows: pa.Table) -> pa.Table:
    """The same rows as the table holds them. Raises DoesNotFit when a number is too large for its column."""
    target = stored(rows.schema)
    columns: list[pa.ChunkedArray] = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        kind = target.field(field.name).type
        columns.append(_cast(field, column, kind))
        if is_exact(field):
            columns.append(column.cast(pa.int64()))
    return pa.table(columns, schema=target)


def _cast(field: pa.Field, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    try:
        return pc.cast(column, kind, safe=not pa.types.is_timestamp(kind))  # the cut nanoseconds lie beside it
    except pa.ArrowInvalid as error:
        raise DoesNotFit(f"column {field.name}: a value does not fit the table: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def from_stored(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of the table as they were on the bus, to the nanosecond. Columns of `schema` that are not there are left."""
    fields = [field for field in schema if field.name in table.column_names]
    columns = []
    for field in fields:
        if is_exact(field):
            columns.append(table.column(field.name + EXACT).cast(pa.timestamp("ns", field.type.tz)))
        else:
            columns.append(table.column(field.name).cast(field.type))
    return pa.table(columns, schema=pa.schema(fields))
