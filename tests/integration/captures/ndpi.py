"""What nDPI says about its own test captures, and ours in the same terms.

Used by `test_ndpi_oracle.py` and by hand: `python -m tests.integration.captures.ndpi FOLDER` lists every capture with
the class of its difference. In: the folder with `pcap/` and `result/`. The classes, each found from content and never
from a file name, are those of docs/flow-features.md, "Against nDPI".
"""

import collections
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from loomidi.loom.flows import MeterSettings, meter
from tests.integration.captures.rewriting import with_captured_lengths

Key = tuple[int, tuple[str, int], tuple[str, int], int]
Flows = dict[Key, tuple[int, int]]

_ADDRESS = r"(\[[0-9a-fA-F:.]+\]|[0-9.]+)(?::(\d+))?"
_LINE = re.compile(rf"^\t\d+\t(\S+) {_ADDRESS} (?:->|<->) {_ADDRESS} ")
_COUNTS = re.compile(r"\[(\d+) pkts/(\d+) bytes (?:<->|->) (\d+) pkts/(\d+) bytes\]")
_VLAN = re.compile(r"\[VLAN: (\d+)\]")
_PROTOCOLS = {
    "ICMP": 1, "IGMP": 2, "TCP": 6, "EGP": 8, "UDP": 17, "GRE": 47, "ESP": 50, "AH": 51, "IPSEC": 50, "ICMPV6": 58,
    "OSPF": 89, "IPIP": 4, "PIM": 103, "VRRP": 112, "PGM": 113, "SCTP": 132, "DCCP": 33,
}  # fmt: skip
_SCTP = 132
_TUNNEL_PROTOCOLS = {4, 41, 47}  # IP in IP, IPv6 in IP, GRE
_TUNNEL_PORTS = {2152, 2123, 4789, 5246, 5247, 8472, 6081, 37008}  # GTP, VXLAN, CAPWAP, Geneve, TZSP
_COLUMNS = (
    "protocol_identifier", "source_ip_address", "source_transport_port", "destination_ip_address",
    "destination_transport_port", "dot1q_vlan_id", "dot1q_customer_vlan_id", "packet_delta_count",
    "reverse_packet_delta_count", "layer2_octet_delta_count", "reverse_layer2_octet_delta_count",
)  # fmt: skip


def key_of(protocol: int, one: tuple[str, int], other: tuple[str, int], vlan: int) -> Key:
    """Direction-free. nDPI prints no ports of SCTP, and shortens every `:0:` of an IPv6 address to `::`."""
    ends = sorted((_address(text), 0 if protocol == _SCTP else port) for text, port in (one, other))
    return protocol, ends[0], ends[1], vlan


def _address(text: str) -> str:
    return text.strip("[]").lower().replace(":0:", "::")


def expected(result: Path) -> Flows:
    """The flows of a `.out` file: packets and octets of both directions together."""
    flows: dict[Key, list[int]] = collections.defaultdict(lambda: [0, 0])
    for line in result.read_text("utf-8", "replace").splitlines():
        flow, counts = _LINE.match(line), _COUNTS.search(line)
        if not flow or not counts:
            continue
        name, one, one_port, other, other_port = flow.groups()
        vlan = _VLAN.search(line)
        protocol = _PROTOCOLS.get(name.upper()) or int(name)
        ends = (one, int(one_port or 0)), (other, int(other_port or 0))
        sums = flows[key_of(protocol, *ends, int(vlan[1]) if vlan else 0)]
        sums[0] += int(counts[1]) + int(counts[3])
        sums[1] += int(counts[2]) + int(counts[4])
    return {key: (packets, octets) for key, (packets, octets) in flows.items()}


def measured(capture: Path, folder: Path, *, inner: bool = False) -> tuple[Flows, dict[str, tuple[int, int]]]:
    """Our flows, and the balance. nDPI counts captured octets, not those of the wire: so does the copy that we read."""
    copy = with_captured_lengths(capture, folder)
    flows: dict[Key, list[int]] = collections.defaultdict(lambda: [0, 0])
    with meter([copy], MeterSettings(inner=inner)) as stream:
        for batch in stream:
            for row in zip(*(batch[name].to_pylist() for name in _COLUMNS), strict=True):
                protocol, one, one_port, other, other_port, vlan, vlan_inner, *counts = row
                sums = flows[key_of(protocol, (one, one_port), (other, other_port), vlan_inner or vlan)]
                sums[0] += counts[0] + counts[1]
                sums[1] += counts[2] + counts[3]
        balance = stream.balance
    return {key: (packets, octets) for key, (packets, octets) in flows.items()}, balance


def is_tunnel(key: Key) -> bool:
    """Whether nDPI looks inside and reports the inner flow, octets of the outer frame."""
    protocol, one, other, _ = key
    return protocol in _TUNNEL_PROTOCOLS or (protocol == 17 and bool({one[1], other[1]} & _TUNNEL_PORTS))


def sums(flows: Flows) -> tuple[int, int]:
    """Packets and octets of all."""
    return sum(packets for packets, _ in flows.values()), sum(octets for _, octets in flows.values())


def difference(ours: Flows, theirs: Flows) -> str:
    """Empty: flow by flow the same. `tunnel`: but for flows inside tunnels, whose sums agree. Else what differs."""
    only_ours = {key: count for key, count in ours.items() if theirs.get(key) != count}
    only_theirs = {key: count for key, count in theirs.items() if ours.get(key) != count}
    if not only_ours and not only_theirs:
        return ""
    if only_ours and all(is_tunnel(key) for key in only_ours) and sums(only_ours) == sums(only_theirs):
        return "tunnel"
    return f"ours {sorted(only_ours.items())[:3]}, theirs {sorted(only_theirs.items())[:3]}"


def pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Captures with their expected result."""
    for result in sorted((folder / "result").glob("*.out")):
        capture = folder / "pcap" / result.name.removesuffix(".out")
        if capture.is_file():
            yield capture, result


def main(folder: Path, scratch: Path) -> None:
    """List every capture with its class."""
    counts: collections.Counter[str] = collections.Counter()
    for capture, result in pairs(folder):
        theirs = expected(result)
        ours, balance = measured(capture, scratch)
        summing = sums(theirs)[0] == balance["accounted"][0]
        found = difference(ours, theirs) or "same"
        kind = found if summing else "does not sum"
        counts[kind if kind in ("same", "tunnel", "does not sum") else "unexplained"] += 1
        if kind != "same":
            print(f"{capture.name}: {kind} (expected {sums(theirs)[0]} of {balance['accounted'][0]} IP packets)")
    print(dict(counts))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        main(Path(sys.argv[1]), Path(made))
