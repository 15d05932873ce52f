"""Tables as their specs want them: made on first use, given the columns that a schema has gained.

Called by `Lake.ensure`. In: a catalog and a spec. Out: the table. A column is only ever added; one of another type is
refused, and a column that we do not know stays null.
"""

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import HourTransform, IdentityTransform

from loomidi.contracts.errors import InputError, Retryable
from loomidi.loom.lake import mapping
from loomidi.loom.lake.tables import TableSpec

_PROPERTIES = {
    # The catalog's history of metadata files is short, and what falls off its end is deleted.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    # Each commit adds a small manifest; every 30 of them become one, which is left alone once it has this size.
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "30",
    "commit.manifest.target-size-bytes": str(256 * 1024),
    # A commit that lost a race is never repeated blindly: the committer looks first at what was committed.
    "commit.retry.num-retries": "0",
    "write.parquet.compression-codec": "zstd",
    # Bounds of every column of every file would make manifests of a hundred columns large and slow to write.
    "write.metadata.metrics.default": "none",
}
_TRIES = 5


def made(catalog: Catalog, namespace: str, spec: TableSpec) -> Table:
    """The table, made if need be; of two who make it at once both get it."""
    if catalog.table_exists((namespace, spec.name)):
        return catalog.load_table((namespace, spec.name))
    catalog.create_namespace_if_not_exists(namespace)
    schema = mapping.iceberg_schema(spec.schema)
    time = schema.find_field(spec.time)
    order = [SortField(schema.find_field(name).field_id, IdentityTransform()) for name in (spec.time, *spec.sources)]
    return catalog.create_table_if_not_exists(
        (namespace, spec.name),
        schema,
        partition_spec=PartitionSpec(PartitionField(time.field_id, 1000, HourTransform(), f"{spec.time}_hour")),
        sort_order=SortOrder(*order),
        properties={**_PROPERTIES, **bounds(spec)},
    )


def bounds(spec: TableSpec) -> dict[str, str]:
    """Properties that say of which columns each file's least and greatest value is kept."""
    return {f"write.metadata.metrics.column.{name}": "truncate(32)" for name in bounded(spec)}


def bounded(spec: TableSpec) -> list[str]:
    """Columns whose least and greatest value is kept for each file."""
    named = {spec.time, *spec.sources, *spec.bounded}
    exact = {name + mapping.EXACT for name in named if mapping.is_exact(spec.schema.field(name))}
    return sorted(named | exact)


def grown(table: Table, spec: TableSpec) -> Table:
    """With the columns that the spec has and the table had not. Raises InputError when one was retyped."""
    for _ in range(_TRIES):
        missing = _missing(table, spec)
        if not missing:
            return table
        try:
            _add(table, missing)
        except CommitFailedException:
            table.refresh()  # somebody else has added them, or rows
    if _missing(table, spec):
        raise Retryable(f"table {spec.name}: others commit all the time; its new columns could not be added")
    return table


def _add(table: Table, fields: list[pa.Field]) -> None:
    with table.update_schema() as update:
        for field in fields:
            ids = list(range(9999, 9000, -1))  # pyiceberg gives them anew
            update.add_column(field.name, mapping.iceberg_type(field.type, ids))


def _missing(table: Table, spec: TableSpec) -> list[pa.Field]:
    there = {field.name: field.type for field in plain(table)}
    wanted = mapping.stored(spec.schema)
    for field in wanted:
        known = there.get(field.name, field.type)
        if known != field.type:
            raise InputError(
                f"table {spec.name}: column {field.name} is {known}, the stream has {field.type}; "
                "a column is never retyped: give the new one another name"
            )
    return [field for field in wanted if field.name not in there]


def plain(table: Table, schema_id: int | None = None) -> pa.Schema:
    """A table's columns in Arrow, as the files hold them."""
    schema = table.schema() if schema_id is None else table.schemas()[schema_id]
    return pa.schema([_small(field) for field in schema_to_pyarrow(schema, include_field_ids=False)])


def _small(field: pa.Field) -> pa.Field:
    """pyiceberg says large_string and large_list for what Parquet knows in one kind only."""
    kind = field.type
    if pa.types.is_large_string(kind):
        kind = pa.utf8()
    elif pa.types.is_map(kind):
        kind = pa.map_(_small(kind.key_field), _small(kind.item_field))
    elif pa.types.is_large_list(kind) or pa.types.is_list(kind):
        kind = pa.list_(_small(kind.value_field))
    return pa.field(field.name, kind, field.nullable)
