"""`loomidi shield`: deny, rate-limit and allow sources on an interface, each entry with an end.

Called by `conductor.cli`. In: an interface and what to do. Out: tables or JSON on standard output. State is in the
kernel and survives the command. Leaves everything but arguments and rendering to `loom.capture`.
"""

import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from loomidi.contracts.errors import EnvironmentLacks, UsageError
from loomidi.contracts.records import Match

if TYPE_CHECKING:
    from loomidi.contracts.ports import DenyState
    from loomidi.loom.capture.xdp.kernel import KernelShield

_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132, "icmpv6": 58}
_TUPLE = re.compile(r"^(?P<protocol>\w+):(?P<source>.+?)>(?P<target>.+)$")


class Duration(click.ParamType[float]):
    """Seconds, or with a unit: 500ms, 60s, 5m, 2h, 1d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a float."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)", str(value))
        if not match:
            self.fail(f"{value!r} is no duration; write 60s, 5m or 2h", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


class Tuple(click.ParamType[Match]):
    """PROTOCOL:SOURCE:PORT>TARGET:PORT; IPv6 in brackets; ICMP without ports."""

    name = "tuple"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Match:
        """The match of an exact 5-tuple."""
        found = _TUPLE.match(str(value))
        protocol = _PROTOCOLS.get(found["protocol"].lower(), 0) if found else 0
        if found and found["protocol"].isdigit():
            protocol = int(found["protocol"])
        if not found or not 0 < protocol < 256:
            self.fail(f"{value!r} is no tuple; write 'tcp:192.0.2.7:40000>198.51.100.1:80'", param, ctx)
        try:
            source, target = _end(found["source"]), _end(found["target"])
        except ValueError as error:
            self.fail(f"{value!r}: {error}; write 'tcp:192.0.2.7:40000>198.51.100.1:80'", param, ctx)
        return Match(source[0], target[0], source[1], target[1], protocol)


def _end(text: str) -> tuple[str, int]:
    """(address, port); the port is 0 when left out."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        address, _, port = text.partition(":")
    number = int(port or 0)
    if not 0 <= number < 65536:
        raise ValueError(f"{number} is no port")
    return str(ipaddress.ip_address(address)), number


def _matched(source: str | None, exact: Match | None) -> Match:
    if (source is None) == (exact is None):
        raise UsageError("give either --source ADDR|CIDR or --tuple PROTOCOL:SOURCE:PORT>TARGET:PORT")
    return exact or Match(source=source or "")


def _open(interface: str) -> "KernelShield":
    from loomidi.loom.capture import reopen

    shield: KernelShield = reopen(interface)
    return shield


@click.group(name="shield")
def command() -> None:
    """Deny, rate-limit or allow sources in the kernel, each entry with an end.

    Entries end by themselves, whatever becomes of who wrote them. Nothing is protected but what --protect names and
    the SSH session that attaches.
    """


@command.command()
@click.argument("interface")
@click.option("--mode", type=click.Choice(["auto", "native", "generic", "tc"]), default="auto", show_default=True)
@click.option("--protect", multiple=True, metavar="CIDR", help="Always passes. May be repeated.")
@click.option("--account/--no-account", default=False, help="Keep flow records, for an agent that drains them.")
@click.option("--max-flows", type=int, default=65_536, show_default=True, help="Of one drain, with --account.")
@click.option("--max-entries", type=int, default=65_536, show_default=True, help="Verdict entries per table.")
@click.option("--inner", is_flag=True, help="Look inside VXLAN and Geneve.")
@click.option("--verbose", is_flag=True, help="What libbpf and the kernel said.")
def attach(interface: str, mode: str, protect: tuple[str, ...], verbose: bool, account: bool, **sizes: Any) -> None:
    """Put the shield on INTERFACE; it stays until `detach`."""
    from loomidi.loom.capture import ShieldSettings
    from loomidi.loom.capture import attach as attach_shield
    from loomidi.loom.capture.verdicts import network_of
    from loomidi.loom.capture.xdp import libbpf

    prefixes = [str(network_of(prefix)) for prefix in protect]
    settings = ShieldSettings(accounting=account, **sizes)
    try:
        shield = attach_shield(interface, mode, settings)
    finally:
        if verbose:
            click.echo("\n".join(libbpf.log()), err=True)
    operator = _operator()
    for prefix in (*prefixes, *operator):
        shield.allow(prefix)
    for rung, why in shield.attached.tried:
        click.echo(f"{rung}: {why}", err=True)
    click.echo(f"{interface}: {shield.rung}; nothing is denied yet")
    named = [*prefixes, *(f"{address} (your SSH session)" for address in operator)]
    click.echo(
        f"protected: {', '.join(named) or 'nothing; --protect CIDR at the next attach, or `loomidi shield allow`'}"
    )
    shield.close()


def _operator() -> list[str]:
    """The other end of the SSH session that we run in."""
    address = os.environ.get("SSH_CONNECTION", "").split(" ")[0].partition("%")[0]
    try:
        return [str(ipaddress.ip_address(address))]
    except ValueError:
        return []


@command.command()
@click.argument("interface")
@click.option("--source", metavar="ADDR|CIDR", help="All packets from there.")
@click.option("--tuple", "exact", type=Tuple(), help="One conversation: tcp:192.0.2.7:40000>198.51.100.1:80")
@click.option("--ttl", type=Duration(), default="60s", show_default=True, help="The entry ends by itself.")
@click.option("--rate", type=click.IntRange(1, 2**32 - 1), help="Let that many packets per second through.")
@click.option("--burst", type=click.IntRange(1, 2**32 - 1), help="Packets at once, with --rate.  [rate / 10]")
@click.option("--count", is_flag=True, help="Only count what would match.")
def deny(interface: str, source: str | None, exact: Match | None, ttl: float, **how: Any) -> None:
    """Drop, or with --rate limit, what comes from a source or belongs to one conversation."""
    from loomidi.contracts.ports import Deny

    rate, burst, count = how["rate"], how["burst"], how["count"]
    if burst and not rate:
        raise UsageError("--burst needs --rate PPS")
    if count and rate:
        raise UsageError("--count and --rate exclude each other")
    action = "count" if count else "rate" if rate else "drop"
    entry = Deny(_matched(source, exact), action, ttl, 0, rate or 0, burst or max(1, (rate or 0) // 10) * bool(rate))
    with _open(interface) as shield:
        shield.deny(entry)
        state = shield.entry(entry.match)
        spared = _spared(entry.match, shield.protected())
    click.echo(_line(state) if state else "written")
    if spared:
        click.echo(f"protected all the same: {', '.join(spared)}", err=True)


def _spared(match: Match, protected: list[str]) -> list[str]:
    """Protected prefixes that overlap with what is denied."""
    denied = ipaddress.ip_network(match.source, strict=False)
    return [prefix for prefix in protected if _overlap(denied, ipaddress.ip_network(prefix))]


def _overlap(a: Any, b: Any) -> bool:
    return bool(a.version == b.version and a.overlaps(b))


@command.command()
@click.argument("interface")
@click.option("--source", metavar="ADDR|CIDR", help="Protect it: its packets always pass.")
@click.option("--remove", is_flag=True, help="Remove the entry of --source or --tuple instead.")
@click.option("--unprotect", is_flag=True, help="Take --source out of the protected set instead.")
@click.option("--tuple", "exact", type=Tuple(), help="With --remove: the conversation.")
def allow(interface: str, source: str | None, exact: Match | None, remove: bool, unprotect: bool) -> int:
    """Protect a source, or take an entry back."""
    match = _matched(source, exact)
    if exact and not remove:
        raise UsageError("a conversation cannot be protected; give --source, or --remove with --tuple")
    with _open(interface) as shield:
        if remove:
            done = shield.remove(match)
        elif unprotect:
            done = shield.disallow(match.source)
        else:
            shield.allow(match.source)
            done = True
    if not done:
        click.echo("there was none", err=True)
    return 0 if done else 1


@command.command(name="list")
@click.argument("interface")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def list_entries(interface: str, as_json: bool) -> None:
    """Entries with what they hit, and the protected set."""
    with _open(interface) as shield:
        entries, protected, rung = shield.entries(), shield.protected(), shield.rung
    entries.sort(key=lambda state: (-state.hits, state.deny.match.source))
    if as_json:
        document = {
            "interface": interface,
            "rung": rung,
            "entries": [_plain(state) for state in entries],
            "protected": protected,
        }
        click.echo(json.dumps(document, indent=1))
        return
    for state in entries:
        click.echo(_line(state))
    click.echo(f"{len(entries)} entries; protected: {', '.join(protected) or 'nothing'}")


def _plain(state: "DenyState") -> dict[str, Any]:
    import dataclasses

    row = dataclasses.asdict(state)
    return {**row.pop("deny"), **row}


def _line(state: "DenyState") -> str:
    deny = state.deny
    match = deny.match
    what = match.source
    if match.destination:
        what = f"{match.protocol}:{match.source}:{match.source_port}>{match.destination}:{match.destination_port}"
    action = f"rate {deny.rate_pps}/s burst {deny.burst}" if deny.action == "rate" else deny.action
    left = f"{deny.ttl_s:.0f} s left" if state.live else "over"
    return f"{what}  {action}  {left}  hits {state.hits:,}  dropped {state.dropped:,}  octets {state.octets:,}"


@command.command()
@click.argument("interface")
@click.option("--json", "as_json", is_flag=True, help="One document (with --watch: one line each).")
@click.option("--watch", is_flag=True, help="Every second, until Ctrl-C.")
def stats(interface: str, as_json: bool, watch: bool) -> None:
    """Where every packet since `attach` ended."""
    with _open(interface) as shield:
        for counters in _readings(shield, watch):
            if as_json:
                plain = {name: {"packets": p, "octets": o} for name, (p, o) in counters.items()}
                plain["suspects"] = {"untold": shield.untold()}
                click.echo(json.dumps(plain, indent=None if watch else 1))
                continue
            rows = [(name, *count) for name, count in counters.items() if count[0]]
            for name, packets, octets in rows or [("no packet yet", 0, 0)]:
                click.echo(f"{name:22} {packets:>14,} packets {octets:>18,} octets")
            if shield.untold():
                click.echo(f"{'suspects untold':22} {shield.untold():>14,} (the ring was full)")
            if watch:
                click.echo("")


def _readings(shield: "KernelShield", watch: bool) -> Iterator[dict[str, tuple[int, int]]]:
    yield dict(shield.counters())
    while watch:
        time.sleep(1)
        shield.attached.check()
        yield dict(shield.counters())


@command.command()
@click.argument("interface")
def disarm(interface: str) -> None:
    """Turn all entries off at once, and keep later ones off, until `arm`."""
    with _open(interface) as shield:
        shield.disarm(for_good=True)
    click.echo(f"{interface}: no entry counts until `loomidi shield arm {interface}`")


@command.command()
@click.argument("interface")
def arm(interface: str) -> None:
    """After `disarm`: entries written from now on count again."""
    with _open(interface) as shield:
        shield.arm()


@command.command()
@click.argument("interface", required=False)
@click.option("--all", "every", is_flag=True, help="Every shield that is pinned here, in this network namespace.")
def detach(interface: str | None, every: bool) -> None:
    """Take the shield off INTERFACE, or off --all, also one that a crash left behind."""
    from loomidi.loom.capture import detach as detach_shield
    from loomidi.loom.capture import shielded

    if (interface is None) != every:
        raise UsageError("name an interface, or give --all; not both")
    if os.geteuid() != 0:
        raise EnvironmentLacks("detaching needs root; run with sudo")
    for name in shielded() if interface is None else (interface,):
        if not detach_shield(name) and not every:
            raise EnvironmentLacks(f"no shield on {name}")
        click.echo(f"{name}: detached")
