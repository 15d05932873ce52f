"""How long a server took, from the first 16 packets of a flow.

Called by `projecting`. In: columns of FLOW_RECORDS. Out: for each flow ns from SYN to SYN-ACK and from the first
request to the first response, -1 where the flow does not tell. What is a payload is an estimate: see docs/windows.md.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]

UNKNOWN = -1
_MOST_PACKETS = 16  # of `splt_*`
_TCP, _UDP = 6, 17
_COLUMNS = ("direction", "packet_size", "inter_arrival_ns")


class Latencies(NamedTuple):
    """Nanoseconds, -1 where unknown."""

    handshake: Ints
    response: Ints


class _Packets(NamedTuple):
    """The first packets of all flows, end to end."""

    directions: npt.NDArray[np.uint8]  # 0 initiator, 1 responder
    sizes: npt.NDArray[np.uint16]
    gaps: Ints


def latencies(batch: pa.RecordBatch) -> Latencies:
    """For flows in the columns of FLOW_RECORDS; a record that goes on after an active timeout tells nothing."""
    protocol = _numbers(batch, "protocol_identifier")
    answered = (_numbers(batch, "packet_delta_count") > 0) & (_numbers(batch, "reverse_packet_delta_count") > 0)
    opened = (_numbers(batch, "tcp_syn_total_count") > 0) & (_numbers(batch, "reverse_tcp_syn_total_count") > 0)
    tcp = (protocol == _TCP) & opened
    rows = np.flatnonzero(answered & (tcp | (protocol == _UDP)))
    handshake, response = np.full((2, batch.num_rows), UNKNOWN, np.int64)
    if len(rows):
        handshake[rows], response[rows] = _walk(_packets(batch), _Flows.of(batch, rows, tcp))
    return Latencies(handshake, response)


class _Flows(NamedTuple):
    """Flows that are not settled yet, with what was seen of them so far."""

    row: Ints  # of those that were asked for
    at: Ints  # where the next packet is
    end: Ints  # behind the last one
    tcp: npt.NDArray[np.bool_]
    packets: Ints  # in each direction, with the octets of their headers: their mean tells which carry payload
    headers: Ints
    back_packets: Ints
    back_headers: Ints
    elapsed: Ints
    handshake: Ints
    request: Ints

    @classmethod
    def of(cls, batch: pa.RecordBatch, rows: Ints, tcp: npt.NDArray[np.bool_]) -> "_Flows":
        offsets = batch.column("splt_direction").offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        packets, headers, back_packets, back_headers = (
            _numbers(batch, prefix + name)[rows]
            for prefix in ("", "reverse_")
            for name in ("packet_delta_count", "header_octet_count")
        )
        return cls(
            row=np.arange(len(rows)),
            at=offsets[rows],
            end=offsets[rows + 1],
            tcp=tcp[rows],
            packets=packets,
            headers=headers,
            back_packets=back_packets,
            back_headers=back_headers,
            elapsed=np.zeros(len(rows), np.int64),
            handshake=np.full(len(rows), UNKNOWN),
            request=np.full(len(rows), UNKNOWN),
        )

    def only(self, which: npt.NDArray[np.bool_]) -> "_Flows":
        if which.all():
            return self
        return _Flows._make(column[which] for column in self)


def _walk(packets: _Packets, flows: _Flows) -> Latencies:
    """All flows packet by packet: the first of all, the second of those that are not settled, and so on."""
    handshake, response = np.full((2, len(flows.row)), UNKNOWN, np.int64)
    flows = flows.only(flows.end > flows.at)
    flows = flows.only(packets.directions[flows.at] == 0)  # else it began before we looked
    for _ in range(_MOST_PACKETS):
        if not len(flows.row):
            break
        back, size = packets.directions[flows.at] == 1, packets.sizes[flows.at].astype(np.int64)
        flows = flows._replace(elapsed=flows.elapsed + packets.gaps[flows.at])
        opens = back & flows.tcp & (flows.handshake < 0)
        handshake[flows.row[opens]] = flows.elapsed[opens]
        flows.handshake[opens] = flows.elapsed[opens]
        full = (flows.handshake >= 0) & (size * flows.packets > flows.headers)
        asks = ~back & (flows.request < 0) & (~flows.tcp | full)
        flows.request[asks] = flows.elapsed[asks]
        answers = back & (flows.request >= 0) & (~flows.tcp | (size * flows.back_packets > flows.back_headers))
        response[flows.row[answers]] = (flows.elapsed - flows.request)[answers]
        flows = flows._replace(at=flows.at + 1)
        flows = flows.only(~answers & (flows.at < flows.end))
    return Latencies(handshake, response)


def _packets(batch: pa.RecordBatch) -> _Packets:
    direction, size, gap = (batch.column(f"splt_{name}").flatten().to_numpy() for name in _COLUMNS)
    return _Packets(direction, size, gap.view(np.int64))  # none of them is looked at twice, so none is converted here


def _numbers(batch: pa.RecordBatch, name: str) -> Ints:
    numbers: Ints = batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
