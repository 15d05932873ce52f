"""`loomidi policy deploy|status|diff|rollback|test`: the policy API from the command line.

Added to the verb `policy` by `conductor.verbs.policy`. In: files, names, where the API is. Out: what it says, as text
or JSON. Exit code 0 when it is as asked for (deployed, in force, the same), 1 when it is refused, not in force or
different, 2 when the API cannot be asked.
"""

import difflib
import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loomidi.contracts import EnvironmentLacks, InputError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from loomidi.services.policy_api.calling import PolicyClient

F = TypeVar("F", bound=Callable[..., Any])
URL = "http://127.0.0.1:8082/policy-api"
TYPES = ("Kyverno", "OPA_Rego")  # as ionic.policies.PolicyType; a test compares them
_FILE = click.Path(path_type=Path, allow_dash=True)


def _calling(command: F) -> F:
    """The options by which all of them find the API."""
    options = (
        click.option(
            "--url",
            envvar="LOOMIDI_POLICY_URL",
            show_envvar=True,
            default=URL,
            show_default=True,
            metavar="URL",
            help="The policy API.",
        ),
        click.option(
            "--token-file",
            envvar="LOOMIDI_POLICY_TOKEN_FILE",
            show_envvar=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Its first line is the bearer token.",
        ),
        click.option(
            "--ca-file",
            envvar="LOOMIDI_POLICY_CA_FILE",
            show_envvar=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="PEM, who signed the API's certificate.  [the system's]",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
    )
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def _client(url: str, token_file: Path | None, ca_file: Path | None) -> "AbstractContextManager[PolicyClient]":
    try:
        from loomidi.services.policy_api.calling import policy_client
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    return policy_client(url, token_file, ca_file)


@click.command("deploy")
@click.argument("file", type=_FILE)
@click.option("--name", metavar="NAME", help="Of the policy.  [metadata.name, or the file's name]")
@click.option("--type", "kind", type=click.Choice(TYPES), help="[by the file's ending: .rego, or YAML]")
@click.option("--decision", default="", metavar="ID", help="The decision that asked for it.")
@_calling
def deploy(file: Path, name: str | None, kind: str | None, decision: str, *, as_json: bool, **where: Any) -> int:
    """Have FILE (or - for standard input) judged, kept as a version, put in force and read back."""
    document = _document(file, name, kind) | ({"source_ai_decision_id": decision} if decision else {})
    with _client(**where) as client:
        told = client.deploy(document)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        how = "unchanged" if told["unchanged"] else "deployed"
        click.echo(f"{told['policy_name']}: version {told['version']} {how}, {told['status']}")
        _draw_reasons(told)
        _draw_shadow(told["shadow"])
    return 1 if told["status"] == "Error" else 0


@click.command("status")
@click.argument("name", required=False)
@_calling
def status(name: str | None, *, as_json: bool, **where: Any) -> int:
    """Where NAME stands now, and what it has refused; without NAME, every policy."""
    with _client(**where) as client:
        told = client.status(name) if name else client.policies()
    if as_json:
        click.echo(json.dumps(told, indent=2))
    elif name:
        _draw_status(told)
    else:
        for each in told["policies"]:
            force = f"version {each['version_in_force']} in force" if each["version_in_force"] else "not in force"
            click.echo(f"{each['policy_name']:40} {each['policy_type']:9} {each['versions']:4} versions, {force}")
    return 0 if not name or told["status"] == "Active" else 1


@click.command("diff")
@click.argument("name")
@click.argument("file", required=False, type=_FILE)
@click.option("--from", "old", type=int, metavar="VERSION", help="[the version in force]")
@click.option("--to", "new", type=int, metavar="VERSION", help="[the newest]")
@_calling
def diff(name: str, file: Path | None, old: int | None, new: int | None, *, as_json: bool, **where: Any) -> int:
    """What differs between two versions of NAME, or between one and FILE. Exit code 1 when anything does."""
    if file is not None and new is not None:
        raise UsageError("give FILE or --to, not both")
    between = {side: number for side, number in (("from", old), ("to", new)) if number is not None}
    with _client(**where) as client:
        told = client.diff(name, between) if file is None else _diff_file(client, name, old, file)
    click.echo(json.dumps(told, indent=2) if as_json else told["diff"] or f"{name}: the same")
    return 0 if told["same"] else 1


@click.command("rollback")
@click.argument("name")
@click.option("--to", "version", type=int, metavar="VERSION", help="0: out of force.  [the one in force before]")
@click.option("--decision", default="", metavar="ID", help="The decision that asked for it.")
@_calling
def rollback(name: str, version: int | None, decision: str, *, as_json: bool, **where: Any) -> int:
    """Go back to a version of NAME; where there was none before, NAME is out of force."""
    given = {"version": version, "source_ai_decision_id": decision}
    with _client(**where) as client:
        told = client.rollback(name, {field: value for field, value in given.items() if value not in (None, "")})
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        number = f"version {told['version']}" if told["version"] else "none"
        click.echo(f"{name}: {number} in force, {told['status']}")
        _draw_reasons(told)
    return 1 if told["status"] == "Error" else 0


@click.command("test")
@click.argument("file", type=_FILE)
@click.option("--name", metavar="NAME", help="Of the policy.  [metadata.name, or the file's name]")
@click.option("--type", "kind", type=click.Choice(TYPES), help="[by the file's ending: .rego, or YAML]")
@_calling
def test(file: Path, name: str | None, kind: str | None, *, as_json: bool, **where: Any) -> int:
    """Ask FILE about the samples of our library and what must never be refused; nothing is kept."""
    with _client(**where) as client:
        told = client.test(_document(file, name, kind))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"{told['policy_name']}: refuses nothing that must never be refused")
        _draw_shadow(told["shadow"])
    return 0


COMMANDS = (deploy, status, diff, rollback, test)


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; name the text of a policy") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text: {error}") from error


def _document(file: Path, name: str | None, kind: str | None) -> dict[str, str]:
    """Name and type as given, else by the file."""
    text = _text(file)
    if kind is None:
        kinds = {".rego": "OPA_Rego", ".yaml": "Kyverno", ".yml": "Kyverno", ".json": "Kyverno"}
        kind = kinds.get(file.suffix)
    if kind is None:
        raise UsageError(f"{file}: its ending does not tell the type; give --type {' or --type '.join(TYPES)}")
    name = name or (_named(text) if kind == "Kyverno" else "") or ("" if str(file) == "-" else file.stem)
    if not name:
        raise UsageError("give the policy a name with --name")
    return {"policy_name": name, "policy_type": kind, "policy_content": text}


def _named(text: str) -> str:
    """metadata.name of the first object; empty when it cannot be read, which the API then says better."""
    from loomidi.ionic.errors import BadManifest
    from loomidi.ionic.manifests import read_manifests

    try:
        metadata = read_manifests(text)[0].get("metadata")
    except BadManifest:
        return ""
    return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""


def _diff_file(client: "PolicyClient", name: str, old: int | None, file: Path) -> dict[str, Any]:
    listed = client.versions(name)["versions"]
    number = old or next((each["version"] for each in listed if each["in_force"]), 0)
    before = client.version(name, number)["policy_content"] if number else ""
    lines = difflib.unified_diff(
        before.splitlines(), _text(file).splitlines(), f"{name} version {number}", str(file), lineterm=""
    )
    text = "\n".join(lines)
    return {"policy_name": name, "from": number, "to": str(file), "same": not text, "diff": text}


def _draw_reasons(told: Mapping[str, Any]) -> None:
    for reason in told["reasons"]:
        click.echo(f"  {reason}")


def _draw_shadow(shadow: Mapping[str, Any]) -> None:
    """What it says of the samples."""
    click.echo(
        f"  judged by {', '.join(shadow['engines'])}: {shadow['asked']} samples; of those that the library refuses "
        f"it refuses {shadow['refused_refused']} of {shadow['refused_asked']}"
    )
    for title, lines in (("refuses what the library allows", "allowed_refused"), ("reports a protected one", "warned")):
        for line in shadow[lines]:
            click.echo(f"  {title}: {line}")
    for note in shadow["notes"]:
        click.echo(f"  {note}")


def _draw_status(told: Mapping[str, Any]) -> None:
    version = told["version"]
    decisions = ", ".join(version["source_ai_decision_ids"]) or "none named"
    click.echo(f"{told['policy_name']}: {told['status']}, version {version['version']} by {version['author']}")
    click.echo(f"  decisions: {decisions}")
    _draw_reasons(told)
    for each in told["violations"]:
        click.echo(f"  {each['count']:6} x {each['rule']}  {each['resource']}  {each['message']}  ({each['source']})")
    if beyond := told.get("violations_beyond"):
        click.echo(f"  {beyond['count']:6} x beyond: {beyond['reason']}")
