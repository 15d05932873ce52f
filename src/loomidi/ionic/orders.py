"""Orders to node agents: what a node shall do at once, bound to its plan, its approval, its node, its time, its asker.

Called by `act.kube.agents` (seals and sends) and by `services.agents.cutting` (checks before anything is done). In: an
order as JSON has it, with its seal. Out: an `Order`, or OrderRefused with the reason that is counted. The seal is
HMAC-SHA256 under a key that operator and agents share; `Sealer` is the place for a pair of keys.
"""

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Protocol

from loomidi.ionic.approvals import KEY_OCTETS
from loomidi.ionic.documents import canonical
from loomidi.ionic.errors import OrderRefused

CUT, DENY, RELEASE = "cut", "deny", "release"
VERBS = (CUT, DENY, RELEASE)
FRESH_S = 120.0  # after which an order that was not carried out is none any more; clocks of nodes differ by less
LONGEST_S = 3600.0  # that any entry may last, as FoldSpec.ttl_s
_DOMAIN = b"loomidi order 1\n"  # a seal on an order is one on nothing else


class Sealer(Protocol):
    """Seals documents. Two parties, so two methods."""

    def seal(self, document: Mapping[str, Any]) -> str:
        """Text that only who holds the key can make for this document."""

    def holds(self, document: Mapping[str, Any], seal: str) -> bool:
        """Whether it is that text."""


class KeySealer:
    """One shared key of 32 octets or more."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_OCTETS:
            raise ValueError(f"the key has {len(key)} octets; give at least {KEY_OCTETS}")
        self._key = key

    def seal(self, document: Mapping[str, Any]) -> str:
        """HMAC-SHA256, in hex."""
        return hmac.new(self._key, _DOMAIN + canonical(document), hashlib.sha256).hexdigest()

    def holds(self, document: Mapping[str, Any], seal: str) -> bool:
        """In a time that does not tell how much of it was right."""
        return hmac.compare_digest(self.seal(document).encode(), seal.encode())


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """One thing for one node to do."""

    verb: str  # cut: a pod, both directions. deny: a source prefix on the node's uplinks. release: what the plan did
    node: str
    plan_id: str
    approval: str  # signature of the approval that opens the plan; of a release, empty
    issued_ns: int  # epoch
    until_ns: int  # epoch; when what it does ends by itself
    token: int  # fencing token of the lease under which it was sent
    rule: int = 0  # of release: the number by which entries name the plan, `documents.rule_id`; its id may be empty
    pod: str = ""  # UID
    namespace: str = ""  # of the pod
    name: str = ""
    address: str = ""  # the pod's IPv4 address; empty: it has none
    source: str = ""  # address or CIDR
    action: str = "drop"  # of deny: drop or rate
    rate_pps: int = 0
    burst: int = 0

    def sealed(self, sealer: Sealer) -> dict[str, Any]:
        """As it is sent."""
        document = dataclasses.asdict(self)
        return document | {"seal": sealer.seal(document)}


def read_order(document: Any) -> tuple[Order, str]:
    """The order and its seal in a parsed JSON document. Raises OrderRefused `malformed`."""
    kinds = {field.name: field.type for field in dataclasses.fields(Order)} | {"seal": str}
    if not isinstance(document, Mapping):
        raise OrderRefused("malformed", "an order is a JSON object")
    unknown = sorted(set(document) - set(kinds))
    wrong = [name for name, value in document.items() if name in kinds and type(value) is not kinds[name]]
    missing = [field.name for field in dataclasses.fields(Order) if field.default is dataclasses.MISSING]
    missing = [name for name in (*missing, "seal") if name not in document]
    if unknown or wrong or missing:
        told = ", ".join([*unknown, *wrong, *missing])
        raise OrderRefused("malformed", f"unknown, missing or of a wrong type: {told}")
    given = {name: value for name, value in document.items() if name != "seal"}
    if given["verb"] not in VERBS:
        raise OrderRefused("malformed", f"verb {str(given['verb'])[:20]!r}: one of {', '.join(VERBS)}")
    return Order(**given), document["seal"]


def admit(document: Any, sealer: Sealer, *, node: str, token: int, now_ns: int) -> Order:
    """The order, if this node shall carry it out now. `token`: the newest that was seen. Steps, in this order:

    1 it can be read   2 its seal is true   3 it is for this node   4 it is fresh, and its end is ahead and near
    5 its token is not older than one seen before

    Raises OrderRefused.
    """
    # 1 readable
    order, seal = read_order(document)
    # 2 the seal
    if not sealer.holds(dataclasses.asdict(order), seal):
        raise OrderRefused("forged", "the seal is not one of the key that is used here")
    # 3 this node
    if order.node != node:
        raise OrderRefused("wrong-node", f"it is for node {order.node}, this is {node}")
    # 4 its time
    if abs(now_ns - order.issued_ns) > FRESH_S * 1e9:
        raise OrderRefused(
            "stale", f"it is {abs(now_ns - order.issued_ns) / 1e9:.0f} s off; send it anew, or set clocks"
        )
    if order.verb != RELEASE and order.until_ns <= now_ns:
        raise OrderRefused("expired", "its time is over")
    if order.verb != RELEASE and order.until_ns - now_ns > (LONGEST_S + FRESH_S) * 1e9:
        raise OrderRefused("too-long", f"an entry lasts {LONGEST_S:.0f} s at most")
    # 5 the token
    if order.token < max(token, 1):
        raise OrderRefused("old-token", f"token {order.token} is older than {token}: another operator leads since")
    return order
