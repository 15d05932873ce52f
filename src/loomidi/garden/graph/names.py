"""Entity ids: `host/10.0.0.1`, `service/10.0.0.2:80/tcp`, `service/[2001:db8::2]:80/tcp`, `network/10.0.0.0/24`.

Called by the graph and by the detectors. Plain strings in and out.
"""

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 132: "sctp"}
_WITH_PORTS = frozenset({6, 17, 132})


def protocol_name(number: int) -> str:
    """The usual name of an IANA protocol number, or the number as text."""
    return _PROTOCOLS.get(number, str(number))


def host_id(name: str) -> str:
    """The entity id of an address; of a CIDR that many hosts were folded into."""
    return f"network/{name}" if "/" in name else f"host/{name}"


def service_id(address: str, port: int, protocol: int) -> str:
    """The entity id of a service; of the host (or network) when there is no port to name."""
    if not port or protocol not in _WITH_PORTS or "/" in address:
        return host_id(address)
    shown = f"[{address}]" if ":" in address else address
    return f"service/{shown}:{port}/{protocol_name(protocol)}"
