"""One batch of flows as numpy columns, and what kind of traffic each flow is.

Called by the flow detectors. In: an Arrow batch (`FLOWS`). Out: `Rows`. A flow is read by what it lacks: an answer, a
completed handshake, a connection at all. Nothing here counts or judges.
"""

import dataclasses
import enum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.garden.graph.columns import I64, U64, Text, given, hashes, numbers, texts

Mask = npt.NDArray[np.bool_]
_TCP, _UDP = 6, 17
_ICMP_ERRORS = {1: (3, 4, 5, 11, 12), 58: (1, 2, 3, 4)}
_STRAY_PACKETS = 10  # a conversation that goes on longer is one, even when only one side is seen
_TCP_HEADERS = 40  # octets of the shortest IP and TCP headers
_ONE_WAY = 50  # an answer for every 50 packets is no conversation


class Kind(enum.IntEnum):
    """What a flow is to the host it goes to. The order has no meaning."""

    OTHER = 0  # nothing that a flood detector counts
    SYN = 1  # connection attempts without completion
    HANDSHAKE = 2  # a completed connection
    SYN_ACK = 3  # answers to a connection attempt that was never made
    STRAY = 4  # a few TCP segments of no connection
    ILLEGAL = 5  # TCP flags that no stack sends, or first fragments too small for them
    BARE = 6  # many one-way TCP segments without payload
    REFLECTED = 7  # one-way UDP from a port of a known reflector
    FRAGMENT = 8  # later fragments of UDP: no ports
    UDP = 9  # other one-way UDP
    UDP_TALK = 10  # UDP with answers
    REQUEST = 11  # small questions, large answers of a known reflector
    ICMP = 12
    ICMP_ERROR = 13
    IP = 14  # one-way packets of another protocol, later fragments of TCP
    REFUSED = 15  # resets alone: a closed port that answers, where one direction only is seen


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Columns of a batch. The ends are those of the flow, whose initiator is the source."""

    first: I64  # ns since the epoch
    last: I64
    protocol: I64
    source: Text
    destination: Text
    source_hash: U64
    destination_hash: U64
    source_port: I64
    port: I64
    packets: I64
    octets: I64
    payload: I64
    header: I64
    back_packets: I64
    back_octets: I64
    back_payload: I64
    flags: dict[str, I64]  # syn, ack, rst, fin, urg, psh and back_syn, back_ack, back_rst, back_fin
    window: I64  # TCP receive window of the first packet as it was sent, not scaled; -1: unknown
    fragments: I64
    icmp_type: I64
    kind: I64  # Kind
    turned: Mask  # the flow's initiator is the one who is hit: it is sent answers to nothing


def rows_of(batch: pa.RecordBatch, reflectors: npt.NDArray[np.int64]) -> Rows:
    """Read one batch. `reflectors`: UDP ports of services that are known to be abused."""
    source, destination = texts(batch.column("source_ip_address")), texts(batch.column("destination_ip_address"))
    flags = {name: numbers(batch, f"tcp_{name}_total_count") for name in ("syn", "ack", "rst", "fin", "urg", "psh")}
    back = ("syn", "ack", "rst", "fin")
    flags |= {f"back_{name}": numbers(batch, f"reverse_tcp_{name}_total_count") for name in back}
    rows = Rows(
        first=numbers(batch, "flow_start_nanoseconds"),
        last=numbers(batch, "flow_end_nanoseconds"),
        protocol=numbers(batch, "protocol_identifier"),
        source=source,
        destination=destination,
        source_hash=hashes(source),
        destination_hash=hashes(destination),
        source_port=numbers(batch, "source_transport_port"),
        port=numbers(batch, "destination_transport_port"),
        packets=numbers(batch, "packet_delta_count"),
        octets=numbers(batch, "octet_delta_count"),
        payload=numbers(batch, "payload_octet_count"),
        header=numbers(batch, "header_octet_count"),
        back_packets=numbers(batch, "reverse_packet_delta_count"),
        back_octets=numbers(batch, "reverse_octet_delta_count"),
        back_payload=numbers(batch, "reverse_payload_octet_count"),
        flags=flags,
        window=np.where(given(batch, "tcp_initial_window_size"), numbers(batch, "tcp_initial_window_size"), -1),
        fragments=numbers(batch, "fragment_count"),
        icmp_type=numbers(batch, "icmp_type"),
        kind=np.zeros(batch.num_rows, np.int64),
        turned=np.zeros(batch.num_rows, bool),
    )
    _read_tcp(rows)
    _read_udp(rows, reflectors)
    _read_rest(rows)
    return rows


def _read_tcp(rows: Rows) -> None:
    """Later readings win over earlier ones where both fit."""
    flags, kind = rows.flags, rows.kind
    later = (rows.fragments > 0) & (rows.source_port == 0) & (rows.port == 0)
    tcp = (rows.protocol == _TCP) & ~later
    unanswered = rows.back_packets == flags["back_rst"]
    strangers = tcp & (flags["syn"] == 0) & unanswered & (rows.packets > 0)
    kind[strangers & (rows.packets > _STRAY_PACKETS) & (rows.payload == 0)] = Kind.BARE
    kind[strangers & (rows.packets <= _STRAY_PACKETS)] = Kind.STRAY
    alone = (rows.back_packets == 0) & (rows.packets == flags["rst"]) & (rows.payload == 0)
    kind[strangers & (rows.packets <= _STRAY_PACKETS) & alone] = Kind.REFUSED
    whole = rows.header >= _TCP_HEADERS * rows.packets  # a capture that cuts headers shows no flags at all
    kind[strangers & whole & (flags["ack"] == 0) & (flags["rst"] == 0)] = Kind.ILLEGAL
    none = sum(flags[name] for name in ("syn", "ack", "fin", "psh", "urg")) == 0
    tiny = (rows.fragments > 0) & (rows.fragments + flags["rst"] == rows.packets) & (rows.source_port > 0)
    kind[strangers & tiny & none] = Kind.ILLEGAL  # ports in one packet, flags in the next; its stack resets the answers
    one_way = (rows.back_packets == 0) & (rows.payload == 0) & (flags["fin"] == 0)
    attempts = tcp & (flags["syn"] > 0) & (rows.back_payload == 0)
    kind[attempts & ((flags["ack"] == 0) | one_way)] = Kind.SYN
    kind[attempts & (flags["ack"] == 0) & (flags["fin"] > 0)] = Kind.ILLEGAL
    completed = (rows.back_packets > 0) | (rows.payload > 0) | (flags["fin"] > 0)
    kind[tcp & (flags["syn"] > 0) & (flags["ack"] > 0) & completed] = Kind.HANDSHAKE
    answers = (flags["back_syn"] > 0) & (flags["back_ack"] >= flags["back_syn"]) & (rows.back_payload == 0)
    unasked = tcp & answers & (flags["syn"] == 0) & (rows.packets == flags["rst"])
    unasked &= rows.back_packets <= 2 * _STRAY_PACKETS
    kind[unasked] = Kind.SYN_ACK
    kind[unasked & (flags["back_fin"] > 0) & (flags["back_syn"] == rows.back_packets)] = Kind.ILLEGAL
    rows.turned[unasked] = True


def _read_udp(rows: Rows, reflectors: npt.NDArray[np.int64]) -> None:
    kind = rows.kind
    udp = rows.protocol == _UDP
    one_way = udp & (rows.back_packets * _ONE_WAY <= rows.packets) & (rows.packets > 0)
    later = (rows.fragments > 0) & (rows.source_port == 0) & (rows.port == 0)
    known = np.isin(rows.source_port, reflectors) & (rows.source_port != rows.port)
    kind[udp & ~one_way] = Kind.UDP_TALK
    kind[one_way] = Kind.UDP
    kind[one_way & known] = Kind.REFLECTED
    kind[one_way & later] = Kind.FRAGMENT
    asked = udp & ~one_way & np.isin(rows.port, reflectors)
    kind[asked & (rows.back_octets >= 8 * rows.octets)] = Kind.REQUEST


def _read_rest(rows: Rows) -> None:
    kind = rows.kind
    icmp = (rows.protocol == 1) | (rows.protocol == 58)
    kind[icmp] = Kind.ICMP
    for protocol, errors in _ICMP_ERRORS.items():
        kind[(rows.protocol == protocol) & np.isin(rows.icmp_type, errors)] = Kind.ICMP_ERROR
    later = (rows.protocol == _TCP) & (rows.fragments > 0) & (rows.source_port == 0) & (rows.port == 0)
    other = ~icmp & (rows.protocol != _TCP) & (rows.protocol != _UDP)
    kind[(other | later) & (rows.back_packets == 0)] = Kind.IP
