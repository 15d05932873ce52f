"""The floor: the guard that needs no engine and no file, and shares no code with the others.

Called by `deciding`. In: a plan, and of the facts only the time and the counts of active plans; what is protected and
how far to go it was told when it was made. Out: one verdict per check of `CHECKS`. A check that fails to answer
(missing facts, a value of the wrong type) is a verdict without `allow`, so a denial.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import FoldKind, Match, Mode, Plan, Verdict
from loomidi.ionic.decide.limits import Limits
from loomidi.ionic.documents import plan_id

Answer = tuple[bool, str]
_IPV4 = ipaddress.IPv6Network("::ffff:0:0/96")  # where IPv4 lies in the v4-mapped space
_ACTIONS = {
    FoldKind.RECONFIGURE_NETWORK: ("rate", "drop", "eject", "tune"),
    FoldKind.ISOLATE_POD: ("isolate",),
    FoldKind.SCALE_OUT: ("scale",),
    FoldKind.CORDON: ("cordon",),
    FoldKind.EVICT: ("evict",),
    FoldKind.RESIZE: ("resize",),
    FoldKind.RESTART: ("restart",),
    FoldKind.ROLLBACK: ("rollback",),
    FoldKind.TERMINATE: ("terminate",),
}
_MEANS = {"drop": ("agent", "networkpolicy", "cilium", "istio"), "rate": ("agent",), "eject": ("istio",)}
_SPACE, _NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"  # RFC 1123
_NAMED = {  # how the one object is written that an action changes: what else is in a name would be in a path
    "cordon": re.compile(f"node/{_NAME}"),
    "eject": re.compile(f"service/{_SPACE}/{_NAME}"),
    "evict": re.compile(f"pod/{_SPACE}/{_NAME}"),
    "resize": re.compile(f"pod/{_SPACE}/{_NAME}"),
    "restart": re.compile(f"workload/{_SPACE}/{_NAME}"),
    "rollback": re.compile(f"workload/{_SPACE}/{_NAME}"),
    "terminate": re.compile(f"pod/{_SPACE}/{_NAME}"),
}
_TUNED = re.compile(r"(host|service)/\S+")  # whose thresholds
_MOST_EJECTED = 50  # percent of a service's endpoints
_NEVER = frozenset({"kube-node-lease", "kube-public", "kube-system", "loomidi-system"})  # whatever settings say
_FINAL = ("evict", "terminate")  # no way back
_GENTLE = (
    "rate",
    "eject",
    "scale",
    "cordon",
    "resize",
    "restart",
    "rollback",
    "tune",
)  # nobody is cut off from what he talks to


class FloorGuard:
    """Protected set, aim, TTL, share, caps and mode, in plain Python."""

    name = "floor"

    def __init__(self, protected: Iterable[str] = (), limits: Limits | None = None, mode: Mode = Mode.SHADOW) -> None:
        """Raises ValueError for a protected entry that is neither an address nor a CIDR."""
        self._protected = [_widened(ipaddress.ip_network(prefix, strict=False)) for prefix in protected]
        self._limits = limits or Limits()
        self._mode = mode

    def judge(self, plan: Plan, facts: Mapping[str, Any]) -> Sequence[Verdict]:
        """One verdict per check, in the order of `CHECKS`."""
        return [self._verdict(rule, check, plan, facts) for rule, check in CHECKS.items()]

    def _verdict(self, rule: str, check: "Check", plan: Plan, facts: Mapping[str, Any]) -> Verdict:
        try:
            allow, reason = check(self, plan, facts)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the answer is no
            return Verdict(self.name, rule, None, f"no answer: {type(error).__name__}: {error}")
        return Verdict(self.name, rule, allow is True, reason)

    def _intact(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        return plan.id == (true := plan_id(plan)), f"id {plan.id}, the content gives {true}"

    def _mode_known(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        return plan.mode is self._mode, f"plan in mode {plan.mode.value}, configured is {self._mode.value}"

    def _fresh(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        now = facts["now_ns"]
        return plan.created_ns <= now < plan.expires_ns, f"judged at {now}, expires at {plan.expires_ns}"

    def _fitting(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        fold = plan.fold
        means = not fold.means or fold.means in _MEANS.get(fold.action, ())
        told = f"{fold.kind.value} by {fold.action}" + (f" of {fold.means}" if fold.means else "")
        return fold.action in _ACTIONS.get(fold.kind, ()) and means, told

    def _aimed(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        match, action = plan.fold.match, plan.fold.action
        if action in ("isolate", "scale"):
            return bool(plan.fold.target), "the target is named"
        if form := _NAMED.get(action):
            return bool(form.fullmatch(plan.fold.target)), f"{action} of {plan.fold.target}: one object, named in full"
        if action == "tune":
            whole = _TUNED.fullmatch(plan.fold.target) and _host_of(plan.fold.target) and match == Match()
            return bool(whole), f"thresholds of {plan.fold.target}: one address or service, and no packets"
        if match.source:
            return _is_small(_prefix(match.source)), f"source {match.source}"
        return action == "rate" and bool(match.destination), "a drop names a source, a rate a source or a destination"

    def _spared(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        """What changes an object of a cluster leaves what the cluster and we run in; packets may be cut anywhere."""
        if plan.fold.kind is FoldKind.RECONFIGURE_NETWORK and plan.fold.action != "eject":
            return True, "it changes no object that is there"
        _, *rest = plan.fold.target.split("/")
        spaces = {*rest[:-1], str(plan.fold.manifest.get("metadata", {}).get("namespace", ""))}
        return not spaces & _NEVER, f"namespaces {sorted(spaces - {''})}, never touched {sorted(_NEVER)}"

    def _written(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        """An object of Cilium or Istio only takes away: it lets nothing through that did not pass before."""
        kind, spec = str(plan.fold.manifest.get("kind", "")), plan.fold.manifest.get("spec", {})
        if kind == "CiliumNetworkPolicy":
            closed = spec["enableDefaultDeny"] == {"ingress": False, "egress": False}
            return closed and not {"ingress", "egress"} & set(spec), f"{kind}: {sorted(spec)}"
        if kind == "AuthorizationPolicy":
            return spec["action"] == "DENY" and bool(spec["selector"]["matchLabels"]), f"{kind}: {spec['action']}"
        if kind == "DestinationRule":
            most = spec["trafficPolicy"]["outlierDetection"]["maxEjectionPercent"]
            return 0 < most <= _MOST_EJECTED, f"{kind}: at most {most} % of the endpoints are ejected"
        return True, "no object of Cilium or Istio"

    def _tuned(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        """Thresholds lie within what the floor was told, whatever a policy file says; nothing else has any."""
        given = plan.fold.thresholds
        if plan.fold.action != "tune":
            return not given, f"{plan.fold.action} with {len(given)} thresholds"
        ends = self._limits.thresholds
        within = all(type(n) is int and ends[name][0] <= n <= ends[name][1] for name, n in given.items())
        return within and len(given) > 1 and "window_ms" in given, f"thresholds {dict(given)}"

    def _final(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        """What has no way back is done to what the finding is about, never to something beside it."""
        named = plan.fold.target in plan.finding.entities
        return plan.fold.action not in _FINAL or named, f"{plan.fold.action}, in the finding: {named}"

    def _ttl(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        low, high = self._limits.min_ttl_s, self._limits.max_ttl_s
        return low <= plan.fold.ttl_s <= high, f"ttl {plan.fold.ttl_s:g} s, allowed {low:g} to {high:g} s"

    def _untouched(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        """The radius says nothing of the protected set is met, and neither source nor target lies in it."""
        meant = {plan.fold.match.source, _host_of(plan.fold.target)} - {""}
        if plan.fold.kind is FoldKind.SCALE_OUT:
            meant = set()
        hits = [text for text in meant if any(_shares(_prefix(text), net) for net in self._protected)]
        return (
            not hits and not plan.blast_radius.protected,
            f"protected: {sorted({*hits, *plan.blast_radius.protected})}",
        )

    def _share(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        share, most = plan.blast_radius.share_of_octets, self._limits.max_share
        one_named = "/" not in plan.fold.match.source and plan.fold.target in plan.finding.entities
        sure = one_named and self._limits.sure <= plan.finding.confidence <= 1
        gentle = plan.fold.action in _GENTLE
        return math.isfinite(share) and (share <= most or sure or gentle), f"cuts {share:.3g} of octets, most {most:g}"

    def _target_cap(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        active, most = facts["active"]["target"], self._limits.max_active_per_target
        return 0 <= active < most, f"{active} acts on {plan.fold.target}, most {most}"

    def _total_cap(self, plan: Plan, facts: Mapping[str, Any]) -> Answer:
        active, most = facts["active"]["total"], self._limits.max_active
        return 0 <= active < most, f"{active} acts in total, most {most}"


Check = Callable[[FloorGuard, Plan, Mapping[str, Any]], Answer]

CHECKS: dict[str, Check] = {
    "intact": FloorGuard._intact,
    "mode": FloorGuard._mode_known,
    "fresh": FloorGuard._fresh,
    "fitting": FloorGuard._fitting,
    "aimed": FloorGuard._aimed,
    "spared": FloorGuard._spared,
    "written": FloorGuard._written,
    "tuned": FloorGuard._tuned,
    "final": FloorGuard._final,
    "ttl": FloorGuard._ttl,
    "protected": FloorGuard._untouched,
    "share": FloorGuard._share,
    "target_cap": FloorGuard._target_cap,
    "total_cap": FloorGuard._total_cap,
}


def _prefix(text: str) -> ipaddress.IPv6Network:
    """An address or CIDR in the v4-mapped space. Raises ValueError when it is neither."""
    return _widened(ipaddress.ip_network(text, strict=False))


def _widened(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> ipaddress.IPv6Network:
    if isinstance(network, ipaddress.IPv6Network):
        return network
    return ipaddress.IPv6Network((f"::ffff:{network.network_address}", 96 + network.prefixlen))


def _is_small(network: ipaddress.IPv6Network) -> bool:
    """Not everybody: at least /8 in IPv4 (also when written as IPv6) and /16 in IPv6."""
    return network.prefixlen >= (96 + 8 if network.overlaps(_IPV4) else 16)


def _shares(one: ipaddress.IPv6Network, other: ipaddress.IPv6Network) -> bool:
    return one.overlaps(other)


def _host_of(target: str) -> str:
    """The address in an entity id, or '' when it names none."""
    kind, _, rest = target.partition("/")
    text = rest.rsplit(":", 1)[0].strip("[]") if kind == "service" else rest
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return ""
