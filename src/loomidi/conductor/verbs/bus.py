"""`loomidi bus`: how the streams stand, who lags behind, and the letters that nobody could deliver.

Called by `conductor.cli`. In: the bus that the settings name, or `--url`. Out: tables for people, JSON for programs.
Exit code 0, 1 when there are dead letters to be seen to, 2 when the bus does not answer. The work is `loom.bus`.
"""

import asyncio
import dataclasses
import datetime
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loomidi.contracts.errors import InputError, UsageError

if TYPE_CHECKING:
    from loomidi.contracts.streams import Dead
    from loomidi.loom.bus.settings import BusSettings
    from loomidi.loom.bus.standings import StreamStanding, TendedBus

Answer = TypeVar("Answer")
Ask = Callable[[Callable[["TendedBus"], Awaitable[Any]]], Any]
_ALL = 1_000_000  # dead letters; more than anybody keeps


@click.group(name="bus")
@click.option("--url", metavar="URL", help="nats://, tls:// or kafka://HOST:PORT; else the server of our own.")
@click.option("--folder", metavar="FOLDER", help="Of the server of our own.  [LOOMIDI_STORAGE_STATE/bus]")
@click.option("--config", metavar="FILE", help="Take [bus] of this configuration file (docs/bus.md).")
@click.pass_context
def command(context: click.Context, url: str | None, folder: str | None, config: str | None) -> None:
    """See the streams and their readers; show, publish anew what died on the way.

    Without --url it is the server of our own: that of a running `loomidi run`, or started for the moment. Exit codes:
    0 ok, 1 there are dead letters, 2 the bus does not answer.
    """
    state = context.obj.storage.state

    def ask(what: Callable[["TendedBus"], Awaitable[Answer]]) -> Answer:
        return asyncio.run(_asked(_settings(state, url, folder, config), what))

    context.obj = ask


async def _asked(settings: "BusSettings", what: Callable[["TendedBus"], Awaitable[Answer]]) -> Answer:
    from loomidi.loom.bus import open_bus

    async with await open_bus(settings) as bus:
        return await what(bus)


def _settings(state: Path, url: str | None, folder: str | None, config: str | None) -> "BusSettings":
    """Defaults, then the file, then the environment, then the options."""
    from loomidi.kit import configuring
    from loomidi.loom.bus.settings import BusSettings

    group = ("bus", BusSettings, dataclasses.field(default_factory=BusSettings))
    only: Any = dataclasses.make_dataclass("Only", [group], frozen=True)
    base = dataclasses.replace(BusSettings(folder=state / "bus"), **_section(only, config))
    settings: BusSettings = configuring.overlaid(only(base), os.environ).bus
    given: dict[str, Any] = {"url": url, "folder": Path(folder) if folder else None}
    return dataclasses.replace(settings, **{name: value for name, value in given.items() if value is not None})


def _section(only: Any, config: str | None) -> dict[str, Any]:
    """What a configuration file says of the bus; the rest of it is for others."""
    if config is None:
        return {}
    import tomlkit

    from loomidi.kit import configuring

    try:
        given = tomlkit.parse(Path(config).read_text(encoding="utf-8")).unwrap().get("bus", {})
    except (OSError, ValueError) as error:
        raise InputError(f"{config}: {getattr(error, 'strerror', None) or error}") from error
    read = configuring.parse(only, tomlkit.dumps({"bus": given}), config).bus
    return {name: getattr(read, name) for name in given}


def _as_json(what: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(what)


@command.command("status")
@_as_json
@click.pass_obj
def status(ask: Ask, /, *, as_json: bool) -> int:
    """Streams with what they hold, readers with what they have not committed yet, dead letters."""
    standings: list[StreamStanding] = ask(lambda bus: bus.standings())
    for one in standings:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(one)))
    if not as_json:
        _draw(standings)
    return int(any(one.stream == "dead" and one.messages for one in standings))


def _draw(standings: "list[StreamStanding]") -> None:
    click.echo(f"{'stream':16}{'messages':>10}{'octets':>16}{'limit':>16}  readers (messages behind)")
    for one in standings:
        readers = ", ".join(f"{who.name} ({who.messages})" for who in one.readers) or "-"
        octets, limit = ("-" if value is None else f"{value:,}" for value in (one.octets, one.limit_octets))
        click.echo(f"{one.stream:16}{one.messages:>10,}{octets:>16}{limit:>16}  {readers}")


@command.command("forget")
@click.argument("stream")
@click.argument("reader")
@click.pass_obj
def forget(ask: Ask, /, *, stream: str, reader: str) -> None:
    """A reader that will not come back: what it has not read need not be kept for it any longer."""
    if not ask(lambda bus: bus.forget(stream, reader)):
        raise UsageError(f"{stream} has no reader {reader}; `loomidi bus status` tells those that it has")
    click.echo(f"{reader} holds nothing of {stream} any longer")


@command.group("dead")
def dead() -> None:
    """Letters that nobody could deliver, each with its cause."""


@dead.command("list")
@click.option("--stream", metavar="NAME", help="Only those of this stream.")
@click.option("--most", type=click.IntRange(1), default=100, metavar="N", help="The oldest so many.  [100]")
@_as_json
@click.pass_obj
def dead_list(ask: Ask, /, *, stream: str | None, most: int, as_json: bool) -> int:
    """The oldest dead letters. Exit code 1 when there are any."""
    letters: list[Dead] = ask(lambda bus: bus.dead(most=most, stream=stream))
    for one in letters:
        if as_json:
            click.echo(json.dumps(_told(one)))
        else:
            click.echo(f"{one.id:>8}  {_clock(one.at_ns)}  {one.stream:14}  {one.reader:12}  {one.cause}")
    if not letters and not as_json:
        click.echo("no dead letters")
    return int(bool(letters))


@dead.command("show")
@click.argument("number", type=int)
@click.option("--payload", metavar="FILE", help="Write the octets of the envelope to a file.")
@_as_json
@click.pass_obj
def dead_show(ask: Ask, /, *, number: int, payload: str | None, as_json: bool) -> None:
    """One dead letter: whose it is, why it died, and what is in it as far as it can be read."""
    letters: list[Dead] = ask(lambda bus: bus.dead(most=_ALL))
    found = next((one for one in letters if one.id == number), None)
    if found is None:
        raise UsageError(f"there is no dead letter {number}; `loomidi bus dead list` tells those that are there")
    if payload:
        Path(payload).write_bytes(found.payload)
    told = {**_told(found), **_inside(found.payload)}
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, value in told.items():
        click.echo(f"{name:12} {value}")


@dead.command("replay")
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All of them, or all of --stream.")
@click.option("--stream", metavar="NAME", help="With --all: only those of this stream.")
@_as_json
@click.pass_obj
def dead_replay(ask: Ask, /, *, numbers: tuple[int, ...], everything: bool, stream: str | None, as_json: bool) -> None:
    """Publish dead letters anew on their streams, for readers that can use them now, and remove them."""
    if everything == bool(numbers):
        raise UsageError("say which: numbers as `loomidi bus dead list` tells them, or --all")

    async def replay(bus: "TendedBus") -> int:
        wanted = list(numbers) or [one.id for one in await bus.dead(most=_ALL, stream=stream)]
        return await bus.exhume(wanted)

    count: int = ask(replay)
    click.echo(json.dumps({"replayed": count}) if as_json else f"{count} published anew")


def _told(one: "Dead") -> dict[str, Any]:
    """All but the payload."""
    told = {"id": one.id, "stream": one.stream, "envelope": one.envelope_id, "reader": one.reader, "cause": one.cause}
    return {**told, "at": _clock(one.at_ns), "octets": len(one.payload)}


def _inside(payload: bytes) -> dict[str, Any]:
    """Rows and columns of a payload that is Arrow, else its first octets."""
    import pyarrow as pa

    from loomidi.loom.bus.envelopes import unpacked

    try:
        table = pa.ipc.open_stream(unpacked(payload)).read_all()
    except (pa.ArrowException, InputError, OSError, ValueError):
        return {"rows": None, "begins": payload[:32].hex()}
    return {"rows": table.num_rows, "columns": [f"{field.name}: {field.type}" for field in table.schema]}


def _clock(at_ns: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ns // 10**9, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
