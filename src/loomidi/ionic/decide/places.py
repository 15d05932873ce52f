"""Entity ids read as what a fold needs: an address, a port, a protocol, a place in a cluster.

Called by `proposing`, `manifests` and `radius`. In: ids such as `host/10.0.0.1`, `service/[2001:db8::1]:80/tcp`,
`pod/shop/cart-0`, `service/shop/cart:80/tcp`. Out: a frozen `Place`. An id that holds no address gives a Place without
one; nothing is looked up. Who knows more of an entity hands in a `Where` of its own.
"""

import dataclasses
import ipaddress
import re
from collections.abc import Callable

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "icmpv6": 58, "sctp": 132}
NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}
REMOTE_KINDS = frozenset({"host", "external", "network"})
_NAMESPACED = re.compile(r"^(?P<space>[^/:\[\]]+)/(?P<name>[^/:]+)(?::(?P<port>\d{1,5})(?:/(?P<protocol>\w+))?)?$")
_SERVICE = re.compile(r"^\[?(?P<address>[^\]]+?)\]?:(?P<port>\d{1,5})(?:/(?P<protocol>\w+))?$")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where an entity is. Empty or 0 where its id does not say."""

    kind: str
    address: str = ""  # address or CIDR, in its shortest form
    port: int = 0
    protocol: int = 0  # IANA number
    namespace: str = "default"
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()  # of the pod
    owner: str = ""  # the workload that a pod is of
    uid: str = ""


Where = Callable[[str], Place]  # an entity id -> where it is


def place(entity: str) -> Place:
    """Read one entity id."""
    kind, _, rest = entity.partition("/")
    if kind in ("pod", "workload", "service") and (found := _NAMESPACED.match(rest)):
        port = int(found["port"] or 0)
        return Place(kind, "", port, _number(found["protocol"]), namespace=found["space"], name=found["name"])
    if kind == "service" and (found := _SERVICE.match(rest)):
        return Place(kind, address(found["address"]), int(found["port"]), _number(found["protocol"]), name=rest)
    return Place(kind, address(rest), name=rest)


def _number(protocol: str | None) -> int:
    protocol = (protocol or "").lower()
    return PROTOCOLS.get(protocol) or (int(protocol) if protocol.isdigit() else 0)


def address(text: str) -> str:
    """The address or CIDR in its shortest form (a full-length prefix is the address), or '' when it is none."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
