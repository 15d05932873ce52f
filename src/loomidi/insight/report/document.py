"""The report as one JSON document, described by `docs/analyze.schema.json`.

Called by `loomidi analyze --json` and by the page's data. In: a `Report`. Out: plain JSON values. Text from captures
and file names is passed on as it is; JSON's own escaping keeps it from being anything but text.
"""

import json
from collections.abc import Mapping
from typing import Any, TextIO

from loomidi.contracts.records import Finding
from loomidi.insight.explain import technique
from loomidi.insight.report.records import Balance, FlowTotals, ProposedFold, Report

SCHEMA_VERSION = 1


def document(report: Report) -> dict[str, Any]:
    """The whole report. Keys are only ever added within a schema version."""
    techniques = sorted({name for finding in report.findings for name in finding.techniques})
    return {
        "schema_version": SCHEMA_VERSION,
        "loomidi": report.version,
        "captures": [
            {"path": _text(read.path), "octets": read.octets, "problems": [_text(line) for line in read.problems]}
            for read in report.captures
        ],
        "summary": _summary(report),
        "flows": _totals(report.flows),
        "protocols": {name: _totals(totals) for name, totals in report.protocols.items()},
        "findings": [_finding(finding) for finding in report.findings],
        "techniques": {name: technique(name).removeprefix(name).strip() for name in techniques},
        "folds": [_fold(proposed) for proposed in report.folds],
        "balance": _balance(report.balance, report),
        "entities": [entity.as_dict() | {"attributes": dict(entity.attributes)} for entity in report.entities],
        "links": [
            {"source": link.source, "target": link.target, "services": list(link.services)}
            | {"service_count": link.service_count}
            | _counts(link.flows, link.packets, link.octets)
            for link in report.links
        ],
        "talkers": [
            {"entity": talker.entity, "opened": talker.opened, "peers": talker.peers}
            | _counts(talker.flows, talker.packets, talker.octets)
            for talker in report.talkers
        ],
        "timeline": {
            "start_ns": report.series.start_ns,
            "bin_ns": report.series.bin_ns,
            "packets": {name: list(row) for name, row in report.series.packets.items()},
            "octets": list(report.series.octets),
        },
    }


def write(report: Report, file: TextIO) -> None:
    """The document as indented ASCII JSON with a final newline."""
    json.dump(document(report), file, indent=2, ensure_ascii=True, allow_nan=False)
    file.write("\n")


def _summary(report: Report) -> dict[str, Any]:
    by_severity: dict[str, int] = {}
    for finding in report.findings:
        by_severity[finding.severity.value] = by_severity.get(finding.severity.value, 0) + 1
    return {
        "first_ns": report.flows.first_ns,
        "last_ns": report.flows.last_ns,
        "findings": by_severity,
        "beyond": dict(report.beyond),
        "folds_allowed": sum(proposed.allowed for proposed in report.folds),
        "entities": report.entity_count,
        "hosts_not_shown": sum(report.hosts_not_shown),
        "mode": "shadow",
        "exit_code": report.exit_code,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    plain = finding.as_dict()
    names = ("id", "pattern", "techniques", "severity", "confidence", "entities", "first_ns", "last_ns", "evidence")
    return {name: plain[name] for name in (*names, "explanation", "source")}


def _fold(proposed: ProposedFold) -> dict[str, Any]:
    plain = proposed.fold.as_dict()
    return {
        **plain,
        "plan": proposed.plan.id,
        "blast_radius": proposed.plan.blast_radius.as_dict(),
        "guards": [verdict.as_dict() for verdict in proposed.verdicts],
        "allowed": proposed.allowed,
    }


def _balance(balance: Balance, report: Report) -> dict[str, Any]:
    return {
        "received": balance.received,
        "reasons": {name: {"packets": p, "octets": o} for name, (p, o) in balance.reasons.items()},
        "adds_up": balance.adds_up,
        "problems": [
            {"capture": _text(read.path), "problem": _text(line)} for read in report.captures for line in read.problems
        ],
    }


def _totals(totals: FlowTotals) -> Mapping[str, int]:
    return {"count": totals.count, "packets": totals.packets, "octets": totals.octets}


def _counts(flows: int, packets: int, octets: int) -> dict[str, int]:
    return {"flows": flows, "packets": packets, "octets": octets}


def _text(text: str) -> str:
    """File names that are not UTF-8 carry surrogates, which JSON must not."""
    return text.encode("utf-8", "replace").decode()
