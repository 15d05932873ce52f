"""Why: the likeliest causes of incidents and failures, from windows and from what the watch of a cluster tells.

Called by `part`, which feeds it, and by `answering` for what `diagnosing` found. In: windows, ENTITIES, an
incident or a finding. Out: causes, or the finding with them. From any thread. Leaves the ranking to `origami.causes`.
"""

import collections
import dataclasses
import threading
from collections.abc import Sequence

import pyarrow as pa

from loomidi.contracts import Finding
from loomidi.origami.causes import Cause, CauseSettings, Window, rank
from loomidi.origami.causes.observing import WindowSignals
from loomidi.origami.causes.placements import Placements
from loomidi.origami.scoring import Incident
from loomidi.services.anomalies.incident_findings import causes_told

_LEAST_NS = 60 * 10**9  # of an incident's window: one step alone is noise
_MOST_NS = 600 * 10**9  # what began longer ago is the past of what goes on
_ABOUT = 32  # ends of an incident that are asked for


class Reasons:
    """What is known of one system."""

    def __init__(self) -> None:
        self.signals, self.placements = WindowSignals(), Placements()
        self.counts = collections.Counter[str]()
        self._lock = threading.Lock()
        self._step_ns = 0  # 0: no window has come yet

    def feed(self, edges: pa.RecordBatch, size_s: int) -> None:
        """EDGE_WINDOWS, aligned and of this size."""
        with self._lock:
            self._step_ns = size_s * 10**9
            self.signals.add(edges)

    def feed_served(self, entities: pa.RecordBatch) -> None:
        """ENTITY_WINDOWS, aligned and of the same size."""
        with self._lock:
            self.signals.add_served(entities)

    def learn(self, entities: pa.RecordBatch) -> None:
        """ENTITIES."""
        with self._lock:
            self.placements.learn(entities)

    def end(self, entity: str) -> str:
        """As windows know it."""
        with self._lock:
            return self.placements.end(entity)

    def of(self, incident: Incident) -> list[Cause]:
        """The likeliest first; who began most of the strange pairs where nothing else stands out."""
        about = [*dict.fromkeys(end for pair in incident.pairs for end in pair[:2])]
        found = self._ranked(about[:_ABOUT], incident.first_ns, incident.last_ns)
        self.counts["asked"] += 1
        self.counts["answered"] += bool(found)
        return found or _initiator(incident)

    def told(self, finding: Finding) -> Finding:
        """A failure with its causes: what its own evidence says, then what is off around it."""
        causes = causes_told([*self._said(finding), *self._around(finding)])
        kept = tuple(one for one in finding.evidence if not one.name.startswith("root_cause"))
        return dataclasses.replace(finding, evidence=(*kept, *causes))

    def _around(self, finding: Finding) -> list[Cause]:
        """Of a workload: what it rests on. Where its own evidence names the cause, that is told alone."""
        if finding.pattern != "cpu_saturation" or not finding.entities:
            return []
        about = self.end(finding.entities[0])
        found = self._ranked([about], finding.first_ns, finding.last_ns)
        return found or [Cause(about, 0.0, 1.0, "resource", ())]

    def _said(self, finding: Finding) -> list[Cause]:
        """A release that does not come up and a node that lacks something say so themselves."""
        given = {one.name: one.value for one in finding.evidence}
        if finding.pattern in ("crash_loop", "out_of_memory") and "revision" in given:
            workload = finding.entities[0].partition("/")[2]
            return [Cause(f"rollout/{workload}@revision-{given['revision']}", 0.0, 1.0, "release", ())]
        nodes = [entity for entity in finding.entities if entity.startswith("node/")]
        if finding.pattern == "node_pressure" and nodes:
            return [Cause(nodes[0], 0.0, 1.0, "resource", ())]
        return []

    def _ranked(self, about: Sequence[str], first_ns: int, last_ns: int) -> list[Cause]:
        with self._lock:
            if not self._step_ns or not about:
                return []
            end_ns = last_ns // self._step_ns * self._step_ns + self._step_ns * bool(last_ns % self._step_ns)
            begin_ns = first_ns // self._step_ns * self._step_ns - self._step_ns
            begin_ns = max(min(begin_ns, end_ns - min(_LEAST_NS, 3 * self._step_ns)), end_ns - _MOST_NS)
            window = Window(begin_ns, end_ns, self._step_ns)
            observed = self.signals.observed(window, about, self.placements)
        found = rank(observed, window)
        return releases_first(found) if found and found[0].score >= CauseSettings().sure else []  # nobody stands out


def releases_first(causes: Sequence[Cause]) -> list[Cause]:
    """A fresh release of the likeliest is told before it where it explains at least half as much: it can be undone."""
    if not causes:
        return []
    release = f"rollout/{causes[0].entity.partition('/')[2]}@"
    found = [one for one in causes if one.entity.startswith(release) and one.score >= causes[0].score / 2]
    return [*found, *(one for one in causes if one not in found)]


def _initiator(incident: Incident) -> list[Cause]:
    """Who began most of the strange pairs, and the share of them."""
    began = collections.Counter[str]()
    for source, _, count in incident.pairs:
        began[source] += count
    if not began:
        return []
    source, most = min(began.items(), key=lambda item: (-item[1], item[0]))
    return [Cause(source, 0.0, most / began.total(), "who began it", ())]
