"""`loomidi balance`: every packet of an interface, accounted for.

Called by `conductor.cli`. In: an interface with an attached shield (or none: all of them). Out: the chain of the loss
balance; exit 1 when it does not add up. Today the chain ends at the flow table; bus and lake add their links to it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks

if TYPE_CHECKING:
    from loomidi.loom.capture.balance import Balance


@click.command(name="balance")
@click.argument("interfaces", nargs=-1, metavar="[IFACE...]")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def command(interfaces: tuple[str, ...], as_json: bool) -> int:
    """Account for every packet; exit 1 when it does not add up.

    received = unparsed + dropped + passed + accounted + overflowed + overflow_lost, counted per CPU, each packet in
    exactly one. The drops are then held against the entries that did them, and all of it against the interface's
    own receive
    counter.
    """
    from loomidi.loom.capture.balance import balance_of

    names = interfaces or _attached()
    balances = [balance_of(name) for name in names]
    if as_json:
        click.echo(json.dumps([balance.as_dict() for balance in balances], indent=1))
    else:
        for balance in balances:
            _show(balance)
    return 0 if all(balance.adds_up for balance in balances) else 1


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
