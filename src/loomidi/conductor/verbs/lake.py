"""`loomidi lake`: SQL over the lake, its tables and snapshots, and what keeps it small.

Called by `conductor.cli`. In: the lake that the settings name, or `--lake` and `--catalog`. Out: tables for people,
JSON lines for programs, Parquet. Exit code 0, 1 when a dry sweep found orphans, 2 for wrong SQL, an unknown table or a
lake that does not answer. The work is `loom.lake`.
"""

import dataclasses
import datetime
import decimal
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError

if TYPE_CHECKING:
    from loomidi.loom.lake import Lake, Query

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 100  # rows of a table for people, unless --limit says otherwise


@click.group(name="lake")
@click.option("--lake", "warehouse", metavar="FOLDER|URL", help="Where it lies: a folder or s3://BUCKET/PREFIX.")
@click.option("--catalog", metavar="URL", help="Of an Iceberg REST catalog; else the lake's own file.")
@click.option("--config", metavar="FILE", help="Take [lake] of this configuration file (docs/lake.md).")
@click.pass_context
def command(context: click.Context, warehouse: str | None, catalog: str | None, config: str | None) -> None:
    """Ask the lake, see its tables and snapshots, keep it small.

    The lake is the agent's own unless an option, a file or a variable LOOMIDI_LAKE_* names another. Exit codes: 0 ok,
    1 a dry sweep found orphans, 2 wrong SQL, an unknown table or a lake that does not answer.
    """
    state = context.obj.storage.state
    context.obj = lambda: open_lake(state, warehouse, catalog, config)


def open_lake(state: Path, warehouse: str | None, catalog: str | None, config: str | None) -> "Lake":
    """The lake that is meant. Raises EnvironmentLacks where the libraries are not installed."""
    try:
        from loomidi.kit import configuring
        from loomidi.loom.lake import Lake, LakeSettings
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed: pip install 'loomidi[pipeline]'") from error

    base = dataclasses.replace(LakeSettings(folder=state / "lake"), **_section(config))
    settings = configuring.overlaid(_only()(base), os.environ).lake
    if warehouse and "://" not in warehouse and not catalog and not settings.catalog:
        settings = dataclasses.replace(settings, folder=Path(warehouse), warehouse="")
    elif warehouse:
        settings = dataclasses.replace(settings, warehouse=warehouse)
    return Lake(dataclasses.replace(settings, catalog=catalog) if catalog else settings)


def _section(config: str | None) -> dict[str, Any]:
    """What a configuration file says of the lake; the rest of it is for others."""
    if config is None:
        return {}
    import tomlkit

    from loomidi.kit import configuring

    try:
        given = tomlkit.parse(Path(config).read_text(encoding="utf-8")).unwrap().get("lake", {})
    except (OSError, ValueError) as error:
        raise InputError(f"{config}: {getattr(error, 'strerror', None) or error}") from error
    read = configuring.parse(_only(), tomlkit.dumps({"lake": given}), config).lake
    return {name: getattr(read, name) for name in given}


def _only() -> Any:
    """A configuration of nothing but the lake."""
    from loomidi.loom.lake import LakeSettings

    group = ("lake", LakeSettings, dataclasses.field(default_factory=LakeSettings))
    return dataclasses.make_dataclass("Only", [group], frozen=True)


def _as_json(what: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(what)


@command.command("query")
@click.argument("sql")
@click.option("--since", metavar="TIME", help="Only rows from then on: 2026-11-26T12:03:00Z, or 15m for so long ago.")
@click.option("--until", metavar="TIME", help="Only rows before then.")
@click.option("--as-of", metavar="SNAPSHOT|TIME", help="The tables as they were.")
@click.option("--limit", type=click.IntRange(min=0), metavar="ROWS", help="At most so many rows.  [a table: 100]")
@click.option("--parquet", metavar="FILE", help="Write the answer to a file.")
@_as_json
@click.pass_obj
def query(
    open_lake: Callable[[], "Lake"], /, sql: str, *, limit: int | None, parquet: str | None, **options: Any
) -> int:
    """Run one SQL statement (DuckDB) over the tables that it names.

    \b
    loomidi lake query "select source_ip_address, sum(octet_delta_count) o from flows group by 1 order by 2 desc"
    loomidi lake query --since 1h --json "select * from events where severity = 'high'"
    """
    as_json = options["as_json"]
    if as_json and parquet:
        raise UsageError("give either --json or --parquet")
    shown = limit if limit is not None or as_json or parquet else _SHOWN + 1
    with open_lake() as lake:
        from loomidi.loom.lake import Query

        now_ns = lake.clock.now_ns()
        since, until = (moment(options[name], now_ns) if options[name] else None for name in ("since", "until"))
        snapshot, at_ms = _as_of(options["as_of"], now_ns)
        with Query(lake, sql, since_ns=since, until_ns=until, as_of=snapshot, at_ms=at_ms, limit=shown) as asked:
            if parquet:
                _write(asked, Path(parquet))
            elif as_json:
                _lines(row for batch in asked.batches() for row in batch.to_pylist(maps_as_pydicts="lossy"))
            else:
                _draw_answer(asked, limit)
    return 0


@command.command("tables")
@_as_json
@click.pass_obj
def tables(open_lake: Callable[[], "Lake"], *, as_json: bool) -> int:
    """List the tables: rows, files, octets, newest snapshot, how far the bus is in them."""
    with open_lake() as lake:
        rows = []
        for name in lake.tables():
            seen = lake.snapshots(name)
            last = dataclasses.asdict(seen[-1]) if seen else {}
            kept = {field: last.get(field, 0) for field in ("rows", "files", "octets", "at_ms")}
            rows.append({"table": name, **kept, "snapshots": len(seen), "position": last.get("position", "")})
    _told(rows, as_json, "the lake is empty: nothing was committed yet")
    return 0


@command.command("snapshots")
@click.argument("table")
@_as_json
@click.pass_obj
def snapshots(open_lake: Callable[[], "Lake"], table: str, *, as_json: bool) -> int:
    """List the states of a table that `--as-of` can name, the oldest first."""
    with open_lake() as lake:
        rows = [dataclasses.asdict(each) for each in lake.snapshots(table)]
    _told(rows, as_json, f"{table} has no rows yet")
    return 0


@command.command("compact")
@click.argument("names", nargs=-1, metavar="[TABLE...]")
@click.option("--every-hour", is_flag=True, help="Also hours that rows still come for.")
@_as_json
@click.pass_obj
def compact(open_lake: Callable[[], "Lake"], names: tuple[str, ...], *, every_hour: bool, as_json: bool) -> int:
    """Rewrite the small files of closed hours as large sorted ones. Safe while rows are committed."""
    with open_lake() as lake:
        from loomidi.loom import lake as house

        rows = [
            {"table": name, **dataclasses.asdict(done), "hour": _hour(done.hour)}
            for name in names or lake.tables()
            for done in house.compact(lake, name, every_hour=every_hour)
        ]
    _told(rows, as_json, "nothing to compact")
    return 0


@command.command("expire")
@click.argument("names", nargs=-1, metavar="[TABLE...]")
@click.option("--older-than", default="7d", metavar="TIME", help="Let go of snapshots from before then.  [7d]")
@click.option("--keep", default=10, metavar="COUNT", help="But keep the last ones, and every tag.  [10]")
@_as_json
@click.pass_obj
def expire(
    open_lake: Callable[[], "Lake"], names: tuple[str, ...], *, older_than: str, keep: int, as_json: bool
) -> int:
    """Let go of old snapshots and delete the files that only they need. Rows of the present stay."""
    with open_lake() as lake:
        from loomidi.loom import lake as house

        before_ms = moment(older_than, lake.clock.now_ns()) // 1_000_000
        rows = [
            {"table": name, **dataclasses.asdict(house.expire(lake, name, older_than_ms=before_ms, keep_last=keep))}
            for name in names or lake.tables()
        ]
    _told(rows, as_json, "the lake is empty")
    return 0


@command.command("sweep")
@click.argument("names", nargs=-1, metavar="[TABLE...]")
@click.option("--age", metavar="TIME", help="Only files that are older, such as 2d.  [1d]")
@click.option("--remove", is_flag=True, help="Delete them; without it they are only listed.")
@_as_json
@click.pass_obj
def sweep(open_lake: Callable[[], "Lake"], /, names: tuple[str, ...], *, age: str | None, **options: bool) -> int:
    """Find files that belong to no snapshot, as crashes leave them. Deletes nothing without --remove.

    Exit code 1 when orphans were found and not removed.
    """
    remove, as_json = options["remove"], options["as_json"]
    with open_lake() as lake:
        from loomidi.loom import lake as house

        now_ns = lake.clock.now_ns()
        age_s = None if age is None else (now_ns - moment(age, now_ns)) / 1e9
        done = [(name, house.sweep(lake, name, age_s=age_s, remove=remove)) for name in names or lake.tables()]
    rows = [{"table": name, **dataclasses.asdict(swept)} for name, swept in done]
    if not as_json:
        for row in rows:
            row["orphans"] = len(row["orphans"])
    _told(rows, as_json, "the lake is empty")
    return int(any(swept.orphans for _, swept in done) and not remove)


def moment(text: str, now_ns: int) -> int:
    """ns since the epoch of an ISO time (UTC where it names no zone), or of so long ago. Raises UsageError."""
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if ago:
        return now_ns - round(float(ago[1]) * _UNITS[ago[2]] * 1e9)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time; write 2026-11-26T12:03:00Z, or 15m for so long ago") from error
    zoned = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1) * 1000


def _as_of(text: str | None, now_ns: int) -> tuple[int | None, int | None]:
    """A snapshot's id, or ms since the epoch."""
    if text is None:
        return None, None
    if text.isdecimal():
        return int(text), None
    return None, moment(text, now_ns) // 1_000_000


def _hour(hours: int) -> str:
    return f"{datetime.datetime.fromtimestamp(hours * 3600, datetime.UTC):%Y-%m-%dT%H}Z"


def _write(asked: "Query", path: Path) -> None:
    """The answer as Parquet; the file is there as a whole or not at all."""
    import pyarrow.parquet as pq

    partial, rows = path.with_name(f".{path.name}.{os.getpid()}"), 0
    batches = asked.batches()
    try:
        first = next(batches)
        with pq.ParquetWriter(partial, first.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        partial.replace(path)
    except OSError as error:
        raise EnvironmentLacks(f"{path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"loomidi: {rows} rows in {path}", err=True)


def _lines(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(_plain(row), separators=(",", ":")) + "\n")


def _plain(value: Any) -> Any:
    """As JSON can say it: times in ISO with Z, whole decimals as numbers, what is no number as null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | bool | None) else str(value)


def _draw_answer(asked: "Query", limit: int | None) -> None:
    answer = asked.rows()
    shown = answer if limit is not None else answer.slice(0, _SHOWN)
    _draw(answer.column_names, (list(row.values()) for row in shown.to_pylist(maps_as_pydicts="lossy")))
    if answer.num_rows > shown.num_rows:
        click.echo(f"loomidi: the first {_SHOWN} rows; --limit ROWS shows more, --json and --parquet all", err=True)


def _told(rows: Sequence[dict[str, Any]], as_json: bool, empty: str) -> None:
    """Records as JSON lines or as a table; people are told when there are none."""
    if as_json:
        _lines(iter(rows))
    elif not rows:
        click.echo(f"loomidi: {empty}", err=True)
    else:
        _draw([name.removesuffix("_ms") for name in rows[0]], (_cells(row) for row in rows))


def _cells(row: dict[str, Any]) -> Iterator[Any]:
    for name, value in row.items():
        if name.endswith("_ms") and value:
            yield datetime.datetime.fromtimestamp(value / 1000, datetime.UTC)
        else:
            yield ", ".join(map(str, value)) if isinstance(value, tuple) else value


def _draw(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A table as wide as it needs to be when it goes to a file, as the terminal is otherwise."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    cells = [list(row) for row in rows]
    for at, name in enumerate(names):
        numbers = all(isinstance(row[at], int | float | decimal.Decimal | None) for row in cells)
        drawn.add_column(Text(name), justify="right" if numbers and cells else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(_cell(value)) for value in row))
    wide = None if sys.stdout.isatty() else 400
    Console(width=wide).print(drawn)


def _cell(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    text = plain if isinstance(plain, str) else json.dumps(plain)
    return "".join(each if each.isprintable() else "?" for each in text)
