"""`loomidi cuts`: what the node agent has cut on this node, shown and given back without it.

Called by `conductor.cli`. Out: a line for each link of a pod and each source, or JSON. The work:
`services.agents.uncutting`.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from loomidi.services.agents.uncutting import Found


@click.group("cuts")
def command() -> None:
    """Pods and sources that the node agent has cut here."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def show(*, as_json: bool) -> int:
    """What is in the kernel, with what it has met so far."""
    from loomidi.services.agents import uncutting

    found = uncutting.found()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        _draw(found)
    return 0


@command.command("clear")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The agent's state.  [as the agent's]")
@click.pass_context
def clear(context: click.Context, state: Path | None) -> int:
    """Give everything back, and leave no program, map or pin. End the agent before: it would cut again."""
    from loomidi.services.agents import uncutting

    was = uncutting.clear((state or context.obj.storage.state).expanduser())
    click.echo(f"given back: {len(was.cuts)} links of pods, {len(was.denies)} sources")
    return 0


def _draw(found: "Found") -> None:
    for one in found.cuts:
        left_s = max(0.0, one.cut.expires_ns / 1e9 - time.time())
        met = f"{one.dropped_from} from it and {one.dropped_to} to it dropped, {one.spared} spared"
        click.echo(f"pod {one.cut.pod}  link {one.cut.ifindex}  {left_s:.0f} s left  {met}  {one.cut.plan}")
    for each in found.denies:
        deny = each.deny
        click.echo(f"source {deny.match.source}  {deny.action}  {deny.ttl_s:.0f} s left  {each.hits} met")
    if not (found.cuts or found.denies):
        click.echo("nothing is cut here")
