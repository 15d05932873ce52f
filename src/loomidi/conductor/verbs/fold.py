"""`loomidi fold`: the Folds of a cluster: list, show, propose, approve, deny, pin, release; a key to approve with.

Called by `conductor.cli`. In: the cluster of --kubeconfig and --context, as the person that it names. Out: sentences,
or JSON. Exit code 0, 1 when it is refused or too late, 2 when it cannot be done as asked. The work is
`services.folds.desk`.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loomidi.conductor.fold_calls import COMMANDS
from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError

if TYPE_CHECKING:
    from loomidi.fold.operator.views import View
    from loomidi.services.folds.desk import Desk

Verb = TypeVar("Verb", bound=Callable[..., Any])
MODES = ("shadow", "suggest", "guarded", "autonomous")
KINDS = ("ISOLATE_POD", "SCALE_OUT", "CORDON", "EVICT", "RESTART", "ROLLBACK", "TERMINATE")  # those that need no file


@click.group("fold")
def command() -> None:
    """See the Folds of a cluster, propose one, approve, deny or release it.

    The operator (`loomidi serve operator`) judges and carries out; nothing here touches anything but Folds.
    """


for each in COMMANDS:
    command.add_command(each)


def _reaching(verb: Verb) -> Verb:
    """The options of whoever reaches a cluster."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
        click.option("--context", default="", metavar="NAME", help="Of the kubeconfig.  [its current one]"),
        click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="Cluster.  [as kubectl]"),
        click.option("-n", "--namespace", default="default", metavar="NAME", help="Of the Fold.", show_default=True),
    ):
        verb = option(verb)
    return verb


def _named(verb: Verb) -> Verb:
    return click.argument("name", metavar="[NAMESPACE/]NAME")(_reaching(verb))


def _desk(kubeconfig: Path | None, context: str) -> "AbstractContextManager[Desk]":
    try:
        from loomidi.services.folds.desk import at_desk
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    return at_desk(kubeconfig, context)


@command.command("list")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Of all namespaces.")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not at an end.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    metavar="S",
    help="For one to come; exit code 1 when none came so long.",
)
@_reaching
def list_(namespace: str, kubeconfig: Path | None, context: str, **options: Any) -> int:
    """Tell of each Fold where it is, what it does and why, the newest first."""
    space, wait_s = "" if options["everywhere"] else namespace, options["wait_s"]
    with _desk(kubeconfig, context) as desk:
        views = desk.awaited(space, wait_s or 0.0, only_open=options["only_open"])
    from loomidi.conductor import folds

    if options["as_json"]:
        click.echo(json.dumps([folds.summary(view) for view in views], indent=2))
    else:
        now_ns = time.time_ns()
        click.echo("\n".join(folds.line(view, now_ns) for view in views) or "there are no Folds here")
    return int(wait_s is not None and not views)


@command.command("show")
@_named
def show(name: str, namespace: str, kubeconfig: Path | None, context: str, *, as_json: bool) -> int:
    """Explain one Fold: what, why, what it cuts, who said what, what was done, and when it ends."""
    with _desk(kubeconfig, context) as desk:
        view = desk.fold(name, namespace)
    from loomidi.conductor import folds
    from loomidi.fold.stating import stated

    parts = folds.story(view, time.time_ns())
    if as_json:
        told = [{"heading": part.heading, "text": part.text} for part in parts]
        flows = {"flows": found.as_dict()} if (found := stated(view.obj)) is not None else {}
        click.echo(json.dumps({"fold": view.obj, "story": told, **flows}, indent=2))
    else:
        click.echo(f"Fold {view.key}\n" + "\n".join(f"{part.heading}: {part.text}" for part in parts))
    return 0


@command.command("propose")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True), metavar="[FILE]")
@click.option("--kind", type=click.Choice(KINDS), help="The remediation; others are written in a file.")
@click.option("--target", metavar="ID", help="pod/NAMESPACE/NAME, workload/NAMESPACE/NAME or node/NAME.")
@click.option("--ttl", type=click.IntRange(1, 3600), metavar="S", help="Seconds after which it ends by itself.  [300]")
@click.option("--replicas", type=click.IntRange(1, 10), metavar="N", help="Added by SCALE_OUT.")
@click.option("--because", default="", metavar="TEXT", help="Why you ask for it; needed where FILE has no finding.")
@click.option("--pattern", default="asked", show_default=True, metavar="NAME", help="By which policies are chosen.")
@click.option("--mode", type=click.Choice(MODES), help="How far it may go.  [that of FILE, else shadow]")
@click.option("--policy", default="", metavar="NAME", help="FoldPolicy that decides.  [the first that fits]")
@click.option("--valid", "lasts_s", type=click.IntRange(1), default=600, show_default=True, help="Seconds to begin in.")
@_reaching
def propose(file: Path | None, namespace: str, kubeconfig: Path | None, context: str, **options: Any) -> int:
    """Propose a Fold, from FILE (YAML or JSON, - for standard input) or by --kind and --target.

    It gets a plan, so that the operator can judge it. In mode shadow, unless --mode or FILE says more: judged, and
    nothing is touched.
    """
    given = _document(file, namespace, options)
    with _desk(kubeconfig, context) as desk:
        from loomidi.conductor import folds
        from loomidi.contracts import Mode
        from loomidi.fold.asking import Request

        mode = Mode(options["mode"] or given["spec"].get("mode", "shadow"))
        why, lasts_s = options["because"] or str(given["spec"].get("because", "")), float(options["lasts_s"])
        request = Request(desk.whoami(), why, options["pattern"], mode=mode, lasts_s=lasts_s)
        obj, _ = desk.planned(given, request, time.time_ns())
        view = desk.post(obj)
    if options["as_json"]:
        click.echo(json.dumps(view.obj, indent=2))
    else:
        click.echo(f"proposed {view.key}\n{folds.line(view, time.time_ns())}")
    return 0


def _document(file: Path | None, namespace: str, options: dict[str, Any]) -> dict[str, Any]:
    """A Fold as it was asked for. Raises UsageError, InputError."""
    if (file is None) == (options["kind"] is None):
        raise UsageError("give a FILE, or --kind and --target")
    if file is not None:
        return _read(file, namespace)
    if not options["target"] or not options["because"]:
        raise UsageError("--kind needs --target (what is acted on) and --because (why)")
    from loomidi.contracts import FoldKind
    from loomidi.fold.asking import only_action
    from loomidi.fold.resources.objects import HOME

    kind, target = FoldKind(options["kind"]), options["target"]
    spec = {"kind": kind.value, "target": target, "action": only_action(kind), "ttlSeconds": options["ttl"] or 300}
    spec |= {name: options[name] for name in ("replicas", "policy") if options[name]}
    space = target.split("/")[1] if target.count("/") == 2 else HOME if target.startswith("node/") else namespace
    return {"metadata": {"namespace": space}, "spec": spec}


def _read(file: Path, namespace: str) -> dict[str, Any]:
    """The one Fold of a file."""
    import yaml

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name a file with a Fold") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not YAML: {' '.join(str(error).split())[:200]}") from error
    spec = document.get("spec") if isinstance(document, dict) else None
    if not isinstance(spec, dict) or document.get("kind") != "Fold" or {"kind", "target", "action"} - set(spec):
        raise InputError(f"{file}: holds no Fold with spec.kind, target and action; see docs/folds.md")
    return {**document, "metadata": {"namespace": namespace} | (document.get("metadata") or {})}


@command.command("approve")
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Your key, as of keygen.")
@click.option(
    "--as", "who", default="", metavar="NAME", help="Your name in the list of approvers.  [as the API knows you]"
)
@click.option(
    "--valid", "lasts_s", type=click.IntRange(1), default=600, show_default=True, help="Seconds that it holds."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_named
def approve(name: str, namespace: str, kubeconfig: Path | None, context: str, **options: Any) -> int:
    """Approve a Fold: shows what is signed, asks, signs with your key."""
    if options["as_json"] and not options["yes"]:
        raise UsageError("--json asks nothing: add --yes once you have read what is signed (`loomidi fold show`)")
    with _desk(kubeconfig, context) as desk:
        from loomidi.conductor import folds
        from loomidi.crypt.keys import SigningKey

        key, view = SigningKey.load(options["key"]), desk.fold(name, namespace)
        who = options["who"] or desk.whoami()
        told = desk.statement(view, who, time.time_ns(), float(options["lasts_s"]))
        if not options["as_json"]:
            click.echo(folds.signing(told, view))
        if not options["yes"] and not click.confirm("Sign it?"):
            click.echo("nothing was signed")
            return 1
        desk.approve(view, told, key)
    signed = {"statement": told, "key": key.public.id}
    click.echo(json.dumps(signed, indent=2) if options["as_json"] else f"approved {view.key} with key {key.public.id}")
    return 0


@command.command("deny")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for whoever looks next.")
@_named
def deny(name: str, namespace: str, kubeconfig: Path | None, context: str, *, reason: str, as_json: bool) -> int:
    """Deny a Fold that was not begun yet."""
    with _desk(kubeconfig, context) as desk:
        view = desk.deny(desk.fold(name, namespace), _reason(reason))
    return _done(view, "denied", as_json=as_json)


@command.command("pin")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for whoever looks next.")
@_named
def pin(name: str, namespace: str, kubeconfig: Path | None, context: str, *, reason: str, as_json: bool) -> int:
    """Keep a Fold as it is: no harder step of its policy's ladder follows it."""
    with _desk(kubeconfig, context) as desk:
        view = desk.pin(desk.fold(name, namespace), _reason(reason))
    return _done(view, "pinned", as_json=as_json)


@command.command("release")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for whoever looks next.")
@_named
def release(name: str, namespace: str, kubeconfig: Path | None, context: str, *, reason: str, as_json: bool) -> int:
    """Take a Fold back that is in force."""
    with _desk(kubeconfig, context) as desk:
        view = desk.release(desk.fold(name, namespace), _reason(reason))
    return _done(view, "released", as_json=as_json)


@command.command("release-all")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="Cluster.  [as kubectl, or the pod]"
)
@click.option("-n", "--namespace", default="", metavar="NAME", help="Only Folds there.  [all namespaces]")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for whoever looks next.")
@click.option("--wait", "wait_s", type=float, default=120.0, show_default=True, metavar="S", help="For all to end.")
def release_all(kubeconfig: Path | None, namespace: str, reason: str, wait_s: float) -> int:
    """End every open Fold: what is in force is taken back, what has not begun is denied.

    The operator does it, so one must run. Exit code 1 when Folds are still open after --wait.
    """
    try:
        from loomidi.services.folds import releasing
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    left = releasing.release_all(
        kubeconfig, os.environ, reason=_reason(reason), wait_s=wait_s, namespace=namespace, say=click.echo
    )
    if left:
        click.echo(f"still open: {', '.join(left)}; does the operator run? `kubectl get folds -A`", err=True)
        return 1
    click.echo("no Fold is open")
    return 0


def _reason(text: str) -> str:
    if not text.strip():
        raise UsageError("--reason says why: give a word")
    return text.strip()


def _done(view: "View", what: str, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"fold": view.key, "asked": what}))
    else:
        click.echo(f"{view.key}: it is being {what}; `loomidi fold show {view.key}` tells how it goes")
    return 0


@command.command("keygen")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def keygen(file: Path, *, as_json: bool) -> int:
    """Make a key to approve with, in a new FILE that only you can read; print its public half."""
    try:
        from loomidi.crypt.keys import SigningKey
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    key = SigningKey.new()
    key.save(file)
    public = key.public
    if as_json:
        click.echo(json.dumps({"file": str(file), "id": public.id, "key": public.word}))
    else:
        click.echo(f"{file}: key {public.id}; for the list of approvers:\n{public.word}")
    return 0
