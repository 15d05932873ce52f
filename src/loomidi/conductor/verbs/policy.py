"""`loomidi policy check`: what the guards say about a plan, or about manifests, without doing anything.

Called by `conductor.cli`. In: a plan as JSON, alone or as a sample of rules/guardrails; or Kubernetes manifests. Exit
code 0 when every guard allows, 1 when one does not.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loomidi.conductor.fold_calls import promote
from loomidi.conductor.policy_calls import COMMANDS
from loomidi.contracts import EnvironmentLacks, InputError, Mode, UsageError, Verdict

if TYPE_CHECKING:
    from loomidi.contracts import Plan
    from loomidi.ionic.decide import GuardrailRule
    from loomidi.ionic.decide.guards.images import ImageGuard

PROFILES = ("baseline", "restricted", "practices")  # as ionic.decide.guards.library; a test compares them
SEVERITIES = ("low", "medium", "high", "critical")
_WORDS = {True: "allows", False: "denies", None: "silent"}


@click.group("policy")
def command() -> None:
    """The guardrails that every plan must satisfy, those for manifests, and policies by the policy API."""


for each in (*COMMANDS, promote):
    command.add_command(each)


@command.command("check")
@click.argument("plan_file", metavar="[PLAN.json]", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--mode", type=click.Choice([mode.value for mode in Mode]), help="Configured mode; default the plan's own."
)
@click.option(
    "--protect", metavar="CIDR", multiple=True, help="An address or CIDR of the protected set; may be repeated."
)
@click.option("--now", is_flag=True, help="Judge it as of now instead of as of when it was made.")
@click.option(
    "--manifest",
    metavar="FILE.yaml",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Judge the Kubernetes objects of a file (or - for standard input) by the policy library, instead of a plan.",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=PROFILES[-1],
    show_default=True,
    help="How much of the library judges a manifest; each profile holds the ones before it.",
)
@click.option(
    "--image-keys",
    metavar="KEY.pub",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --manifest: every image must be signed by this public key; may be repeated, one of them is enough.",
)
@click.option(
    "--registry",
    metavar="HOST[=URL]",
    multiple=True,
    help="With --image-keys: ask only these registries, each by HTTPS or at its URL; may be repeated. [default: any]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def check(
    plan_file: Path | None,
    *,
    mode: str | None,
    protect: tuple[str, ...],
    now: bool,
    manifest: Path | None,
    profile: str,
    image_keys: tuple[Path, ...],
    registry: tuple[str, ...],
    as_json: bool,
) -> int:
    """Judge PLAN.json (or - for standard input) by every guard; or the objects of a manifest, with --manifest."""
    if (image_keys and manifest is None) or (registry and not image_keys):
        raise UsageError("--image-keys judges the images of --manifest; --registry says where --image-keys looks")
    if manifest is not None and plan_file is None:
        text = _text(manifest, "a manifest")
        with closing(_image_guard(image_keys, registry)) if image_keys else nullcontext() as images:
            return _check_manifests(text, profile, images, as_json=as_json)
    if plan_file is None or manifest is not None:
        raise UsageError("name a plan document, or manifests with --manifest; not both")
    from loomidi.ionic.documents import read_plan

    document = _read(plan_file)
    sample = document if isinstance(document, Mapping) and "plan" in document else {"plan": document}
    plan = read_plan(sample["plan"])
    verdicts = _judged(plan, sample.get("facts"), Mode(mode or plan.mode), protect, now=now)
    allowed = _all_allow(verdicts)
    if as_json:
        told = {"plan": plan.id, "allowed": allowed, "verdicts": [verdict.as_dict() for verdict in verdicts]}
        click.echo(json.dumps(told, indent=2))
    else:
        _draw(plan.id, verdicts, allowed=allowed)
    return 0 if allowed else 1


def _text(path: Path, what: str) -> str:
    """The text of a file. Raises InputError."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name {what}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from error


def _read(path: Path) -> Any:
    """The JSON document of a file. Raises InputError."""
    try:
        return json.loads(_text(path, "a plan document"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _judged(plan: "Plan", facts: Any, mode: Mode, protect: Sequence[str], *, now: bool) -> tuple[Verdict, ...]:
    """Every guard's verdicts. `facts` of a sample replace those that deciding would gather."""
    from loomidi.ionic.decide import Decider, DeciderSettings, standard_guards
    from loomidi.kit.clock import ManualClock

    settings = DeciderSettings(mode=mode)
    try:
        guards = standard_guards(protect, settings)
    except ValueError as error:
        raise UsageError(f"{error}; give --protect an address or a CIDR") from error
    if isinstance(facts, Mapping):
        return tuple(verdict for guard in guards for verdict in guard.judge(plan, facts))
    clock = ManualClock(time.time_ns() if now else plan.created_ns)
    return Decider(guards, protect, settings, clock=clock).judge(plan)


def _all_allow(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.allow is True for verdict in verdicts)


def _draw(plan_id: str, verdicts: Sequence[Verdict], *, allowed: bool) -> None:
    """A line a verdict, those that do not allow last, and the outcome below."""
    for verdict in sorted(verdicts, key=lambda verdict: verdict.allow is not True):
        click.echo(f"{_WORDS[verdict.allow]}  {f'{verdict.guard}/{verdict.rule}':30}  {verdict.reason}")
    click.echo(f"{plan_id}: {'allowed' if allowed else 'refused'}")


def _image_guard(keys: Sequence[Path], places: Sequence[str]) -> "ImageGuard":
    """The guard that asks registries for signatures. Raises EnvironmentLacks without the extra."""
    try:
        from loomidi.crypt.image_signatures import read_public_key
        from loomidi.ionic.decide.guards.images import ImageGuard
        from loomidi.ionic.registries import Registries, read_places
    except ImportError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[images]'") from error
    trusted = [read_public_key(_text(path, "a public key").encode(), path.name) for path in keys]
    return ImageGuard(trusted, Registries(read_places(places)))


def _check_manifests(text: str, profile: str, images: "ImageGuard | None", *, as_json: bool) -> int:
    """Judge every object in the text by the rules of a profile, and its images where there are keys."""
    from loomidi.ionic.decide import ManifestGuard, load_library
    from loomidi.ionic.manifests import read_manifests

    library = load_library()
    guard = ManifestGuard(library.of_profile(profile), library=library)
    guards: list[ManifestGuard | ImageGuard] = [guard] if images is None else [guard, images]
    judged = [(each, [v for one in guards for v in one.judge(each)]) for each in read_manifests(text)]
    allowed = all(_all_allow(verdicts) for _, verdicts in judged)
    if as_json:
        told = [_named(manifest) | _told(verdicts) for manifest, verdicts in judged]
        click.echo(json.dumps({"allowed": allowed, "profile": profile, "objects": told}, indent=2))
    else:
        for manifest, verdicts in judged:
            _draw_object(_named(manifest), verdicts, {**library.rules, **(images.rules if images else {})})
    return 0 if allowed else 1


def _named(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Kind, namespace and name, empty where the manifest lacks them."""
    metadata = manifest.get("metadata")
    names = metadata if isinstance(metadata, Mapping) else {}
    place = {key: str(names.get(key) or "") for key in ("namespace", "name")}
    return {"kind": str(manifest["kind"])} | place


def _told(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    return {"allowed": _all_allow(verdicts), "verdicts": [verdict.as_dict() for verdict in verdicts]}


def _draw_object(named: Mapping[str, str], verdicts: Sequence[Verdict], rules: "Mapping[str, GuardrailRule]") -> None:
    """A line an object, and below it one for each rule that does not allow it, the most severe first."""
    against = [verdict for verdict in verdicts if verdict.allow is not True]
    place = "/".join(part for part in (named["namespace"], named["name"]) if part)
    outcome = f"refused by {len(against)} of {len(verdicts)} rules" if against else "allowed"
    click.echo(f"{named['kind']} {place or '(without a name)'}: {outcome}")
    for verdict in sorted(against, key=lambda verdict: -SEVERITIES.index(rules[verdict.rule].severity)):
        rule = rules[verdict.rule]
        click.echo(f"  {_WORDS[verdict.allow]}  {rule.severity:8}  {rule.name:28}  {verdict.reason}")
        click.echo(f"{'':10}{rule.remediation}")
