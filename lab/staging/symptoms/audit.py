"""Symptom `audit`: requests that the API server saw since the act began, by who, verb, resource and answer."""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loomidi_lab.staging.comparing import Comparison
from loomidi_lab.staging.symptoms import Measured

if TYPE_CHECKING:
    from loomidi_lab.staging.stages import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """See `make`."""

    arguments: Mapping[str, Any]
    comparison: Comparison
    wanted: str
    final: bool

    def prepare(self, stage: "Stage") -> None:
        """Nothing to learn beforehand."""

    def measure(self, stage: "Stage") -> Measured:
        """Count the events that match, or what distinct things they touch."""
        found = [event for event in stage.observer.audit(stage.start_ns) if matches(event, self.arguments)]
        value = float(_counted(found, self.arguments.get("count", "events")))
        return Measured(value, self.comparison.holds(value))


def make(arguments: Mapping[str, Any]) -> Audit:
    """From the scenario's mapping."""
    comparison = Comparison.of(arguments)
    return Audit(arguments, comparison, f"{arguments.get('count', 'events')} {comparison}", comparison.final)


def matches(event: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether an audit event is one of those meant; `user` and `object` are regular expressions for all of it."""
    reference = event.get("objectRef") or {}
    for name, value in (("verb", event.get("verb")), ("resource", reference.get("resource"))):
        if name in arguments and value not in _listed(arguments[name]):
            return False
    if "subresource" in arguments and reference.get("subresource", "") != arguments["subresource"]:
        return False
    if "namespace" in arguments and reference.get("namespace") != arguments["namespace"]:
        return False
    if "user" in arguments and not re.fullmatch(arguments["user"], event.get("user", {}).get("username", "")):
        return False
    if "object" in arguments and not re.fullmatch(arguments["object"], reference.get("name", "")):
        return False
    return "codes" not in arguments or (event.get("responseStatus") or {}).get("code") in arguments["codes"]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _counted(events: list[dict[str, Any]], count: str) -> int:
    if count == "events":
        return len(events)
    keys = {"resources": ("resource",), "namespaces": ("namespace",), "objects": ("resource", "namespace", "name")}[
        count
    ]
    return len({tuple((event.get("objectRef") or {}).get(key, "") for key in keys) for event in events})
