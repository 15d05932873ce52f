"""What the unusual edges of a snapshot are called: the patterns of our rules, where their limits are exceeded.

Called by `services.transformer_api`. In: EDGE_WINDOWS of one snapshot and which of its edges are unusual. Out: a
pattern with whom it is about and the figures, or `unusual`. The limits are those of rules/detections; they are meant
for ten minutes, so a shorter snapshot shows less. Whether anything is unusual is left to `references`.
"""

import dataclasses
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loomidi.contracts import Evidence, Severity
from loomidi.garden.graph.names import host_id, protocol_name, service_id
from loomidi.origami.online.rules import Rule, load_rules

UNUSUAL = "unusual"
_TCP = 6
_READ = [
    "source",
    "destination",
    "destination_transport_port",
    "protocol_identifier",
    "delta_flow_count",
    "unanswered_flow_count",
    "payload_octet_count",
    "reverse_payload_octet_count",
    "flow_start_gap_count",
    "flow_start_gap_mean_ns",
    "flow_start_gap_variation",
]
Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Recognized:
    """What it is called, and why."""

    pattern: str
    techniques: tuple[str, ...]  # ATT&CK ids; none for `unusual`
    severity: Severity
    entities: tuple[str, ...]  # whom to act on first
    evidence: tuple[Evidence, ...]
    rows: tuple[int, ...]  # edges that it is about


def recognized(windows: pa.RecordBatch, unusual: npt.NDArray[np.bool_], window_s: float) -> Recognized:
    """The worst pattern that an unusual edge is part of; `unusual` with the first of them where none is known."""
    rules, rows = load_rules(), windows.select(_READ).to_pylist()
    strange = set(np.flatnonzero(unusual).tolist())
    found = [hit for look in _LOOKS for hit in look(rows, rules, window_s) if strange & set(hit.rows)]
    if found:
        return max(found, key=lambda hit: (list(Severity).index(hit.severity), len(hit.rows)))
    first = tuple(sorted(strange))
    ends = (entity(rows[first[0]], "source"), service(rows[first[0]])) if first else ()
    return Recognized(UNUSUAL, (), Severity.MEDIUM, ends, (), first)


def entity(row: Mapping[str, Any], end: str) -> str:
    """The id of an end: as it is named, or the host with its address."""
    name = str(row[end])
    return host_id(name) if is_address(name) else name


def service(row: Mapping[str, Any]) -> str:
    """The destination with its port."""
    name, port, protocol = str(row["destination"]), row["destination_transport_port"], row["protocol_identifier"]
    if is_address(name):
        return service_id(name, port, protocol)
    return f"{name}:{port}/{protocol_name(protocol)}" if port else name


def is_address(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _scans(rows: Rows, rules: Mapping[str, Rule], _window_s: float) -> Iterator[Recognized]:
    """Many ports of one host, or one port of many hosts, without an answer."""
    rule = rules["vertical_scan"]
    for group in _grouped(rows, lambda row: (row["source"], row["destination"])):
        ports, tried = (
            {rows[at]["destination_transport_port"] for at in some} for some in (group, _tried(rows, group))
        )
        if len(tried) >= rule.thresholds["ports"] and len(tried) >= rule.thresholds["probe_share"] * len(ports):
            evidence = Evidence("ports", len(tried), rule.thresholds["ports"], "", "TCP ports tried without any data")
            ends = entity(rows[group[0]], "source"), entity(rows[group[0]], "destination")
            yield _hit(rule, ends, (evidence,), group)
    rule = rules["horizontal_scan"]
    for group in _grouped(rows, lambda row: (row["source"], row["destination_transport_port"])):
        hosts, tried = ({rows[at]["destination"] for at in some} for some in (group, _tried(rows, group)))
        spared = rows[group[0]]["destination_transport_port"] in rule.peer_ports
        enough = len(tried) >= rule.thresholds["hosts"] and len(tried) >= rule.thresholds["probe_share"] * len(hosts)
        if enough and not spared:
            evidence = Evidence("hosts", len(tried), rule.thresholds["hosts"], "", "hosts tried without any data")
            yield _hit(rule, (entity(rows[group[0]], "source"),), (evidence,), group)


def _floods(rows: Rows, rules: Mapping[str, Rule], window_s: float) -> Iterator[Recognized]:
    """Connections to one service that are never completed."""
    rule = rules["syn_flood"]
    limits = rule.thresholds
    tcp = [at for at, row in enumerate(rows) if row["protocol_identifier"] == _TCP]
    for group in _grouped(rows, lambda row: (row["destination"], row["destination_transport_port"]), tcp):
        asked = sum(rows[at]["delta_flow_count"] for at in group)
        open_ = sum(min(rows[at]["unanswered_flow_count"], rows[at]["delta_flow_count"]) for at in group)
        if (
            open_ >= limits["packets"]
            and open_ >= limits["rate"] * window_s
            and open_ >= asked * limits["half_open_share"]
        ):
            evidence = (
                Evidence("syn_rate", round(open_ / window_s, 1), limits["rate"], "syns/s", "never completed"),
                Evidence("half_open_share", round(open_ / asked, 3), limits["half_open_share"], "", "of all attempts"),
                Evidence("sources", len({rows[at]["source"] for at in group}), None, "", "distinct sources"),
            )
            busiest = max(group, key=lambda at: int(rows[at]["unanswered_flow_count"]))
            yield _hit(rule, (entity(rows[busiest], "source"), service(rows[busiest])), evidence, group)


def _leaks(rows: Rows, rules: Mapping[str, Rule], _window_s: float) -> Iterator[Recognized]:
    """Much more out than in, to an address outside."""
    rule = rules["exfiltration"]
    outside = [at for at, row in enumerate(rows) if _is_outside(str(row["destination"]))]
    for group in _grouped(rows, lambda row: (row["source"], row["destination"]), outside):
        sent, got = (sum(rows[at][f"{back}payload_octet_count"] for at in group) for back in ("", "reverse_"))
        if sent >= rule.thresholds["octets"] and sent >= rule.thresholds["ratio"] * got:
            evidence = (
                Evidence("octets", sent, rule.thresholds["octets"], "octets", "payload sent"),
                Evidence("ratio", round(sent / max(got, 1), 1), rule.thresholds["ratio"], "", "sent by received"),
            )
            ends = entity(rows[group[0]], "source"), entity(rows[group[0]], "destination")
            yield _hit(rule, ends, evidence, group)


def _beacons(rows: Rows, rules: Mapping[str, Rule], _window_s: float) -> Iterator[Recognized]:
    """Calls to an address outside in an even beat."""
    rule = rules["beaconing"]
    limits = rule.thresholds
    for at, row in enumerate(rows):
        gap_s, gaps = (row["flow_start_gap_mean_ns"] or 0.0) * 1e-9, row["flow_start_gap_count"]
        jitter = row["flow_start_gap_variation"]
        quiet = row["destination_transport_port"] in rule.quiet_ports or not _is_outside(str(row["destination"]))
        beats = gaps + 1 >= limits["calls"] and gaps * gap_s >= limits["span_s"] and gap_s >= limits["period_s"]
        if quiet or not beats or jitter is None or jitter > limits["jitter"]:
            continue
        evidence = (
            Evidence("period", round(gap_s, 2), limits["period_s"], "s", "mean gap between calls"),
            Evidence("jitter", round(jitter, 3), limits["jitter"], "", "deviation of the gaps by their mean"),
        )
        yield _hit(rule, (entity(row, "source"), entity(row, "destination")), evidence, [at])


_LOOKS = (_scans, _floods, _leaks, _beacons)


def _hit(rule: Rule, ends: tuple[str, ...], evidence: tuple[Evidence, ...], rows: Sequence[int]) -> Recognized:
    return Recognized(rule.pattern, rule.techniques, rule.severity, ends, evidence, tuple(rows))


def _tried(rows: Rows, group: Sequence[int]) -> list[int]:
    """TCP without any data in either direction."""
    return [
        at
        for at in group
        if rows[at]["protocol_identifier"] == _TCP
        and not rows[at]["payload_octet_count"]
        and not rows[at]["reverse_payload_octet_count"]
    ]


def _grouped(
    rows: Rows, key: Callable[[Mapping[str, Any]], Any], among: Sequence[int] | None = None
) -> Iterator[list[int]]:
    groups: dict[Any, list[int]] = {}
    for at in range(len(rows)) if among is None else among:
        groups.setdefault(key(rows[at]), []).append(at)
    yield from groups.values()


def _is_outside(name: str) -> bool:
    """An address that is of no network of one's own."""
    return is_address(name) and ipaddress.ip_address(name).is_global
