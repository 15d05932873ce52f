"""OpenC2: commands of others as folds, and folds as commands for others.

Called by `commands` (openc2-http steps), `answering` and `exporting`. In: a command of the Language Specification v1.0
or v2.0 under the actuator profile for stateless packet filtering (SLPF v1.0), as parsed JSON. Out: what it means, a
`Meaning`, or BadCommand with status 400 (cannot be read) or 501 (not done here, and why). Doing it is left to others.

What a filter with an end at every entry cannot say is refused and not approximated: lists with an order (insert_rule),
rules that outlive a restart (running: false), answers to what is dropped (reject, false_ack), the other direction.
"""

import base64
import binascii
import dataclasses
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import FoldKind, FoldSpec, Match
from loomidi.ionic.errors import BadCommand
from loomidi.ionic.playbooks.findings import target_of

VERSIONS = ("1.0", "2.0")
PROFILE = "slpf"
PAIRS: Mapping[str, tuple[str, ...]] = {  # SLPF v1.0 table 2.3-1, as far as it is done here
    "allow": ("ipv4_net", "ipv6_net", "ipv4_connection", "ipv6_connection"),
    "deny": ("ipv4_net", "ipv6_net", "ipv4_connection", "ipv6_connection"),
    "query": ("features",),
    "delete": ("slpf:rule_number",),
}
FEATURES = ("versions", "profiles", "pairs", "rate_limit")
DEFAULT_S = 300.0  # of a deny that names no end: a block of ours always has one
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
_NUMBERS = {number: name for name, number in _PROTOCOLS.items()} | {58: "icmp"}
_ACTIONS = (
    *("scan", "locate", "query", "deny", "contain", "allow", "start", "stop", "restart", "cancel", "set", "update"),
    *("redirect", "create", "delete", "detonate", "restore", "copy", "investigate", "remediate"),
)  # Language Specification v1.0, table 3.3.1.1-1
_RESPONSES = ("none", "ack", "status", "complete")


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """One command, understood."""

    action: str  # deny, allow, delete, query
    fold: FoldSpec | None = None  # of deny; of allow: the deny that it takes back
    rule_number: int = 0  # of delete
    features: tuple[str, ...] = ()  # of query
    response: str = "complete"  # none, ack, status, complete
    command_id: str = ""
    notes: tuple[str, ...] = ()  # what was taken otherwise than somebody may expect


def unwrapped(value: Any) -> Mapping[str, Any]:
    """The command in a message: bare, or as `body.openc2.request` (Language v2.0, HTTPS v1.1). Raises BadCommand."""
    if isinstance(value, Mapping) and "body" in value:
        body = value["body"]
        inside = body.get("openc2") if isinstance(body, Mapping) else None
        value = inside.get("request") if isinstance(inside, Mapping) else None
    if not isinstance(value, Mapping):
        raise BadCommand(400, "no OpenC2 command: expected an object with action and target, bare or in a message")
    return value


def decoded(text: str | bytes) -> Mapping[str, Any]:
    """The same from JSON text."""
    try:
        return unwrapped(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise BadCommand(400, f"no OpenC2 command: {error}") from error


def content_of(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OpenC2 command that an openc2-http command of a playbook holds. CACAO v2.0 section 5.9."""
    if "content_b64" in command:
        try:
            return decoded(base64.b64decode(command["content_b64"], validate=True))
        except (TypeError, ValueError, binascii.Error) as error:
            raise BadCommand(400, f"content_b64 is no base64: {error}") from error
    if not isinstance(command.get("content"), str):
        raise BadCommand(400, "an openc2-http command has its OpenC2 command in content or content_b64")
    return decoded(command["content"])


def meaning_of(command: Mapping[str, Any], now_ns: int) -> Meaning:
    """What it asks for. Raises BadCommand. Steps, in this order:

    1 its parts are there   2 it is meant for a packet filter   3 action and target go together   4 its arguments
    """
    # 1 parts
    action, target = _parts(command)
    # 2 for a packet filter
    actuator = command.get("actuator", {})
    if not isinstance(actuator, Mapping) or set(actuator) - {PROFILE}:
        raise BadCommand(501, f"actuator: this consumer has the profile {PROFILE} and no other")
    # 3 action and target
    ((kind, what),) = target.items()
    if kind not in PAIRS.get(action, ()):
        raise BadCommand(501, f"Target not supported: {action} {kind}; {_why_not(action)}")
    # 4 arguments
    given = command.get("args", {})
    if not isinstance(given, Mapping):
        raise BadCommand(400, "args is an object")
    response = given.get("response_requested", "complete")
    if response not in _RESPONSES:
        raise BadCommand(400, f"response_requested is one of {', '.join(_RESPONSES)}")
    common = {"response": response, "command_id": str(command.get("command_id", ""))}
    if action == "query":
        return Meaning(action, features=_features(what), **common)
    if action == "delete":
        _begins_now(given, now_ns)
        return Meaning(action, rule_number=_rule_number(what), **common)
    ttl_s, notes = _arguments(given, action, now_ns)
    return Meaning(action, _fold(kind, what, ttl_s), notes=notes, **common)


def _parts(command: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if unknown := sorted(map(str, set(command) - {"action", "target", "args", "actuator", "profile", "command_id"})):
        raise BadCommand(400, f"{unknown[0]}: a command has action, target, args, actuator and command_id")
    action, target = command.get("action"), command.get("target")
    if not isinstance(action, str) or action not in _ACTIONS:
        raise BadCommand(400, f"action {_shown(action)} is none of the language")
    if not isinstance(target, Mapping) or len(target) != 1:
        raise BadCommand(400, "target is an object with exactly one member, such as ipv4_net")
    if command.get("profile", PROFILE) != PROFILE:
        raise BadCommand(501, f"profile: this consumer has the profile {PROFILE} and no other")
    return action, target


def _why_not(action: str) -> str:
    if action == "update":
        return "rules come as commands, never as a file that is fetched"
    able = "; ".join(f"{name} {', '.join(targets)}" for name, targets in PAIRS.items())
    return f"done here: {able}"


def _features(what: Any) -> tuple[str, ...]:
    if not isinstance(what, list) or len(what) > len(FEATURES) or len(set(map(str, what))) < len(what):
        raise BadCommand(400, "features is a list without repetitions; empty asks whether anybody is there")
    if unknown := [one for one in what if one not in FEATURES]:
        raise BadCommand(400, f"feature {_shown(unknown[0])} is none of {', '.join(FEATURES)}")
    return tuple(what)


def _rule_number(what: Any) -> int:
    if isinstance(what, bool) or not isinstance(what, int) or not 0 < what < 2**32:
        raise BadCommand(400, "slpf:rule_number is the number that a deny was answered with")
    return what


# -- arguments ----------------------------------------------------------------------


def _arguments(given: Mapping[str, Any], action: str, now_ns: int) -> tuple[float, tuple[str, ...]]:
    """Seconds until it ends, and what has to be said about it."""
    own = given.get(PROFILE, {})
    if not isinstance(own, Mapping):
        raise BadCommand(400, "args.slpf is an object")
    known = {"start_time", "stop_time", "duration", "response_requested", PROFILE}
    if unknown := sorted(map(str, set(given) - known)):
        raise BadCommand(501, f"Option not supported: {unknown[0]}")
    _own_arguments(own, action)
    ttl_s = _ends_in(given, now_ns)
    if ttl_s is None:
        return DEFAULT_S, (f"no end was named: it ends by itself after {DEFAULT_S:g} s",)
    return ttl_s, ()


def _own_arguments(own: Mapping[str, Any], action: str) -> None:
    """SLPF v1.0 table 2.1.3-2 (and `persistent`, the same turned round, of v1.1)."""
    if unknown := sorted(map(str, set(own) - {"drop_process", "running", "persistent", "direction", "insert_rule"})):
        raise BadCommand(501, f"Option not supported: slpf.{unknown[0]}")
    if "insert_rule" in own:
        raise BadCommand(501, "Option not supported: insert_rule; the rules here are no list, each matches for itself")
    drop = own.get("drop_process", "none")
    if drop not in ("none", "reject", "false_ack") or (action == "allow" and "drop_process" in own):
        raise BadCommand(400, "drop_process is none, reject or false_ack, and belongs to deny")
    if drop != "none":
        raise BadCommand(501, f"Option not supported: drop_process {drop}; what is dropped is dropped in silence")
    for name, refused in (("running", False), ("persistent", True)):
        if name in own and not isinstance(own[name], bool):
            raise BadCommand(400, f"{name} is true or false")
        if own.get(name) is refused:
            raise BadCommand(501, f"Option not supported: {name} {str(refused).lower()}; every rule here has an end")
    direction = own.get("direction", "ingress")
    if direction not in ("both", "ingress", "egress"):
        raise BadCommand(400, "direction is both, ingress or egress")
    if direction != "ingress":
        raise BadCommand(501, f"Option not supported: direction {direction}; only what comes in is matched")


def _ends_in(given: Mapping[str, Any], now_ns: int) -> float | None:
    times = ("start_time", "stop_time", "duration")
    for name in times:
        if name in given and (isinstance(given[name], bool) or not isinstance(given[name], int) or given[name] < 0):
            raise BadCommand(400, f"{name} is a whole number of milliseconds")
    if all(name in given for name in times):
        raise BadCommand(400, "start_time, stop_time and duration: at most two of them")
    _begins_now(given, now_ns)
    if "duration" in given:
        return float(given["duration"]) / 1e3
    if "stop_time" not in given:
        return None
    left_s: float = given["stop_time"] / 1e3 - now_ns / 1e9
    if left_s <= 0:
        raise BadCommand(400, "stop_time lies in the past")
    return left_s


def _begins_now(given: Mapping[str, Any], now_ns: int) -> None:
    start = given.get("start_time", 0)
    if isinstance(start, bool) or not isinstance(start, int):
        raise BadCommand(400, "start_time is a whole number of milliseconds since 1970")
    if start * 1_000_000 > now_ns:
        raise BadCommand(501, "Option not supported: a start_time that has not come yet; send it then")


# -- targets ----------------------------------------------------------------------


def _fold(kind: str, what: Any, ttl_s: float) -> FoldSpec:
    version = 4 if kind.startswith("ipv4") else 6
    match = _net(what, version) if kind.endswith("_net") else _connection(what, version)
    if not match.source:
        raise BadCommand(501, "Target not supported: a connection without src_addr; the filter matches by its source")
    rest = (match.destination, match.source_port, match.destination_port, match.protocol)
    if any(rest) and not all(rest):
        raise BadCommand(501, "Target not supported: a part of a five-tuple; name src_addr alone, or all five")
    target = target_of(match.source)
    undo = f"The entry for {match.source} ends by itself after {ttl_s:g} s. Sooner: delete its slpf:rule_number."
    return FoldSpec(FoldKind.RECONFIGURE_NETWORK, target, "drop", match, ttl_s=ttl_s, undo=undo)


def _net(what: Any, version: int) -> Match:
    """CIDR text (JSON), or the pair of address and length that Language v1.0 allows."""
    if isinstance(what, list) and len(what) in (1, 2) and all(isinstance(one, str | int) for one in what):
        what = "/".join(map(str, what))
    return Match(source=_network(what, version))


def _network(what: Any, version: int) -> str:
    try:
        network = ipaddress.ip_network(what if isinstance(what, str) else "", strict=False)
    except ValueError as error:
        raise BadCommand(400, f"{_shown(what)} is no IPv{version} address or CIDR") from error
    if network.version != version:
        raise BadCommand(400, f"{_shown(what)} is no IPv{version} address or CIDR")
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def _connection(what: Any, version: int) -> Match:
    names = ("src_addr", "src_port", "dst_addr", "dst_port", "protocol")
    if not isinstance(what, Mapping) or not what or set(what) - set(names):
        raise BadCommand(400, f"a connection has one or more of {', '.join(names)}")
    for name in ("src_port", "dst_port"):
        port = what.get(name, 0)
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
            raise BadCommand(400, f"{name} is a port")
    protocol = what.get("protocol")
    if protocol is not None and (not isinstance(protocol, str) or protocol not in _PROTOCOLS):
        raise BadCommand(400, f"protocol is one of {', '.join(_PROTOCOLS)}")
    number = 58 if protocol == "icmp" and version == 6 else _PROTOCOLS.get(protocol or "", 0)
    ends = {name: _network(what[name], version) if name in what else "" for name in ("src_addr", "dst_addr")}
    return Match(ends["src_addr"], ends["dst_addr"], what.get("src_port", 0), what.get("dst_port", 0), number)


# -- out ----------------------------------------------------------------------


def command_of(fold: FoldSpec, *, command_id: str = "", until_ns: int = 0) -> dict[str, Any]:
    """A fold as a command for somebody else's packet filter. Raises BadCommand 501 for one that SLPF has no words for.

    `until_ns`: when it ends, epoch; 0: after its TTL from whenever it arrives.
    """
    match = fold.match
    if fold.kind is not FoldKind.RECONFIGURE_NETWORK or fold.action != "drop" or not match.source:
        raise BadCommand(
            501, f"{fold.kind.value} by {fold.action} is no deny of packets from a source; SLPF has no rates"
        )
    version = ipaddress.ip_network(match.source, strict=False).version
    ends = {"stop_time": until_ns // 1_000_000} if until_ns else {"duration": round(fold.ttl_s * 1e3)}
    command: dict[str, Any] = {
        "action": "deny",
        "target": _target(match, version),
        "args": {**ends, "response_requested": "complete", PROFILE: {"direction": "ingress", "drop_process": "none"}},
        "actuator": {PROFILE: {}},
    }
    return command | ({"command_id": command_id} if command_id else {})


def _target(match: Match, version: int) -> dict[str, Any]:
    if not (match.destination or match.protocol or match.source_port or match.destination_port):
        return {f"ipv{version}_net": match.source}
    if match.protocol not in _NUMBERS:
        raise BadCommand(501, f"protocol {match.protocol} has no name in OpenC2")
    tuple_ = {"protocol": _NUMBERS[match.protocol], "src_addr": match.source, "dst_addr": match.destination}
    ports = {"src_port": match.source_port, "dst_port": match.destination_port}
    return {f"ipv{version}_connection": {k: v for k, v in {**tuple_, **ports}.items() if v}}


def message_of(command: Mapping[str, Any], request_id: str, at_ns: int, producer: str) -> dict[str, Any]:
    """The command in a message of Language v2.0: headers and body."""
    headers = {"request_id": request_id, "created": at_ns // 1_000_000, "from": producer}
    return {"headers": headers, "body": {"openc2": {"request": dict(command)}}}


def _shown(value: Any) -> str:
    found = json.dumps(value, default=str)
    return found if len(found) <= 40 else found[:37] + "..."
