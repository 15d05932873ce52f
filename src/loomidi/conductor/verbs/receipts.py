"""`loomidi receipts`: what was done, by which plan, and how it is taken back.

Called by `conductor.cli`. In: a receipt store, opened read-only. Exit code 0, or 1 when the chain is broken.
"""

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from loomidi.contracts import Receipt
    from loomidi.ionic.act import ChainCheck


@click.command("receipts")
@click.argument("store", type=click.Path(path_type=Path), required=False)
@click.option("--plan", metavar="ID", help="Only the receipts of this plan.")
@click.option("--open", "only_open", is_flag=True, help="Only plans that are at work, or that a crash has left.")
@click.option("--head", metavar="ID", help="A receipt id noted earlier: its absence means that receipts were cut off.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def command(context: click.Context, store: Path | None, *, plan: str, only_open: bool, head: str, as_json: bool) -> int:
    """List the receipts in STORE (default: the agent's) and check that none was changed."""
    from loomidi.ionic.act import FILE_NAME, SqliteReceipts

    kept = SqliteReceipts(store or context.obj.storage.state / FILE_NAME, read_only=True)
    chain = kept.verify_chain(head)
    wanted = set(kept.open_plans()) if only_open else {plan} if plan else None
    receipts = [receipt for receipt in kept.all() if wanted is None or receipt.plan_id in wanted]
    if plan:
        receipts = [receipt for receipt in receipts if receipt.plan_id == plan]
    kept.close()
    if as_json:
        sound = {"count": chain.count, "head": chain.head, "broken_at": chain.broken_at, "why": chain.why}
        click.echo(json.dumps({"chain": sound, "receipts": [receipt.as_dict() for receipt in receipts]}, indent=2))
    else:
        _draw(receipts, chain)
    return 0 if chain.broken_at is None else 1


def _draw(receipts: "list[Receipt]", chain: "ChainCheck") -> None:
    """A line a receipt, ids in full so that they can be copied; below it the state of the chain."""
    driver_width = max((len(receipt.driver) for receipt in receipts), default=0)
    for receipt in receipts:
        when = datetime.datetime.fromtimestamp(receipt.at_ns // 10**9, datetime.UTC)
        what = f"{receipt.plan_id:24}  {receipt.step.value:9}  {receipt.driver:{driver_width}}"
        click.echo(f"{when:%Y-%m-%d %H:%M:%SZ}  {what}  {inverse_text(receipt)}")
    if chain.broken_at is None:
        click.echo(f"{chain.count} receipts, chain sound, head {chain.head}")
    else:
        click.echo(f"receipt {chain.broken_at + 1} of {chain.count}: {chain.why}")


def inverse_text(receipt: "Receipt") -> str:
    """The stored inverse in a few words."""
    if "approver" in receipt.detail:
        return _word(receipt)
    match, before = receipt.inverse.get("match"), receipt.inverse.get("before")
    if not match:
        return "undo: forget it" if receipt.inverse else "nothing was done"
    where = " ".join(str(value) for value in match.values() if value)
    if before:
        return f"undo: put back the entry for {where} ({before.get('action', '')})"
    return f"undo: remove the entry for {where}"


def _word(receipt: "Receipt") -> str:
    """What a person's approval was worth."""
    told = receipt.detail
    who = told["approver"] or f"key {told['key']}"
    return f"{who} on Fold {told['fold']['key']}: {told['why'] or 'it counts'}"
