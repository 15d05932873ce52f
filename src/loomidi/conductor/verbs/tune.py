"""`loomidi tune`: thresholds of the kernel's short windows, learned from normal traffic, within bounds.

Called by `conductor.cli`. In: captures or an interface that a shield is on, a policy file, a mode. Out: lines on
standard output, proposals as a file, receipts in the state folder. Exit code 0; 1 when something was refused.
The work is `services.fast.tuning`
and `services.fast.enforcing`; mode shadow, the default, changes nothing.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import UsageError

if TYPE_CHECKING:
    from loomidi.contracts import Receipt
    from loomidi.services.fast.tuning import Proposed, Tuner

_MODES = ("shadow", "suggest", "guarded", "autonomous")


@click.group(name="tune")
def command() -> None:
    """Thresholds of single services and sources, learned from normal traffic, within the bounds of a policy.

    A change is a plan like any other: guards judge it, its inverse is stored first, it ends by itself.
    """


@command.command()
@click.argument("interface")
def show(interface: str) -> None:
    """The thresholds in force on INTERFACE: those of all, and those of single services and sources."""
    from loomidi.loom.capture import reopen
    from loomidi.services.fast.tuning import entity

    with reopen(interface) as shield:
        watch, own = shield.watching(), shield.own_limits()
    if watch is None:
        click.echo(f"{interface}: no short-window counters, so no thresholds")
        return
    click.echo(f"each source   {watch.source}  in {watch.window_s:g} s")
    click.echo(f"each service  {watch.service}  in {watch.window_s:g} s")
    now_ns = time.time_ns()
    for one in own:
        left = f"{(one.expires_ns - now_ns) / 1e9:.0f} s left" if one.live else "over"
        click.echo(f"{entity(one.watched)}  {one.limits}  {left}  rule {one.rule_id}")


@command.command()
@click.argument("captures", nargs=-1, metavar="[CAPTURE...]")
@click.option("--interface", metavar="NAME", help="Learn from the shield on it, for as long as --seconds.")
@click.option("--seconds", default=120.0, show_default=True, help="How long to learn from --interface.")
@click.option("--policy", type=click.Path(path_type=Path), metavar="FILE", help="Bounds.  [rules/enforcer/bounds.yaml]")
@click.option("--protect", multiple=True, metavar="CIDR", help="Propose nothing for these; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="What the guards allow, for `apply`.")
def propose(captures: tuple[str, ...], policy: Path | None, protect: tuple[str, ...], **options: Any) -> int:
    """Learn from captures of normal traffic, or from an interface, and propose thresholds. Changes nothing.

    You vouch that what is learned from holds no attack; bounds and a share per day hold whatever it holds.
    """
    if bool(captures) == bool(options["interface"]):
        raise UsageError("name captures of normal traffic, or an --interface; not both")
    from loomidi.ionic.enforcer import read_bounds
    from loomidi.services.fast import tuning
    from loomidi.services.folds.planning import check_protected

    check_protected(protect)
    bounds = read_bounds(policy)
    if captures:
        tuner, shield = tuning.learn_from(captures, bounds)
        now_ns = shield.tables.now_ns()
    else:
        shield, now_ns = _reopened(options["interface"]), time.time_ns()
        tuner = tuning.Tuner(shield, bounds)
        _learn(tuner, options["seconds"])
        now_ns = time.time_ns()
    proposed = list(tuning.judged(tuner.tunings(), tuning.decider_at(now_ns, protect)))
    shield.close()
    return _tell(tuner, proposed, options["out"])


def _reopened(interface: str) -> Any:
    from loomidi.loom.capture import reopen

    return reopen(interface)


def _learn(tuner: "Tuner", seconds: float) -> None:
    """Look twice a window. Nobody judges suspects here: whoever runs this vouches for the traffic."""
    until, pause_s = time.monotonic() + seconds, tuner.window_s / 2
    while time.monotonic() < until:
        time.sleep(pause_s)
        tuner.look(attacked=False)
    tuner.learned.settle_all()


def _tell(tuner: "Tuner", proposed: "list[Proposed]", out: Path | None) -> int:
    from loomidi.services.fast.tuning import write_proposals

    allowed = [one for one in proposed if one.allowed]
    for one in proposed:
        click.echo(f"{one.plan.fold.target}: {_changes(one)}{'' if one.allowed else '  REFUSED'}")
        for verdict in one.verdicts:
            if verdict.allow is not True:
                click.echo(f"  {verdict.guard}/{verdict.rule}: {verdict.reason}")
    counts = ", ".join(f"{count} {name}" for name, count in tuner.learned.counts.items())
    click.echo(f"windows: {counts}; {len(tuner.learned)} services and sources; {len(proposed)} changes worth making")
    if out is not None:
        write_proposals(out, allowed)
    return 0 if len(allowed) == len(proposed) else 1


def _changes(one: "Proposed") -> str:
    wanted = one.plan.fold.thresholds
    parts = [f"{name} {was} -> {wanted[name]}" for name, was in one.tuning.before.items() if was != wanted[name]]
    return ", ".join(parts) or "goes on as it is"


@command.command()
@click.argument("interface")
@click.argument("proposals", type=click.Path(path_type=Path))
@click.option("--mode", type=click.Choice(_MODES), default="shadow", show_default=True, help="How far to go.")
@click.option("--protect", multiple=True, metavar="CIDR", help="Change nothing for these; may be repeated.")
@click.pass_context
def apply(context: click.Context, interface: str, proposals: Path, mode: str, protect: tuple[str, ...]) -> int:
    """Carry PROPOSALS of `propose --out` out on INTERFACE. In mode shadow they are only put on record."""
    from loomidi.contracts import Mode
    from loomidi.services.fast import tuning
    from loomidi.services.fast.enforcing import Enforcer
    from loomidi.services.folds.planning import check_protected

    check_protected(protect)
    changes = tuning.read_proposals(proposals)
    with _reopened(interface) as shield:
        store = _store(context)
        enforcer = Enforcer(shield, store, mode=Mode(mode), protected=protect)
        receipts = [enforcer.carry_out(finding, fold) for finding, fold in changes]
        store.close()
    for (_, fold), receipt in zip(changes, receipts, strict=True):
        click.echo(f"{fold.target}: {_outcome(receipt)}")
    refused = [receipt for receipt in receipts if "verdicts" in receipt.detail or "error" in receipt.detail]
    return 1 if refused else 0


@command.command()
@click.argument("interface")
@click.argument("plans", nargs=-1, metavar="[PLAN...]")
@click.pass_context
def undo(context: click.Context, interface: str, plans: tuple[str, ...]) -> int:
    """Put back what was in force before each PLAN; without one, before all that are at work on INTERFACE."""
    from loomidi.services.fast.enforcing import Enforcer

    with _reopened(interface) as shield:
        store = _store(context)
        receipts = Enforcer(shield, store).undo(plans)
        store.close()
    for receipt in receipts:
        click.echo(f"{receipt.plan_id}: {_outcome(receipt)}")
    if not receipts:
        click.echo("nothing of ours is at work here", err=True)
    return 0 if all(receipt.step.value in ("undone", "expired") for receipt in receipts) else 1


def _store(context: click.Context) -> Any:
    from loomidi.ionic.act import FILE_NAME, SqliteReceipts

    return SqliteReceipts(context.obj.storage.state / FILE_NAME)


def _outcome(receipt: "Receipt") -> str:
    detail = receipt.detail
    if "verdicts" in detail:
        why = "; ".join(f"{one['guard']}/{one['rule']}: {one['reason']}" for one in detail["verdicts"])
        return f"refused: {why}"
    return f"{receipt.step.value} {receipt.plan_id} {detail.get('why') or detail.get('error') or ''}".rstrip()
