"""Rows as Parquet files of a table: sorted by time and source, one file for each hour, described for the manifest.

Called by the committer and by compaction. In: stored columns (`mapping.to_stored`). Out: pyiceberg's `DataFile`s,
whose files are written and durable but belong to no snapshot yet. Written by pyarrow itself: pyiceberg's own writer
sorts nothing, and takes twice the time (docs/adr/0041).
"""

import datetime
import itertools
import uuid
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.typedef import Record

from loomidi.loom.lake import mapping, shaping
from loomidi.loom.lake.files import LakeFiles
from loomidi.loom.lake.tables import TableSpec

_HOUR_US = 3_600_000_000
_GROUP_ROWS = 131_072  # of a row group: small enough to be skipped by its bounds, large enough to compress
_LEVEL = 1  # of zstd: level 3 takes 3 % fewer octets of flow records and half as much time again


def write(table: Table, files: LakeFiles, spec: TableSpec, rows: pa.Table, *, for_long: bool = False) -> list[DataFile]:
    """All rows, in as many files as there are hours. What fails leaves no file behind that it can remove.

    `for_long`: with bounds of every column in each row group; a file that compaction will replace does without.
    """
    bounded = True if for_long else [*shaping.bounded(spec)]
    made: list[DataFile] = []
    try:
        for hour, part in _by_hour(in_order(rows, spec), spec.time):
            made.append(_write_one(table, files, part, bounded, (hour, location_of(table, spec, hour))))
    except BaseException:
        discard(files, [each.file_path for each in made])
        raise
    return made


def discard(files: LakeFiles, locations: list[str]) -> None:
    """Remove files that became part of nothing; the sweep takes what cannot be removed now."""
    for location in locations:
        try:
            files.remove([location])
        except OSError:
            continue


def location_of(table: Table, spec: TableSpec, hour: int) -> str:
    """A new file's name; the hour is in its path for people, readers take it from the manifest."""
    folder = f"{datetime.datetime.fromtimestamp(hour * 3600, datetime.UTC):%Y-%m-%d-%H}"
    return f"{table.location()}/data/{spec.time}_hour={folder}/{uuid.uuid4().hex}.parquet"


def in_order(rows: pa.Table, spec: TableSpec) -> pa.Table:
    """Sorted by exact time, then by the sources. Rows that are in order already are not copied."""
    exact = spec.time + mapping.EXACT if spec.time + mapping.EXACT in rows.column_names else spec.time
    times = rows.column(exact).combine_chunks()
    values = times.cast(pa.int64()).to_numpy() if len(times) else np.empty(0, np.int64)
    if bool(np.all(values[1:] > values[:-1])):
        return rows
    keys = [(exact, "ascending"), *((name, "ascending") for name in spec.sources)]
    return rows.combine_chunks().take(pc.sort_indices(rows, sort_keys=keys))


def _by_hour(rows: pa.Table, time: str) -> Iterator[tuple[int, pa.Table]]:
    """Slices of sorted rows, each within one hour since the epoch."""
    if not rows.num_rows:
        return
    hours = rows.column(time).cast(pa.int64()).to_numpy() // _HOUR_US
    starts = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), rows.num_rows]
    for start, end in itertools.pairwise(starts):
        yield int(hours[start]), rows.slice(start, end - start)


def _write_one(
    table: Table, files: LakeFiles, rows: pa.Table, bounded: bool | list[str], at: tuple[int, str]
) -> DataFile:
    hour, location = at
    schema = table.schema()
    marked = mapping.with_ids(rows.schema, schema)
    system, path = files.system(location)
    try:
        with (
            system.open_output_stream(path) as stream,
            pq.ParquetWriter(stream, marked, **_options(marked), write_statistics=bounded) as writer,
        ):
            writer.write_table(rows.cast(marked), row_group_size=_GROUP_ROWS)
        size = system.get_file_info(path).size
        files.sync(location)
    except BaseException:
        discard(files, [location])
        raise
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=writer.writer.metadata,
        stats_columns=compute_statistics_plan(schema, table.metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(hour),
        file_size_in_bytes=size,
        sort_order_id=table.metadata.default_sort_order_id,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _options(schema: pa.Schema) -> dict[str, object]:
    """Times by their differences, hashes plainly, all else by dictionary: counters of flows repeat themselves."""
    exact = [
        name for name in schema.names if name.endswith(mapping.EXACT) and name[: -len(mapping.EXACT)] in schema.names
    ]
    times = exact + [name[: -len(mapping.EXACT)] for name in exact]
    return {
        "compression": "zstd",
        "compression_level": _LEVEL,
        "use_dictionary": [path for field in schema for path in _leaves(field) if path not in {*times, *mapping.IDS}],
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        "store_schema": False,
    }


def _leaves(field: pa.Field, prefix: str = "") -> Iterator[str]:
    """The columns of a field as Parquet names them."""
    path = prefix + field.name
    if pa.types.is_map(field.type):
        yield from _leaves(field.type.key_field, f"{path}.key_value.")
        yield from _leaves(field.type.item_field, f"{path}.key_value.")
    elif pa.types.is_list(field.type):
        yield from _leaves(field.type.value_field, f"{path}.list.")
    else:
        yield path
