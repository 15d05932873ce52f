"""The verbs of `loomidi-lab shop`.

Called by `loomidi_lab.cli`. In: arguments. Out: lines for a person, JSON where asked for. The work is `deploying` and
`load`.
"""

import json
import time
from pathlib import Path
from typing import Any

import click

from loomidi.contracts.errors import UsageError

_NAME = click.option("--name", default="lab", show_default=True, help="Which lab.")
_NAMESPACE = click.option("--namespace", default="shop", show_default=True, help="Kubernetes namespace of the shop.")


def _said() -> Any:
    started = time.monotonic()
    return lambda text: click.echo(f"[{time.monotonic() - started:6.1f} s] {text}", err=True)


def _lab(name: str) -> Any:
    from loomidi_lab.cluster import Lab

    return Lab.open(name)


@click.group("shop")
def shop() -> None:
    """The sample application: thirteen pods that sell nothing, with users who are not there."""


@shop.command("deploy")
@_NAME
@_NAMESPACE
@click.option("--report-schedule", default="0 2 * * *", show_default=True, help="Of the report job, as cron has it.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of all services. May be repeated."
)
@click.option("--client-addresses", is_flag=True, help="Frontends see the addresses of users, not of nodes.")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, help="Seconds to wait until it is ready.")
def deploy(name: str, namespace: str, settings: tuple[str, ...], timeout_s: float, **wanted: Any) -> None:
    """Put the shop into a lab and wait until it is ready."""
    from loomidi_lab.shop import Wishes
    from loomidi_lab.shop import deploy as put

    said = _said()
    wishes = Wishes(settings=dict(_pair(text) for text in settings), **wanted)
    found = put(_lab(name), namespace, progress=said, wishes=wishes)
    found.wait_ready(timeout_s)
    said(f"shop: ready; {found.frontend_url} from the lab's outside")


@shop.command("status")
@_NAME
@_NAMESPACE
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(name: str, namespace: str, as_json: bool) -> None:
    """What of the shop is ready, and where it is reached."""
    from loomidi_lab.shop import find

    found = find(_lab(name), namespace)
    missing, pods = found.missing(), found.pods()
    if as_json:
        listed = [{"name": pod.name, "app": pod.app, "address": pod.address, "node": pod.node} for pod in pods]
        document = {"namespace": namespace, "url": found.frontend_url, "missing": missing, "pods": listed}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"{namespace}: {len(pods)} pods run; {'all ready' if not missing else 'missing: ' + '; '.join(missing)}")
    click.echo(f"frontend: {found.frontend_url} (from the lab's outside)")


@shop.command("load")
@_NAME
@_NAMESPACE
@click.option("--rate", default=30.0, show_default=True, help="Requests per second.")
@click.option("--seconds", default=60.0, show_default=True, help="How long.")
@click.option("--day", "day_s", default=600.0, show_default=True, help="Length of a day in seconds.")
@click.option("--bursts", default=2.0, show_default=True, help="Bursts per day.")
@click.option("--users", default=200, show_default=True, help="People.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same schedule.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for what is written; of the lab, when not said.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON document.")
def load(**given: Any) -> None:
    """Send an open-loop load from the lab's outside and sum up what came back."""
    from loomidi_lab.shop import find
    from loomidi_lab.shop.load import Load, LoadProfile

    chosen = LoadProfile(**{key: given[key] for key in ("rate", "users", "day_s", "bursts")})
    lab = _lab(given["name"])
    out = given["out"] or lab.folder / "loads" / f"{given['namespace']}-{given['seed']}"
    one = Load(lab, find(lab, given["namespace"]), chosen, given["seed"], out)
    one.start(seconds=given["seconds"])
    try:
        summary = one.wait(given["seconds"] + 120.0)
    except KeyboardInterrupt:
        summary = one.stop()
    if given["as_json"]:
        click.echo(summary.as_json())
        return
    click.echo(f"{summary.requests} requests in {summary.seconds:.1f} s ({summary.rate:.1f}/s), {one.requests}")
    click.echo(f"latency from the intended moment: p50 {summary.p50_ms:.1f} ms, p95 {summary.p95_ms:.1f} ms, "
               f"p99 {summary.p99_ms:.1f} ms")  # fmt: skip
    click.echo(f"errors: {_counts(summary.errors)}; refused: {_counts(summary.refused)}")
    click.echo(f"the sender was late by {summary.late_p99_ms:.1f} ms (p99), {summary.late_most_ms:.1f} ms at most")


@shop.command("remove")
@_NAME
@_NAMESPACE
def remove(name: str, namespace: str) -> None:
    """Take the shop out of the lab, with its data."""
    from loomidi_lab.shop import find

    said = _said()
    find(_lab(name), namespace).remove()
    said(f"shop: namespace {namespace} is gone")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.replace("_", "").isalnum():
        raise UsageError(f"--set {text!r}: KEY=VALUE is wanted")
    return key, value


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counted.items()) or "none"
