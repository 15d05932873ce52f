"""Symptom `flows`: a figure over the flow records at some links since the act began.

`at` names whose links are looked at (a packet passes several: counting it at one place counts it once); `from` and `to`
who began the conversation and with whom. Everything else narrows, `count` says which figure.
"""

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.observing import LinkName
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
_FEWEST_GAPS = 4


@dataclasses.dataclass(slots=True)
class Flows:
    """See `make`. Not frozen: what only a running lab knows is put in by `prepare`."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool

    def prepare(self, stage: "Stage") -> None:
        """Learn the addresses while everybody is there."""
        self.arguments = stage.lookup.fill(self.arguments)
        for side in ("at", "from", "to"):
            if side in self.arguments:
                stage.lookup.addresses(EntityRef.of(self.arguments[side]))
        links_of(stage, EntityRef.of(self.arguments["at"]))

    def measure(self, stage: "Stage") -> Measured:
        """The figure now."""
        table = stage.observer.window.since(stage.start_ns, links_of(stage, EntityRef.of(self.arguments["at"])))
        table = narrow(table, self.arguments, stage.lookup.addresses)
        value = figure(table, self.arguments["count"])
        return Measured(value, bool(table.num_rows) and self.comparison.holds(value))


def make(arguments: Mapping[str, Any]) -> Flows:
    """From the scenario's mapping."""
    comparison = Comparison.of(arguments)
    return Flows(arguments, comparison, f"{arguments['count']} {comparison}", comparison.final)


def links_of(stage: "Stage", entity: EntityRef) -> list[LinkName]:
    """Whose links are looked at; `Node *` is every node, `Cluster` every pod."""
    observer = stage.observer
    if entity.kind == "Cluster":
        return observer.pod_links()
    if entity.kind == "Node":
        return observer.node_links("" if entity.name == "*" else entity.name)
    return observer.links_of(entity.namespace, stage.lookup.pod_names(entity))


def narrow(table: pa.Table, arguments: Mapping[str, Any], addresses: Callable[[EntityRef], Iterable[str]]) -> pa.Table:
    """Keep the records that the arguments describe."""
    masks = []
    for side, column in (("from", "source_ip_address"), ("to", "destination_ip_address")):
        if side in arguments:
            masks.append(_within(table[column], addresses(EntityRef.of(arguments[side]))))
    if "protocol" in arguments:
        masks.append(pc.equal(table["protocol_identifier"], _PROTOCOLS[arguments["protocol"]]))
    for name, column in (("port", "destination_transport_port"), ("source_port", "source_transport_port")):
        if name in arguments:
            given = arguments[name]
            ports = [int(port) for port in (given if isinstance(given, list) else [given])]
            masks.append(pc.is_in(table[column], value_set=pa.array(ports, pa.uint16())))
    if "unanswered" in arguments:
        silent = pc.equal(table["reverse_payload_octet_count"], 0)
        masks.append(silent if arguments["unanswered"] else pc.invert(silent))
    if "reset" in arguments:
        reset = pc.greater(table["reverse_tcp_rst_total_count"], 0)
        masks.append(reset if arguments["reset"] else pc.invert(reset))
    for mask in masks:
        table = table.append_column("_", mask) if "_" not in table.column_names else _both(table, mask)
    return table.filter(table["_"]).drop_columns(["_"]) if masks else table


def _both(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    together = pc.and_(table["_"], mask)
    return table.set_column(table.column_names.index("_"), "_", together)


def _within(column: pa.ChunkedArray, wanted: Iterable[str]) -> pa.ChunkedArray:
    """Addresses as they are, and the ranges among them by asking each distinct address once."""
    plain = {address for address in wanted if "/" not in address}
    ranges = [ipaddress.ip_network(address, strict=False) for address in wanted if "/" in address]
    if ranges:
        for address in pc.unique(column).to_pylist():
            if any(ipaddress.ip_address(address) in one for one in ranges):
                plain.add(address)
    return pc.is_in(column, value_set=pa.array(sorted(plain), pa.utf8()))


def figure(table: pa.Table, count: str) -> float:
    """One number about the records; 0 for none."""
    if not table.num_rows:
        return 0.0
    if count in _SUMS:
        return float(sum(pc.sum(table[column]).as_py() or 0 for column in _SUMS[count]))
    if count in _DISTINCT:
        return float(len(pc.unique(table[_DISTINCT[count]])))
    return float(_OTHERS[count](table))


_SUMS = {
    "packets": ("packet_delta_count", "reverse_packet_delta_count"),
    "octets": ("octet_delta_count", "reverse_octet_delta_count"),
    "sent_octets": ("octet_delta_count",),
    "received_octets": ("reverse_octet_delta_count",),
    "sent_payload_octets": ("payload_octet_count",),
    "received_payload_octets": ("reverse_payload_octet_count",),
    "syns": ("tcp_syn_total_count",),
}
_DISTINCT = {
    "destination_ports": "destination_transport_port",
    "destination_hosts": "destination_ip_address",
    "source_hosts": "source_ip_address",
}


def _times(table: pa.Table) -> tuple[Any, Any]:
    starts, ends = (
        table[name].cast(pa.int64()).to_numpy() / 1e9 for name in ("flow_start_nanoseconds", "flow_end_nanoseconds")
    )
    return starts, ends


def _rate(table: pa.Table, count: str) -> float:
    starts, ends = _times(table)
    return figure(table, count) / max(1.0, float(ends.max() - starts.min()))


def _longest_s(table: pa.Table) -> float:
    """Of a conversation over all records that it was cut into."""
    starts, ends = _times(table)
    first: dict[tuple[Any, ...], float] = {}
    longest = 0.0
    keys = zip(*(table[name].to_pylist() for name in _KEY), strict=True)
    for key, start, end in sorted(zip(keys, starts, ends, strict=True), key=lambda one: one[1]):
        longest = max(longest, end - first.setdefault(key, start))
    return longest


_KEY = (
    "protocol_identifier",
    "source_ip_address",
    "source_transport_port",
    "destination_ip_address",
    "destination_transport_port",
)


def _gap_variation(table: pa.Table) -> float:
    """Deviation of the gaps between conversations by their mean: 0 is a clock, 1 is chance."""
    starts, _ = _times(table)
    gaps = np.diff(np.sort(starts))
    if len(gaps) < _FEWEST_GAPS:
        return 99.0
    return float(np.std(gaps) / max(1e-9, float(np.mean(gaps))))


_OTHERS: dict[str, Callable[[pa.Table], float]] = {
    "flows": lambda table: float(table.num_rows),
    "packets_per_second": lambda table: _rate(table, "packets"),
    "octets_per_second": lambda table: _rate(table, "octets"),
    "longest_s": _longest_s,
    "gap_variation": _gap_variation,
    "octets_ratio": lambda table: figure(table, "sent_octets") / max(1.0, figure(table, "received_octets")),
}
