"""The verbs of `loomidi-lab` that are about the cluster itself.

Called by `loomidi_lab.cli`. In: arguments. Out: lines for a person, JSON where asked for. The work is `building`,
`raising`, `clearing` and `Lab`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from loomidi.contracts.errors import InputError, UsageError
from loomidi_lab.cluster import clearing, tools
from loomidi_lab.cluster.handle import Lab
from loomidi_lab.cluster.places import DEFAULT, known, place
from loomidi_lab.cluster.processes import entering
from loomidi_lab.cluster.raising import NETWORKS, UpSettings, busy, running
from loomidi_lab.cluster.raising import down as take_down
from loomidi_lab.cluster.raising import up as bring_up

_NAME = click.option("--name", default=DEFAULT, show_default=True, help="Which lab.")
_PASS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def teller() -> Any:
    """Progress as lines on standard error, with the seconds since the start."""
    started = time.monotonic()
    return lambda text: click.echo(f"[{time.monotonic() - started:6.1f} s] {text}", err=True)


@click.command("build")
@click.option(
    "--with",
    "wanted",
    multiple=True,
    metavar="MODULE",
    help="Also this one: cilium, cosign, gatekeeper, helm, istio, kyverno, registry. May be repeated.",
)
@click.option("--images", "sets", type=click.Choice(["default", "all", "none"]), default="default", show_default=True)
def build(wanted: tuple[str, ...], sets: str) -> None:
    """Build Kubernetes, etcd, containerd, CNI plugins, CoreDNS and KWOK from the Go module proxy, and the pod images.

    Once per version: about ten minutes on two cores, then seconds. Breaking off loses nothing.
    """
    from loomidi_lab.cluster import addons, building, cilium, contents, definitions

    optional = [name for name, module in tools.MODULES.items() if module.optional]
    unknown = [name for name in wanted if name not in optional]
    if unknown:
        raise UsageError(f"no module {unknown[0]!r}; there is {', '.join(optional)}")
    progress = teller()
    building.build(wanted, progress=progress)
    addons.lay_down()
    if "cilium" in wanted:
        cilium.lay_down()
    if "istio" in wanted:
        definitions.lay_down("istio")
    if sets != "none":
        contents.build_images(everything=sets == "all", progress=progress)
    progress("built")


@click.command("up")
@_NAME
@click.option("--nodes", default=2, show_default=True, help="Real nodes.")
@click.option("--network", type=click.Choice(NETWORKS), default="bridge", show_default=True)
@click.option("--fake-nodes", default=0, show_default=True, help="Nodes in the API only, for scale (KWOK).")
@click.option("--range", "block", default="", metavar="CIDR", help="A private /15 for the lab.  [a free one]")
@click.option("--api-port", default=6443, show_default=True, help="Of the API server.")
@click.option("--timeout", "timeout_s", default=120.0, show_default=True, metavar="S", help="For everything.")
def up(name: str, block: str, **given: Any) -> None:
    """Bring a cluster up. Several can stand side by side under different names.

    What an earlier end left behind is cleared first. When anything fails, nothing stays.
    """
    settings = UpSettings(name=name, range=block, **given)
    state = bring_up(settings, teller())
    lab = Lab(state)
    click.echo(f"lab {name}: {state['nodes']} nodes, {state['network']}, API {state['server']}")
    click.echo(f"export KUBECONFIG={lab.kubeconfig}")


@click.command("down")
@_NAME
@click.option("--all", "everything", is_flag=True, help="Every lab of this machine.")
def down(name: str, everything: bool) -> None:
    """Take a cluster down, in whatever state it is. No process, namespace, mount, link, cgroup or table stays."""
    chosen = [lab.name for lab in known()] if everything else [name]
    if not chosen:
        click.echo("there is no lab", err=True)
    for each in chosen:
        progress = teller()
        there = take_down(each)
        progress(f"lab {each} is gone" if there else f"there was no lab {each}")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(as_json: bool) -> int:
    """The labs of this machine: up, busy, degraded or damaged. Exit code 1 when one of them is not up."""
    found = [_status(lab.name) for lab in known()]
    if as_json:
        click.echo(json.dumps({"labs": found}, indent=1))
    for each in [] if as_json else found:
        click.echo(f"{each['name']:10} {each['condition']:8} {each['text']}")
    if not found and not as_json:
        click.echo("no lab is up; `loomidi-lab up` brings one up")
    return 0 if all(each["condition"] == "up" for each in found) else 1


def _status(name: str) -> dict[str, Any]:
    lab = place(name)
    if busy(lab):
        return {"name": name, "condition": "busy", "text": "is being brought up or taken down just now"}
    if not running(lab):
        left = clearing.leftovers(lab)
        text = (
            f"{len(left)} things left, such as {left[0]}; `loomidi-lab down --name {name}` removes them" if left else ""
        )
        return {"name": name, "condition": "damaged", "text": text}
    opened = Lab.open(name)
    dead = opened.dead()
    minutes = (time.time_ns() - opened.state["up_since_ns"]) / 60e9
    text = f"{len(opened.nodes)} nodes, {opened.network}, {opened.state['block']}, up for {minutes:.0f} min"
    text += f"; not running: {', '.join(dead)}" if dead else ""
    return {"name": name, "condition": "degraded" if dead else "up", "text": text, **opened.state}


@click.command("kubeconfig")
@_NAME
@click.option("--raw", is_flag=True, help="The text instead of the path.")
def kubeconfig(name: str, raw: bool) -> None:
    """Where the kubeconfig is: any Kubernetes client of this host works with it."""
    path = Lab.open(name).kubeconfig
    click.echo(path.read_text() if raw else str(path))


@click.command("kubectl", context_settings=_PASS)
@_NAME
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run the lab's own kubectl as its administrator."""
    lab = Lab.reach(name)
    binary = lab.client()
    os.execv(binary, [binary, f"--kubeconfig={lab.kubeconfig}", *arguments])  # noqa: S606 - we become kubectl


@click.command("exec", context_settings=_PASS)
@_NAME
@click.argument("where")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, where: str, argv: tuple[str, ...]) -> None:
    """Run a command at WHERE: NAMESPACE/POD, a node (n1), `outside`, or `control`."""
    lab = Lab.reach(name)
    words = list(argv[1:] if argv[0] == "--" else argv)
    if "/" in where:
        namespace, _, pod = where.partition("/")
        prefix = [lab.client(), f"--kubeconfig={lab.kubeconfig}", "exec", "-n", namespace, pod]
        terminal = ["-it"] if sys.stdin.isatty() else ["-i"]
        words = [*prefix, *terminal, "--", *words]
    elif lab.adopted:
        raise InputError(f"{where!r} is no NAMESPACE/POD; the cluster of KUBECONFIG has no nodes of ours to enter")
    elif where in ("outside", "control"):
        words = [*entering(lab.outside_netns if where == "outside" else lab.control_netns), *words]
    else:
        words = [*lab.on(lab.node(where)), *words]
    os.execvp(words[0], words)  # noqa: S606 - we become the command, with its terminal and exit code


@click.command("load")
@_NAME
@click.argument("images", nargs=-1, required=True)
def load(name: str, images: tuple[str, ...]) -> None:
    """Give the running nodes IMAGES again after they were rebuilt, such as lab.loomidi.io/shop:1."""
    lab = Lab.open(name)
    lab.load_images(images)
    click.echo(f"{', '.join(images)} on {', '.join(node.name for node in lab.nodes)}")


@click.command("restart")
@_NAME
@click.argument("node")
def restart(name: str, node: str) -> None:
    """Switch NODE off as by its power, and on again: n1, n2, ... Its disk stays, everything that ran there ends.

    The kubelet starts the node's pods anew, in place. An agent or a fault that was put there is not started again.
    """
    lab, progress = Lab.open(name), teller()
    lab.restart_node(node)
    progress(f"node {node} boots; `loomidi-lab kubectl get nodes` says when it is ready")


@click.command("logs")
@_NAME
@click.argument("part", default="")
@click.option("--lines", "-n", type=click.IntRange(1), default=40, show_default=True, help="The last ones.")
def logs(name: str, part: str, lines: int) -> None:
    """What PART has logged: kube-apiserver, n1-kubelet, ..., or NAMESPACE/POD. Without PART: which there are."""
    folder = place(name).folder / "logs"
    if "/" in part:
        namespace, _, pod = part.partition("/")
        words = ("logs", "-n", namespace, pod, "--all-containers", f"--tail={lines}")
        click.echo(Lab.reach(name).kubectl(*words).stdout, nl=False)
        return
    if (
        not folder.is_dir() and Lab.reach(name).adopted
    ):  # no more than the folder is needed: it tells why a lab is damaged
        raise InputError("name NAMESPACE/POD; the cluster of KUBECONFIG has no parts that we started")
    names = sorted(path.stem for path in folder.glob("*.log"))
    if not part:
        click.echo("\n".join(names))
        return
    if part not in names:
        raise InputError(f"no log of {part!r}; there is {', '.join(names)}")
    click.echo("\n".join(_tail(folder / f"{part}.log", lines)))


def _tail(path: Path, lines: int) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:]
