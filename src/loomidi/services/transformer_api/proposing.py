"""A finding becomes plans: candidate folds with their manifest, blast radius, what the guards say, and why.

Called by `handling`, in a thread. In: what is known of the finding, the wish, a graph. Out: the answer, and decisions
to be kept. Nothing is applied, nothing leaves this process. Raises the problem `no-fold` where nothing fits.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import Finding, FoldKind, LoomidiError, Severity
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.objects import namespaces_of
from loomidi.insight.report import ProposedFold, stories
from loomidi.ionic.decide import Decider, DeciderSettings, standard_guards
from loomidi.ionic.decide.places import Place, place
from loomidi.ionic.decide.radius import Graph
from loomidi.kit.clock import Clock, SystemClock
from loomidi.loom.lake import Lake
from loomidi.services.folds.planning import planned
from loomidi.services.transformer_api import answering
from loomidi.services.transformer_api.analyzing import bare
from loomidi.services.transformer_api.asking import Wish
from loomidi.services.transformer_api.clusters import Cluster
from loomidi.services.transformer_api.graphs import SnapshotGraph, edges_of, lake_graph
from loomidi.services.transformer_api.settings import TransformerSettings
from loomidi.services.transformer_api.shelves import Decision, Known

ALLOWED, DENIED = "allowed", "denied"  # what the guards say of a plan that nobody has begun
KINDS = (FoldKind.SCALE_OUT, FoldKind.ISOLATE_POD, FoldKind.RECONFIGURE_NETWORK)  # of the blueprint
_PATIENCE_S = 10.0  # nobody waits for a packet here
_CONTEXT = 16 * 1024  # letters of a context that are kept


@dataclasses.dataclass(frozen=True, slots=True)
class Proposed:
    """What is answered, and what is kept."""

    document: dict[str, Any]
    decisions: tuple[Decision, ...]


class Proposing:
    """One service's."""

    def __init__(
        self,
        settings: TransformerSettings,
        lake: Lake | None = None,
        cluster: Cluster | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Raises ValueError for a bad entry of the protected set."""
        self._settings, self._lake, self._cluster = settings, lake, cluster
        self.clock = clock or SystemClock()
        self._plans = DeciderSettings(settings.mode, approval_s=settings.valid_s)
        self._guards = standard_guards(settings.protected, self._plans, patience_s=_PATIENCE_S)
        self.decider(None)  # what is wrong with the settings is told now

    def decider(self, graph: Graph | None) -> Decider:
        """Over a graph."""
        return Decider(self._guards, self._settings.protected, self._plans, graph=graph, clock=self.clock)

    def propose(self, known: Known, wish: Wish, author: str) -> Proposed:
        """1 the finding as the caller sees it, 2 the graph, 3 plans and guards, 4 the one that is answered."""
        finding = _milder(known.finding, wish.severity)  # 1
        addresses = dict(known.addresses) | (dict(wish.snapshot.addresses) if wish.snapshot else {})
        graph, drawn = self._graph(known, wish)  # 2
        folds = planned(finding, self.decider(graph), lambda entity: self._where(entity, addresses))  # 3
        ours = [one for one in folds if one.fold.kind in KINDS]
        if not ours:
            raise answering.no_fold(finding, [one.fold.kind.value for one in folds])
        chosen = next((one for one in ours if one.allowed), ours[0])  # 4
        decisions = tuple(self._decision(one, finding, wish.context, author) for one in ours)
        mine = next(one for one in decisions if one.id == chosen.plan.id)
        others = [_short(one) for one in decisions if one is not mine]
        document = {"anomaly_id": finding.id, **_answer(mine), "graph": drawn, "alternatives": others}
        return Proposed(document, decisions)

    def _graph(self, known: Known, wish: Wish) -> tuple[Graph | None, str]:
        """The newest that is known, and where it is from."""
        if wish.snapshot is not None:
            return SnapshotGraph(edges_of(wish.snapshot.windows, wish.snapshot.addresses)), "context"
        if known.graph:
            return SnapshotGraph(known.graph), "anomaly"
        settings = self._settings
        found = lake_graph(self._lake, known.finding.last_ns, settings.graph_s, settings.graph_rows)
        return found, "lake" if found is not None else "none"

    def _where(self, entity: str, addresses: Mapping[str, str]) -> Place:
        """Where an entity is: as the cluster says now, else as the snapshot said, else as its id says."""
        found = place(entity)
        if found.address:
            return found
        pod = self._pod(found) if found.kind == "pod" else None
        if pod is None:
            return dataclasses.replace(found, address=addresses.get(entity, addresses.get(bare(entity), "")))
        metadata, address = pod["metadata"], str(pod.get("status", {}).get("podIP") or "")
        labels = tuple(sorted((metadata.get("labels") or {}).items()))
        return dataclasses.replace(found, address=address, labels=labels, uid=str(metadata.get("uid", "")))

    def _pod(self, found: Place) -> Mapping[str, Any] | None:
        """None where nobody knows it: then what the snapshot said has to do."""
        if self._cluster is None:
            return None
        try:
            return self._cluster.pod(found.namespace, found.name)
        except LoomidiError:
            return None

    def _decision(self, one: ProposedFold, finding: Finding, context: Mapping[str, Any], author: str) -> Decision:
        space = min(namespaces_of(one.fold), default=self._settings.namespace)
        text = json.dumps(dict(context), sort_keys=True)
        document = {
            "plan": one.plan.as_dict(),
            "verdicts": [verdict.as_dict() for verdict in one.verdicts],
            "k8s_manifest": fold_object(one.plan, space),
            "reasoning": stories.as_text(stories.story(finding, [one])),
            "namespace": space,
            "author": author,
            "context": dict(context) if len(text) <= _CONTEXT else {"omitted_letters": len(text)},
        }
        state = ALLOWED if one.allowed else DENIED
        return Decision(one.plan.id, one.plan.created_ns, finding.id, state, document)


def _milder(finding: Finding, given: Severity | None) -> Finding:
    """A caller can hold it to be less bad than it was found to be, never worse: that is for detectors to say."""
    order = list(Severity)
    if given is None or order.index(given) >= order.index(finding.severity):
        return finding
    return dataclasses.replace(finding, severity=given)


def _answer(decision: Decision) -> dict[str, Any]:
    plan = decision.document["plan"]
    return {
        "action_type": plan["fold"]["kind"],
        "target_resource": plan["fold"]["target"],
        "k8s_manifest": decision.document["k8s_manifest"],
        "reasoning": decision.document["reasoning"],
        "plan_id": decision.id,
        "state": decision.state,
        "mode": plan["mode"],
        "severity": plan["finding"]["severity"],
        "expires_ns": plan["expires_ns"],
        "blast_radius": plan["blast_radius"],
        "verdicts": decision.document["verdicts"],
    }


def _short(decision: Decision) -> dict[str, Any]:
    fold = decision.document["plan"]["fold"]
    named = {"action_type": fold["kind"], "target_resource": fold["target"], "action": fold["action"]}
    return {"plan_id": decision.id, "state": decision.state, **named}
