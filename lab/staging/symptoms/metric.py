"""Symptom `metric`: a Prometheus sample of a pod, of a node's kubelet or its cAdvisor; its value, increase or rate.

The pod is scraped through the API server's proxy, so that no address needs to be reachable from here. A pod that does
not answer (it goes away, or is not there yet) is counted; its growth until then stays. When nobody answers, that rises.
"""

import dataclasses
import re
import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import InputError, LoomidiError
from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.records import EntityRef
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


@dataclasses.dataclass(slots=True)
class Metric:
    """See `make`. Not frozen: it holds the sample from before the act."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool
    before: dict[str, float] = dataclasses.field(default_factory=dict)  # by what was asked, as `now`
    now: dict[str, float] = dataclasses.field(default_factory=dict)  # for growth: the last answer of each
    unknown: set[str] = dataclasses.field(default_factory=set)  # did not answer beforehand
    before_s: float = 0.0
    where: tuple[tuple[str, str], ...] = ()  # node names or (namespace, pod): kept, the pod may be gone later

    def prepare(self, stage: "Stage") -> None:
        """The sample beforehand, where growth is asked for."""
        if self.arguments.get("as", "value") != "value":
            (self.before, self.unknown), self.before_s = self._sample(stage), time.monotonic()

    def measure(self, stage: "Stage") -> Measured:
        """The sample now, or how it grew."""
        found, silent = self._sample(stage)
        kind = self.arguments.get("as", "value")
        if kind != "value":
            self.before |= {path: value for path, value in found.items() if path in self.unknown}
            self.unknown -= found.keys()
            self.now |= found
            found = {path: value - self.before.get(path, 0.0) for path, value in self.now.items()}
        value = self._combined(found.values())
        if kind == "rate":
            value /= max(0.1, time.monotonic() - self.before_s)
        return Measured(round(value, 4), self.comparison.holds(value), len(silent))

    def _sample(self, stage: "Stage") -> tuple[dict[str, float], set[str]]:
        """By what was asked; and who did not answer. Raises the first one's error when nobody did."""
        labels = dict(self.arguments.get("labels", {}))
        found, silent, answers = dict[str, float](), dict[str, LoomidiError](), 0
        for path in self._paths(stage, labels):
            try:
                text = stage.lab.api.text(path)
            except LoomidiError as error:
                silent[path] = error
                continue
            answers += 1
            if values := list(samples(text, self.arguments["name"], labels)):
                found[path] = self._combined(values)
        if silent and not answers:
            raise next(iter(silent.values()))
        return found, set(silent)

    def _combined(self, values: Collection[float]) -> float:
        if not values:
            return 0.0
        return max(values) if self.arguments.get("combine") == "max" else sum(values)

    def _paths(self, stage: "Stage", labels: dict[str, str]) -> Iterator[str]:
        source = self.arguments.get("source", "pod")
        entity = EntityRef.of(self.arguments["of"]) if "of" in self.arguments else None
        if source == "pod":
            if entity is None:
                raise InputError("a metric of a pod needs `of`")
            for pod in stage.lookup.pods(entity):
                name, port = pod["metadata"]["name"], self.arguments.get("port", 8080)
                at = self.arguments.get("url_path", "/metrics")
                yield f"/api/v1/namespaces/{entity.namespace}/pods/{name}:{port}/proxy{at}"
            return
        below = {"cadvisor": "/metrics/cadvisor", "resource": "/metrics/resource"}.get(source, "/metrics")
        nodes = {node.name for node in stage.lab.nodes}
        if entity is not None and entity.kind == "Node":
            nodes = {entity.name}
        elif entity is not None:
            pods = stage.lookup.pods(entity)
            nodes = {pod["spec"]["nodeName"] for pod in pods}
            labels["pod"] = "|".join(re.escape(pod["metadata"]["name"]) for pod in pods)
        for node in sorted(nodes):
            yield f"/api/v1/nodes/{node}/proxy{below}"


def make(arguments: Mapping[str, Any]) -> Metric:
    """From the scenario's mapping; values of `labels` are regular expressions for all of it."""
    comparison = Comparison.of(arguments)
    kind = arguments.get("as", "value")
    name = arguments["name"] if kind == "value" else f"{kind} of {arguments['name']}"
    return Metric(arguments, comparison, f"{name} {comparison}", comparison.final)


def samples(text: str, name: str, labels: Mapping[str, str]) -> Iterator[float]:
    """Values of a metric in the Prometheus text format."""
    for line in text.splitlines():
        if not line.startswith(name):
            continue
        found = _SAMPLE.match(line)
        if found and found[1] == name:
            have = dict(_LABEL.findall(found[2] or ""))
            if all(re.fullmatch(wanted, have.get(label, "")) for label, wanted in labels.items()):
                yield float(found[3])
