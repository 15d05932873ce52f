"""Flow batches to a file: Parquet, Arrow IPC, CSV or JSON lines, by suffix; `-` is JSON lines on standard output.

Called by the verbs `meter` and `watch`. In: batches of the schema `FLOWS`, or that with more columns. Out: a file that
appears only when it is complete. Times are integers (ns since the epoch) in the text forms, lists are joined by blanks
in CSV, nulls are empty in CSV.
"""

import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa

from loomidi.contracts.errors import InputError, UsageError
from loomidi.contracts.schemas import FLOWS

STANDARD_OUTPUT = "-"

Write = Callable[[pa.RecordBatch], None]


class _Form(Protocol):
    def __call__(self, sink: IO[bytes], schema: pa.Schema) -> contextlib.AbstractContextManager[Write]: ...


@contextlib.contextmanager
def writing(output: str, schema: pa.Schema = FLOWS) -> Iterator[Write]:
    """A function that writes one batch. When the block fails, what was written is removed.

    Raises UsageError for a suffix that has no form, InputError when the place cannot be written to.
    """
    if output == STANDARD_OUTPUT:
        with _json_lines(sys.stdout.buffer, schema) as write:
            yield write
        return
    form = _FORMS.get(Path(output).suffix.lower())
    if form is None:
        raise UsageError(f"{output}: no form for this suffix; use {', '.join(_FORMS)}, or - for standard output")
    with _target(Path(output)) as sink, form(sink, schema) as write:
        yield write


@contextlib.contextmanager
def _target(path: Path) -> Iterator[IO[bytes]]:
    """Write beside the target, then rename; a device or pipe is written to as it is."""
    try:
        straight = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        partial = path if straight else path.with_name(f".{path.name}.{os.getpid()}.part")
        sink = partial.open("wb")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; choose another --output") from error
    try:
        with sink:
            yield sink
        if not straight:
            partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: writing failed: {error.strerror}; make room or choose another --output") from error
    finally:
        if not straight:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _parquet(sink: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    from pyarrow import parquet

    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        yield writer.write_batch


@contextlib.contextmanager
def _arrow_file(sink: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    with pa.ipc.new_file(sink, schema) as writer:
        yield writer.write_batch


@contextlib.contextmanager
def _arrow_stream(sink: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    with pa.ipc.new_stream(sink, schema) as writer:
        yield writer.write_batch


@contextlib.contextmanager
def _csv(sink: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    import csv

    text = io.TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(schema.names)

    def write(batch: pa.RecordBatch) -> None:
        columns = [_joined(column) for column in _plain(batch)]
        rows.writerows(zip(*columns, strict=True))

    yield write
    text.detach()


@contextlib.contextmanager
def _json_lines(sink: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    names = schema.names

    def write(batch: pa.RecordBatch) -> None:
        rows = zip(*_plain(batch), strict=True)
        lines = (json.dumps(dict(zip(names, row, strict=True)), separators=(",", ":")) for row in rows)
        sink.write("".join(f"{line}\n" for line in lines).encode())
        sink.flush()

    yield write


def _plain(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns as lists of what JSON can hold."""
    return [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in batch.columns
    ]


def _joined(column: list[Any]) -> list[Any]:
    if column and isinstance(column[0], list):
        return [" ".join(map(str, items)) for items in column]
    return column


_FORMS: dict[str, _Form] = {
    ".parquet": _parquet,
    ".arrow": _arrow_file,
    ".ipc": _arrow_file,
    ".feather": _arrow_file,
    ".arrows": _arrow_stream,
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
}
