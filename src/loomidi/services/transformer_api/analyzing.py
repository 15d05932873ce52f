"""A snapshot is judged: how rare it is, what it is called, who may be the cause.

Called by `handling`, in a thread. In: what was asked, the reference, settings, the time. Out: the answer, and the
finding where it is an anomaly. Pure. Steps: 1 p-values of every edge and of the vector, 2 one of them all, 3 which
edges are told, 4 what they are called, 5 causes, 6 the finding.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from loomidi.contracts import Evidence, Finding, Severity, content_id
from loomidi.ionic.decide.places import place
from loomidi.origami.causes import rank
from loomidi.origami.scoring import discoveries
from loomidi.origami.scoring.recognizing import UNUSUAL, Recognized, recognized
from loomidi.origami.scoring.references import Contributions, Reference
from loomidi.services.transformer_api.asking import Analysis
from loomidi.services.transformer_api.graphs import edges_of
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import Known
from loomidi.services.transformer_api.snapshots import Snapshot

SOURCE = "origami.scoring.references"
NONE = "none"  # the pattern of what is no anomaly
_TOLD = 20  # edges and causes in an answer
_LEAST = 1e-300
_SUREST = 0.95  # a p-value says how rare, not how bad


@dataclasses.dataclass(frozen=True, slots=True)
class Analyzed:
    """What is answered, and what is kept."""

    document: dict[str, Any]
    known: Known | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Judged:
    edges: npt.NDArray[np.float64]  # p-values
    reasons: list[Contributions]  # of the edges
    p_value: float  # of the snapshot
    contributions: Contributions  # of the strangest part of it
    notes: tuple[str, ...]
    reference: str  # id of what it was judged by


def analyze(asked: Analysis, reference: Reference, settings: TransformerSettings, now_ns: int) -> Analyzed:
    """Judges, and says why."""
    judged = _judged(asked, reference)  # 1, 2
    anomaly = judged.p_value <= settings.risk
    told = discoveries(judged.edges, settings.share) if anomaly else np.zeros(len(judged.edges), bool)  # 3
    if anomaly and len(told) and not told.any():
        told = judged.edges <= judged.edges.min()
    called = _called(asked.snapshot if anomaly else None, told)  # 4
    graph, notes = asked.snapshot, judged.notes + (asked.snapshot.notes if asked.snapshot else ())
    document: dict[str, Any] = {
        "is_anomaly": anomaly,
        "anomaly_score": round(-math.log10(max(judged.p_value, _LEAST)), 6),
        "detected_pattern": called.pattern if anomaly else NONE,
        "p_value": judged.p_value,
        "techniques": list(called.techniques) if anomaly else [],
        "entities": list(called.entities) if anomaly else [],
        "contributions": _contributions(judged.contributions),
        "unusual_edges": _edges(graph, judged, told),
        "unusual_edge_count": int(told.sum()),
        "causes": _causes(graph),  # 5
        "reference": reference.facts,
        "ignored": list(graph.ignored) if graph else [],
        "notes": list(notes),
    }
    if not anomaly:
        return Analyzed(document, None)
    finding = _finding(asked, called, judged, settings.risk, now_ns)  # 6
    known = Known(finding, now_ns, "new", "analysis", (), *_drawn(graph, finding))
    return Analyzed(document | {"anomaly_id": finding.id, "severity": finding.severity.value}, known)


def _judged(asked: Analysis, reference: Reference) -> _Judged:
    """One p-value of all: the least, times how many were asked about (Bonferroni)."""
    edges, reasons = np.zeros(0), list[Contributions]()
    parts: list[tuple[float, Contributions]] = []
    notes: tuple[str, ...] = ()
    if asked.snapshot is not None:
        edges, reasons = reference.edges(asked.snapshot.windows)
        least = int(np.argmin(edges))
        parts.append((float(edges[least]), reasons[least]))
    if asked.vector and reference.judges_vectors:
        whole = reference.vector(list(asked.vector))
        parts.append((whole.p_value, whole.contributions))
    elif asked.vector:
        notes = ("metrics_vector was not judged: the reference knows too few windows",)
    many = len(edges) + len(parts) - (1 if len(edges) else 0)
    p_value, contributions = min(parts, key=lambda part: part[0])
    return _Judged(edges, reasons, min(1.0, p_value * many), contributions, notes, reference.id)


def _called(graph: Snapshot | None, told: npt.NDArray[np.bool_]) -> Recognized:
    if graph is None:
        return Recognized(UNUSUAL, (), Severity.MEDIUM, (), (), ())
    return recognized(graph.windows, told, graph.window_s)


def _finding(asked: Analysis, called: Recognized, judged: _Judged, risk: float, now_ns: int) -> Finding:
    """The id follows from what was asked and what it was judged by."""
    graph = asked.snapshot
    last_ns = graph.at_ns if graph is not None and graph.at_ns else now_ns
    window_ns = round(graph.window_s * 1e9) if graph is not None else 0
    rare = Evidence("p_value", judged.p_value, risk, "", "share of usual snapshots that are as strange")
    shares = tuple(
        Evidence(name, value, usual, "", f"{share:.0%} of the score; beside it what is usual")
        for name, share, value, usual in judged.contributions
    )
    return Finding(
        id=content_id("anomaly", {"asked": asked.digest, "reference": judged.reference}),
        pattern=called.pattern,
        techniques=called.techniques,
        severity=called.severity,
        confidence=round(min(_SUREST, 1 - judged.p_value), 4),
        entities=called.entities,
        first_ns=max(last_ns - window_ns, 0),
        last_ns=last_ns,
        evidence=(*called.evidence, rare, *shares),
        source=SOURCE,
    )


def _drawn(graph: Snapshot | None, finding: Finding) -> tuple[tuple[Any, ...], dict[str, str]]:
    """What a blast radius is counted on later, and where the entities of the finding are."""
    if graph is None:
        return (), {}
    named = {entity: graph.addresses.get(bare(entity), "") for entity in finding.entities}
    return tuple(edges_of(graph.windows, graph.addresses)), {name: there for name, there in named.items() if there}


def bare(entity: str) -> str:
    """Without the port that it is spoken to on."""
    found = place(entity)
    return f"{found.kind}/{found.namespace}/{found.name}" if found.port and not found.address else entity


def _contributions(told: Contributions) -> list[dict[str, Any]]:
    return [dict(zip(("feature", "share", "value", "usual"), one, strict=True)) for one in told]


def _edges(graph: Snapshot | None, judged: _Judged, told: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The strangest first."""
    if graph is None:
        return []
    names = ["source", "destination", "destination_transport_port", "protocol_identifier"]
    rows = graph.windows.select(names)
    order = np.argsort(judged.edges, kind="stable")
    return [
        rows.slice(at, 1).to_pylist()[0]
        | {"edge": at, "p_value": float(judged.edges[at]), "contributions": _contributions(judged.reasons[at])}
        for at in [int(at) for at in order if told[at]][:_TOLD]
    ]


def _causes(graph: Snapshot | None) -> list[dict[str, Any]]:
    """Who makes the others suffer, where latencies or errors were told."""
    if graph is None or graph.observed is None or graph.window is None:
        return []
    with np.errstate(all="ignore"):  # what overflows is no cause, and told as none
        found = rank(graph.observed, graph.window)
    return [
        {
            "entity": cause.entity,
            "share": round(cause.share, 4),
            "score": round(cause.score, 4),
            "kind": cause.kind,
            "evidence": [sign.told() for sign in cause.signs],
        }
        for cause in found[:_TOLD]
        if math.isfinite(cause.score) and math.isfinite(cause.share)
    ]
