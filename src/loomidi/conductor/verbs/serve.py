"""`loomidi serve`: one service as a process of its own: the node agent, the ingestion API, the operator, the
policy API, the transformer API.

Called by `conductor.cli`. In: what the service is to do, a configuration file. Out: it runs until Ctrl-C or SIGTERM and
says on standard error where it is. The work is in `services`; each subcommand imports its own.
"""

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import Any

import click

from loomidi.conductor.verbs.run import settings_of
from loomidi.contracts.errors import EnvironmentLacks, UsageError


@click.group("serve")
def command() -> None:
    """Run one service by itself."""


@command.command("agent")
@click.argument("links", nargs=-1, metavar="[IFACE|GLOB]...")
@click.option("--netns", multiple=True, metavar="NAME", help="Network namespace with the links; may be repeated.")
@click.option("--capture", metavar="WAY", help="shield (XDP, tc), sockets, or auto: the best that holds.  [auto]")
@click.option("--mode", metavar="MODE", help="Of the shield: auto, native, generic or tc.  [auto]")
@click.option("--pin", is_flag=True, default=None, help="Leave the shield counting when the agent ends.")
@click.option("--drain", "drain_s", type=float, metavar="S", help="Between two drains.  [1]")
@click.option("--active", "active_s", type=float, metavar="S", help="Cut flows that last longer.  [5]")
@click.option("--idle", "idle_s", type=float, metavar="S", help="Silence that ends a flow.  [10]")
@click.option("--bus", "bus_url", metavar="URL", help="nats://..., kafka://...; without it, our own server.")
@click.option("--node", metavar="NAME", help="Who says it, in every flow and counter.  [the host's name]")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the spool and of counts.")
@click.option("--orders", metavar="[HOST:]PORT", help="Take the operator's orders there.  [127.0.0.1:9103]")
@click.option("--orders-key", type=click.Path(path_type=Path), metavar="FILE", help="Key that seals orders.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer tokens, one a line.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="PEM, certificate and chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM, its key.")
@click.option("--client-ca", type=click.Path(path_type=Path), metavar="FILE", help="Who signs operators' certificates.")
@click.option("--uplink", multiple=True, metavar="IFACE", help="Where sources are denied.  [default routes]")
@click.option("--protect", multiple=True, metavar="CIDR", help="Sources that no order holds up; may be repeated.")
@click.option("--pod-logs", type=click.Path(path_type=Path), metavar="DIR", help="The kubelet's.  [/var/log/pods]")
@click.option("--probes", metavar="[HOST:]PORT", help="Answer /healthz, /readyz and /metrics there.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML; flags win over it.")
def agent(links: tuple[str, ...], netns: tuple[str, ...], config: Path | None, **options: Any) -> int:
    """Meter this node's links: flows and their balance go to the bus. With --orders-key, cut pods and sources.

    Links are globs, followed as they come and go. What the bus does not take is kept on disk, bounded and counted.
    Orders are the operator's: a pod is cut off on its own link, a source is denied on the uplinks, each with an end.
    """
    try:
        from loomidi.services.agents import serving as agent_serving
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    settings = settings_of(config)
    chosen = {name: options[name] for name in ("capture", "mode", "pin", "drain_s", "active_s", "idle_s")}
    chosen |= {"links": links or None, "netns": netns or None}
    settings = dataclasses.replace(
        settings,
        agent=_with(settings.agent, **chosen),
        cuts=_cuts_of(settings.cuts, options),
        bus=_with(settings.bus, url=options["bus_url"]),
        node=_with(settings.node, name=options["node"], state=options["state"]),
    )
    asyncio.run(agent_serving.serve(settings, _door(settings.probes, options["probes"]), _say))
    return 0


def _cuts_of(group: Any, options: dict[str, Any]) -> Any:
    door = {name: options[name] for name in ("token_file", "tls_cert", "tls_key", "client_ca")}
    place = _door(group.door, options["orders"])
    given = {"key": options["orders_key"], "logs": options["pod_logs"]}
    given |= {"uplinks": options["uplink"] or None, "protect": options["protect"] or None}
    return _with(group, door=_with(place or group.door, **door), **given)


def _with(group: Any, **given: Any) -> Any:
    """A group of settings with what was given in its place."""
    return dataclasses.replace(group, **{name: value for name, value in given.items() if value is not None})


def _door(default: Any, place: str | None) -> Any:
    """Where probes are answered; nowhere unless it is asked for."""
    if place is None:
        return None
    host, _, port = place.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{place}: use a port, or HOST:PORT")
    return dataclasses.replace(default, host=host.strip("[]") or default.host, port=int(port))


MODES = ("shadow", "suggest", "guarded", "autonomous")


def _say(line: str) -> None:
    click.echo(f"loomidi: {line}", err=True)


@command.command("ingest")
@click.option("--host", metavar="ADDRESS", help="Listen on; anything but loopback needs TLS and a token.  [127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="Listen on; 0: one that is free.  [8080]")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer tokens, one a line.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="PEM, certificate and chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM, its key.")
@click.option("--client-ca", type=click.Path(path_type=Path), metavar="FILE", help="Who signs clients' certificates.")
@click.option("--bus", "bus_url", metavar="URL", help="nats://..., kafka://...; without it, our own server.")
@click.option("--node", metavar="NAME", help="Who says it, in every id and counter.  [the host's name]")
@click.option("--probes", metavar="[HOST:]PORT", help="Answer /healthz, /readyz and /metrics there.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML; flags win over it.")
def ingest(config: Path | None, **options: Any) -> int:
    """Take telemetry over HTTP; 202 once the bus holds it durably.

    The interface is described at /loom-api/openapi.yaml and in docs/ingest.md.
    """
    try:
        from loomidi.services.ingest_api import standing_alone
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    settings = settings_of(config)
    door = {name: options[name] for name in ("host", "port", "token_file", "tls_cert", "tls_key", "client_ca")}
    alone = standing_alone.AloneSettings(
        node=options["node"] or settings.node.name,
        bus=_with(settings.bus, url=options["bus_url"]),
        ingest=dataclasses.replace(settings.ingest, door=_with(settings.ingest.door, **door)),
        probes=_door(settings.probes, options["probes"]),
    )
    asyncio.run(standing_alone.run(alone, lambda name, port: _say(f"{name} listens on port {port}")))
    return 0


@command.command("operator")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="Cluster.  [as kubectl, or the pod]"
)
@click.option("--mode", type=click.Choice(MODES), help="The furthest that a Fold goes here.  [shadow]")
@click.option("--protect", multiple=True, metavar="CIDR", help="Addresses that no Fold may cut; may be repeated.")
@click.option("--approval-key", type=click.Path(path_type=Path), metavar="FILE", help="Key that all approvers share.")
@click.option("--approvers", type=click.Path(path_type=Path), metavar="FILE", help="Who may approve, with their keys.")
@click.option("--at-hand", is_flag=True, default=None, help="Say what is at hand, for deployments/admission.")
@click.option("--agents-key", type=click.Path(path_type=Path), metavar="FILE", help="Key that seals orders to agents.")
@click.option("--agents-port", type=int, metavar="PORT", help="Where the nodes' agents take orders.  [9103]")
@click.option("--agents-ca", type=click.Path(path_type=Path), metavar="FILE", help="Who signs agents' certificates.")
@click.option("--agents-cert", type=click.Path(path_type=Path), metavar="FILE", help="PEM, ours, for the agents.")
@click.option("--agents-cert-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM, its key.")
@click.option("--agents-required", is_flag=True, default=None, help="Refuse a Fold where the node cannot cut.")
@click.option(
    "--records", type=click.Path(path_type=Path), metavar="DIR", help="Keep approvals and removed Folds there."
)
@click.option("--keep-days", type=click.FloatRange(0), metavar="DAYS", help="Of Folds that are over; 0: all.  [7]")
@click.option("--keep-most", type=click.IntRange(0), metavar="N", help="Of them in a namespace; 0: all.  [1000]")
@click.option("--namespace", metavar="NAME", help="Where the lease lies.  [loomidi-system]")
@click.option("--holder", metavar="NAME", help="This replica's name in the lease.  [host and process]")
@click.option("--probes", metavar="[HOST:]PORT", help="Answer /healthz, /readyz and /metrics there.")
def operator(
    mode: str | None, namespace: str | None, protect: tuple[str, ...], probes: str | None, **options: Any
) -> int:
    """Carry Folds through their life on a cluster; one replica acts, the others wait.

    Without --mode nothing is touched: Folds are judged, and end with their plan. Folds that are over stay, unless there
    are --records: then they are removed after --keep-days, or when --keep-most is exceeded, and their record is kept.
    """
    try:
        from loomidi.services.folds import operating
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    from loomidi.contracts import Mode
    from loomidi.services.http.authority import Door

    plain = operating.OperatorSettings()
    reached = {"port": "port", "authority": "ca", "certificate": "cert", "key": "cert_key", "required": "required"}
    agents = _with(plain.agents, **{name: options.pop(f"agents_{flag}") for name, flag in reached.items()})
    days, most = options.pop("keep_days"), options.pop("keep_most")
    sweep = _with(plain.sweep, kept_s=None if days is None else days * 86_400, most=most)
    given = {"mode": Mode(mode) if mode else None, "protected": protect or None, "agents": agents, **options}
    given["sweep"] = sweep
    given["probes"] = _door(Door(), probes)
    settings = _with(plain, lease=_with(plain.lease, namespace=namespace), **given)
    operating.serve(settings, os.environ, _say)
    return 0


@command.command("policy")
@click.option("--host", metavar="ADDRESS", help="Listen on; anything but loopback needs TLS and a token.  [127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="Listen on; 0: one that is free.  [8082]")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens that may do everything.")
@click.option("--read-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens that may only read.")
@click.option("--log-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens for decision logs.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="PEM, certificate and chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM, its key.")
@click.option("--client-ca", type=click.Path(path_type=Path), metavar="FILE", help="Who signs clients' certificates.")
@click.option("--opa", metavar="URL", help="OPA server that judges Rego and has it in force.  [none: in shadow only]")
@click.option("--opa-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Bearer token for OPA.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="With Kyverno.  [the pod's own]")
@click.option("--kyverno", type=click.Path(path_type=Path), metavar="FILE", help="The `kyverno` command.  [in PATH]")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the store of policies.")
@click.option("--probes", metavar="[HOST:]PORT", help="Answer /healthz, /readyz and /metrics there.")
def policy(probes: str | None, **options: Any) -> int:
    """Take policies over HTTP: judged, versioned, put into OPA or Kyverno, read back.

    The interface is described at /policy-api/openapi.yaml and in docs/policy-api.md.
    """
    try:
        from loomidi.services.http.authority import Door
        from loomidi.services.policy_api import standing_alone
        from loomidi.services.policy_api.settings import PolicySettings
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    plain = PolicySettings()
    door = {name: options.pop(name) for name in ("host", "port", "token_file", "tls_cert", "tls_key", "client_ca")}
    settings = _with(plain, door=_with(plain.door, **door), **options)
    where = _door(Door(), probes)
    asyncio.run(standing_alone.run(settings, where, os.environ, _listens))
    return 0


@command.command("transformer")
@click.option("--host", metavar="ADDRESS", help="Listen on; anything but loopback needs TLS and a token.  [127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="Listen on; 0: one that is free.  [8081]")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens that may do everything.")
@click.option("--read-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens that may only read.")
@click.option(
    "--analyze-token-file", type=click.Path(path_type=Path), metavar="FILE", help="Tokens for snapshots only."
)
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="PEM, certificate and chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="PEM, its key.")
@click.option("--client-ca", type=click.Path(path_type=Path), metavar="FILE", help="Who signs clients' certificates.")
@click.option("--lake", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the lake.  [of --config]")
@click.option("--bus", "bus_url", metavar="URL", help="Follow its findings too: nats://..., kafka://...")
@click.option("--kubeconfig", metavar="FILE", help="Propose Folds there; auto: as kubectl.  [no cluster]")
@click.option("--namespace", metavar="NAME", help="Of Folds whose target is in none.  [default]")
@click.option("--mode", type=click.Choice(MODES), help="The furthest that a plan goes.  [shadow]")
@click.option("--protect", multiple=True, metavar="CIDR", help="Addresses that no Fold may cut; may be repeated.")
@click.option("--risk", type=click.FloatRange(0, 0.5), metavar="P", help="Usual snapshots called anomalies.  [0.001]")
@click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="Folder of what is kept and learned.")
@click.option("--probes", metavar="[HOST:]PORT", help="Answer /healthz, /readyz and /metrics there.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML with [lake] and [bus].")
def transformer(probes: str | None, config: Path | None, **options: Any) -> int:
    """Judge snapshots over HTTP, propose folds and begin them under guard, tell decisions with their reasons.

    The interface is described at /transformer-api/openapi.yaml and in docs/transformer-api.md.
    """
    try:
        from loomidi.services.transformer_api import standing_alone
        from loomidi.services.transformer_api.settings import TransformerSettings
    except ModuleNotFoundError as error:
        raise EnvironmentLacks(f"{error.name} is not installed; run: pip install 'loomidi[pipeline]'") from error
    from loomidi.contracts import Mode
    from loomidi.services.http.authority import Door

    shared, plain = settings_of(config), TransformerSettings()
    door = {name: options.pop(name) for name in ("host", "port", "token_file", "tls_cert", "tls_key", "client_ca")}
    folder, mode, protect = options.pop("lake"), options.pop("mode"), options.pop("protect")
    given = {"mode": Mode(mode) if mode else None, "protected": protect or None}
    given |= {"lake": _with(shared.lake, folder=folder), "bus": _with(shared.bus, url=options.pop("bus_url"))}
    settings = _with(plain, door=_with(plain.door, **door), **given, **options)
    asyncio.run(standing_alone.run(settings, _door(Door(), probes), os.environ, _listens))
    return 0


def _listens(part: str, port: int) -> None:
    _say(f"{part} listens on port {port}")
