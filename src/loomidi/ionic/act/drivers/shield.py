"""The shield driver: folds as entries of the data plane on one interface, XDP, tc or the twin.

Called by the engine. In: RECONFIGURE_NETWORK folds whose match a table holds exactly; a match that would have to be
widened is refused. Out: entries with a TTL, tagged with the plan's rule id; what was there before is the inverse.
An entry that another plan has put there since is never removed.
"""

import dataclasses
import ipaddress
import threading
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Approval, Extension, FoldKind, FoldSpec, Match, Plan
from loomidi.contracts.ports import Deny, DenyState, Shield
from loomidi.ionic.act.drivers.admission import admit, admit_extension
from loomidi.ionic.act.fencing import Fence, Tokens
from loomidi.ionic.approvals import Signer, process_signer
from loomidi.ionic.documents import rule_id
from loomidi.ionic.errors import NotActing
from loomidi.kit.clock import Clock, SystemClock


class ShieldDriver(Tokens):
    """Carries folds out on one Shield, and takes them back."""

    def __init__(
        self,
        shield: Shield,
        signer: Signer | None = None,
        *,
        clock: Clock | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`fence`: one file for all processes that act on this data plane; by default this driver's alone."""
        self.name = f"shield:{shield.name}"
        self.shield = shield
        self.fence = fence or Fence()
        self._signer = signer or process_signer()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()  # an undo looks and then writes: nothing may be applied in between

    def check(self, fold: FoldSpec) -> str | None:
        """None when an entry says exactly what the fold says."""
        if fold.kind is not FoldKind.RECONFIGURE_NETWORK or fold.action not in ("drop", "rate"):
            return f"{fold.kind.value} by {fold.action} is not a matter of packets; it takes a Kubernetes driver"
        if fold.action == "rate" and fold.rate_pps < 1:
            return "a rate of 0 packets per second is a drop; say drop"
        if fold.ttl_s <= 0:
            return "an entry needs a TTL"
        match = fold.match
        rest = (match.destination, match.source_port, match.destination_port, match.protocol)
        if not _is_network(match.source):
            return "the shield matches by source; this fold names none"
        if any(rest) and not (all(rest) and _is_address(match.source) and _is_address(match.destination)):
            return "the shield matches a source alone or a full 5-tuple; it would have to widen this match"
        return None

    def inverse(self, fold: FoldSpec) -> Mapping[str, Any]:
        """The entry that is in force there now, or None."""
        found = self._find(fold.match)
        before = None
        if found is not None and found.live:
            before = dataclasses.asdict(found.deny) | {"expires_ns": found.expires_ns}
        return {"match": fold.match.as_dict(), "before": before}

    def apply(self, plan: Plan, approval: Approval, token: int = 0) -> Mapping[str, Any]:
        """Write the entry. Takes effect with the next packet. Raises Fenced when somebody acts there since `token`."""
        now_ns = self._clock.now_ns()
        admit(plan, approval, self._signer, now_ns)
        with self.fence.passing(plan.fold.target, token or self.token()), self._lock:
            self.shield.deny(deny_of(plan))
        return {"rule_id": rule_id(plan.id), "expires_ns": now_ns + round(plan.fold.ttl_s * 1e9)}

    def extend(self, plan: Plan, extension: Extension, approval: Approval, token: int) -> Mapping[str, Any]:
        """Write the plan's entry once more, with the later end; its counters begin anew. Raises NotActing, Fenced."""
        now_ns = self._clock.now_ns()
        admit_extension(plan, extension, approval, self._signer, now_ns)
        with self.fence.passing(plan.fold.target, token), self._lock:
            found = self._find(plan.fold.match)
            if found is None or not found.live or found.deny.rule_id != rule_id(plan.id):
                raise NotActing(f"{plan.id} is not in force on {self.shield.name}: there is nothing to extend")
            self.shield.deny(dataclasses.replace(deny_of(plan), ttl_s=(extension.until_ns - now_ns) / 1e9))
        return {"expires_ns": extension.until_ns, "hits": found.hits, "dropped": found.dropped, "octets": found.octets}

    def verify(self, plan: Plan) -> Mapping[str, Any]:
        """Whether the plan's own entry is in force, with what it has done so far."""
        found = self._find(plan.fold.match)
        if found is None or found.deny.rule_id != rule_id(plan.id):
            return {"holds": False, "found": "nothing" if found is None else f"rule {found.deny.rule_id}"}
        return {
            "holds": found.live,
            "hits": found.hits,
            "dropped": found.dropped,
            "octets": found.octets,
            "first_hit_ns": found.first_hit_ns,
            "last_hit_ns": found.last_hit_ns,
            "expires_ns": found.expires_ns,
        }

    def undo(self, inverse: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put back what was there before, and look whether it took. Idempotent. Steps, in this order:

        0 nothing that was begun under its token can have an effect from here on
        1 find our entry; when it is not ours (any more), nothing is to do
        2 restore what was in force before, unless its own time is over; else remove   3 look again
        """
        target = inverse.get("target", "")
        # 0 its token is closed
        with self.fence.closing(target, inverse.get("token", 0)), self._lock:
            return self._undone(Match(**inverse["match"]), inverse["rule_id"], inverse.get("before"))

    def _undone(self, match: Match, ours: int, was: Mapping[str, Any] | None) -> Mapping[str, Any]:
        # 1 find our entry
        found = self._find(match)
        if found is None or found.deny.rule_id != ours:
            return {"undone": True, "found": "nothing" if found is None else f"rule {found.deny.rule_id}"}
        # 2 restore or remove
        before = self._still_wanted(was)
        if before is not None:
            self.shield.deny(before)
        else:
            self.shield.remove(match)
        # 3 look again
        left = self._find(match)
        undone = left is None or left.deny.rule_id != ours
        counts = {"hits": found.hits, "dropped": found.dropped, "octets": found.octets}
        return {"undone": undone, "restored": before is not None, **counts}

    def _still_wanted(self, before: Mapping[str, Any] | None) -> Deny | None:
        """The entry that was there before with the time that it has left, or None."""
        if not before:
            return None
        left_s = (before["expires_ns"] - self._clock.now_ns()) / 1e9
        given = {name: value for name, value in before.items() if name not in ("match", "expires_ns", "ttl_s")}
        return Deny(match=Match(**before["match"]), ttl_s=left_s, **given) if left_s > 0 else None

    def _find(self, match: Match) -> DenyState | None:
        """The entry at exactly this match. A shield that can look one up is asked; else all are read."""
        lookup = getattr(self.shield, "entry", None)
        if lookup is not None:
            found: DenyState | None = lookup(match)
            return found
        return next((state for state in self.shield.entries() if _same(state.deny.match, match)), None)


def deny_of(plan: Plan) -> Deny:
    """The entry that the plan's fold becomes."""
    fold = plan.fold
    return Deny(fold.match, fold.action, fold.ttl_s, rule_id(plan.id), fold.rate_pps, fold.burst)


def _same(one: Match, other: Match) -> bool:
    return all(_equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Match))


def _equal(one: str | int, other: str | int) -> bool:
    if one == other or isinstance(one, int) or isinstance(other, int) or not (one and other):
        return one == other
    try:
        return ipaddress.ip_network(one, strict=False) == ipaddress.ip_network(other, strict=False)
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        return ipaddress.ip_network(text, strict=False).prefixlen > 0
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return network.prefixlen == network.max_prefixlen
