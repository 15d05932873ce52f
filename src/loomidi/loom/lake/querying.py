"""SQL over the lake, read-only, by DuckDB.

Called by `loomidi lake query`, the dashboard and tests. In: one statement. Out: Arrow. Only the tables that it names
are opened; their files come from pyiceberg's plan, read by pyarrow with the columns and bounds that DuckDB asks for.
The statement itself reaches no file, no network and no variable of this process.
"""

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from loomidi.contracts.errors import InputError, UsageError
from loomidi.loom.lake import reading
from loomidi.loom.lake.lakes import Lake

_SEALED = (
    "SET enable_external_access=false",
    "SET python_enable_replacements=false",
    "SET autoinstall_known_extensions=false",
    "SET autoload_known_extensions=false",
    "SET lock_configuration=true",
)
_READING = {"SELECT", "EXPLAIN"}


class Query:
    """One statement over the tables as of one moment. A context; `rows` while it is open."""

    def __init__(
        self,
        lake: Lake,
        sql: str,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        as_of: int | None = None,
        at_ms: int | None = None,
        limit: int | None = None,
    ) -> None:
        """Opens what the statement names. Raises UsageError for what does not only read, InputError for bad SQL."""
        import duckdb

        self._lake, self._limit = lake, limit
        self._connection = duckdb.connect(":memory:")
        try:
            self._sql = _checked(self._connection, sql)
            self._tables = named_in(sql, lake.tables())
            for name in self._tables:
                self._open(name, since_ns, until_ns, as_of, at_ms)
            for setting in _SEALED:
                self._connection.execute(setting)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> "Query":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _open(
        self, name: str, since_ns: int | None, until_ns: int | None, as_of: int | None, at_ms: int | None
    ) -> None:
        def opened(table: Table) -> tuple[Any, str]:
            snapshot = self._lake.snapshot(table, as_of, at_ms)
            return reading.dataset(table, snapshot, since_ns=since_ns, until_ns=until_ns), reading.exact_time(table)

        found, time = self._lake.at(name, opened)
        bounds = [(">=", since_ns), ("<", until_ns)]
        where = " AND ".join(f'"{time}" {sign} {value}' for sign, value in bounds if value is not None)
        if not where:
            self._connection.register(name, found)
            return
        self._connection.register(f"{name} in full", found)
        view = f'CREATE VIEW "{name}" AS SELECT * FROM "{name} in full" WHERE {where}'  # noqa: S608 names of ours, numbers
        self._connection.execute(view)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The answer as it comes, in as many batches as it takes; first an empty one with the columns."""
        with self._told():
            reader = self._answer()
        yield pa.RecordBatch.from_pylist([], schema=reader.schema)
        while True:
            with self._told():
                batch = next(reader, None)
            if batch is None:
                return
            yield batch

    def rows(self) -> pa.Table:
        """The whole answer."""
        with self._told():
            return self._answer().read_all()

    def interrupt(self) -> None:
        """From another thread: whoever reads the answer gets an InputError."""
        self._connection.interrupt()

    def _answer(self) -> Any:
        relation = self._connection.sql(self._sql)
        if relation is None:
            raise InputError("the statement gives no rows")
        if self._limit is not None:
            relation = relation.limit(self._limit)
        return relation.to_arrow_reader(65_536)

    def _told(self) -> "_Told":
        return _Told(self._lake)


class _Told:
    """Errors of DuckDB in one line, with what may help."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        import duckdb

        if isinstance(error, duckdb.PermissionException):
            raise UsageError(f"SQL over the lake reaches the lake only: {first_line(error)}") from error
        if isinstance(error, duckdb.CatalogException) and "Table with name" in str(error):
            there = ", ".join(self._lake.tables()) or "none yet: the lake is empty"
            raise InputError(f"SQL: {first_line(error).removeprefix('Catalog Error: ')} There are {there}") from error
        if isinstance(error, duckdb.Error):
            raise InputError(f"SQL: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What DuckDB says, without the drawing below it."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


def _checked(connection: Any, sql: str) -> str:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(f"SQL: {first_line(error)}") from error
    if len(statements) != 1:
        raise UsageError(f"one statement at a time, not {len(statements)}")
    kind = statements[0].type.name
    if kind not in _READING:
        raise UsageError(f"the lake is read only here: no {kind} statements; use SELECT")
    return str(statements[0].query).rstrip().rstrip(";")


def named_in(sql: str, tables: list[str]) -> list[str]:
    """Tables whose name is a word of the statement: rather one too many than one too few."""
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    return [name for name in tables if name.lower() in words]
