"""`loomidi doctor`: the check-up, for a person or as JSON.

Called by `conductor.cli`. Exit code 0 when the main job works, 1 when something that it needs is broken.
"""

import dataclasses
import json

import click

from loomidi import __version__
from loomidi.services.checkup import Check, check_up, works


@click.command("doctor")
@click.option("--interface", metavar="NAME", help="Also probe this interface for its XDP modes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def command(interface: str | None, as_json: bool) -> int:
    """What works on this machine, what does not, why, and how to mend it."""
    checks = check_up(interface)
    if as_json:
        document = {"version": __version__, "works": works(checks), "checks": [dataclasses.asdict(c) for c in checks]}
        click.echo(json.dumps(document, indent=2))
    else:
        _draw(checks)
    return 0 if works(checks) else 1


def _draw(checks: list[Check]) -> None:
    """A table a group, and below it the commands that mend what is broken."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for group in dict.fromkeys(check.group for check in checks):
        table = Table(
            title=group, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1)
        )
        for check in (check for check in checks if check.group == group):
            table.add_row(_mark(check), check.name, Text(check.says))
        console.print(table)
    mends = dict.fromkeys((check.name, check.mend) for check in checks if check.mend)
    if mends:
        console.print("\n[bold]To mend[/bold]")
    for name, mend in mends:
        console.print(Text(f"  {name}: {mend}"))
    verdict = "The main job works: loomidi analyze CAPTURE" if works(checks) else "The main job does not work yet."
    console.print(f"\n{verdict}")


def _mark(check: Check) -> str:
    if check.ok:
        return "[green]ok[/green]"
    return "[red]broken[/red]" if check.required else "[yellow]absent[/yellow]"
