"""`loomidi balance`: every packet accounted for, from the NIC to the table.

Called by `conductor.cli`. In: a range of time and the lake of `loomidi run`; or interfaces with an attached shield.
Out: the chain of the loss balance; exit 1 when it does not add up. The kernel's part is `loom.capture.balance`, the
whole chain `services.accounting`.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks, InputError

if TYPE_CHECKING:
    from loomidi.loom.capture.balance import Balance
    from loomidi.services.balancing import Chain, Equation


@click.command(name="balance")
@click.argument("interfaces", nargs=-1, metavar="[IFACE...]")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="That of `loomidi run`.")
@click.option("--since", default="", metavar="TIME", help="RFC 3339, or 90s, 15m, 2h ago; else from the beginning.")
@click.option("--until", default="", metavar="TIME", help="As --since; else now.")
@click.option("--attached", is_flag=True, help="The kernel's part of every attached shield, as if all were named.")
@click.option("--no-bus", is_flag=True, help="Do not ask the bus what still waits there.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def command(interfaces: tuple[str, ...], as_json: bool, attached: bool, **options: Any) -> int:
    """Account for every packet and row; exit 1 when it does not add up.

    Without IFACE: the chain from the links to the tables of the lake, over a range of time, from the counters that lie
    in the lake themselves. With IFACE: the kernel's part alone, of a shield that is attached there:
    received = unparsed + dropped + passed + accounted + overflowed + overflow_lost, counted per CPU, each packet in
    exactly one; held against the entries that dropped and against the interface's own counter.
    """
    names = interfaces or (_attached() if attached else ())
    if not names:
        return _chain(as_json, options)
    from loomidi.loom.capture.balance import balance_of

    balances = [balance_of(name) for name in names]
    if as_json:
        click.echo(json.dumps([balance.as_dict() for balance in balances], indent=1))
    else:
        for balance in balances:
            _show(balance)
    return 0 if all(balance.adds_up for balance in balances) else 1


def _chain(as_json: bool, options: dict[str, Any]) -> int:
    from loomidi.conductor.verbs.lake import moment
    from loomidi.conductor.verbs.run import settings_of

    now = time.time_ns()
    since = moment(options["since"], now) if options["since"] else 0
    until = moment(options["until"], now) if options["until"] else now + 1
    if until <= since:
        raise InputError("--until is not after --since; give a range of time")
    chain = asyncio.run(_read(settings_of(options["config"]), (since, until), not options["no_bus"]))
    if as_json:
        click.echo(json.dumps(chain.as_dict(), indent=1))
    else:
        for equation in chain.equations:
            click.echo(_equation(equation))
        click.echo("adds up" if chain.adds_up else "DOES NOT ADD UP")
    return 0 if chain.adds_up else 1


async def _read(settings: Any, span: tuple[int, int], ask: bool) -> "Chain":
    from loomidi.loom.bus import open_bus
    from loomidi.loom.lake import Lake
    from loomidi.services.accounting import balance_of, waiting_on

    waiting: dict[str, int | None] = {}
    if ask:
        async with await open_bus(settings.bus) as bus:
            waiting = await waiting_on(bus)
    with Lake(settings.lake) as lake:
        return balance_of(lake, since_ns=span[0], until_ns=span[1], waiting=waiting)


def _equation(equation: "Equation") -> str:
    """`holds  commit   flows: 120 published = 118 committed + 2 buried rows`, and the note."""
    name, total = equation.total
    parts = " + ".join(f"{value:,} {part}" for part, value in equation.parts) or "0"
    verdict = "holds" if equation.holds else "OFF BY " + f"{equation.off:,}"
    note = f"  ({equation.note})" if equation.note else ""
    return f"{verdict:8} {equation.stage:8} {equation.place}: {total:,} {name} = {parts} {equation.unit}{note}"


def _attached() -> list[str]:
    """Interfaces with a pinned shield."""
    from loomidi.loom.capture.xdp.attaching import pins_of

    names = sorted(path.name for path in Path("/sys/class/net").iterdir() if pins_of(path.name).is_dir())
    if not names:
        raise EnvironmentLacks("no shield is attached; `loomidi shield attach IFACE` first")
    return names


def _show(balance: "Balance") -> None:
    lines: list[tuple[str, Any]] = [("received", balance.received), *balance.parts]
    click.echo(f"{balance.interface} ({balance.rung})")
    for name, packets in lines:
        click.echo(f"  {name:28} {packets:>14,} packets")
    for check in balance.checks:
        click.echo(f"  {'holds' if check.holds else 'DOES NOT HOLD':14} {check.says}")
