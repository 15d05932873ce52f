"""The detectors that run everywhere, without a trained model: on flow batches and in the fast lane.

Called by `services.analyzing` (`FlowDetectors`, Arrow in), `services.fastlane` (`SuspectDetectors`, plain Python) and
`services.diagnosing` (`Failures`, objects of a cluster in).
Out: `contracts.Finding`. What to do about a finding is left to `ionic`. The names are bound on first use, so that
the fast lane loads neither numpy nor pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi.origami.online.failures import FAILURES, ClusterState, Failures, FailureSettings
    from loomidi.origami.online.flows import FlowDetectors, FlowSettings
    from loomidi.origami.online.rules import PATTERNS, Rule, load_rules
    from loomidi.origami.online.suspects import SuspectDetectors, SuspectSettings

__all__ = [
    "FAILURES",
    "PATTERNS",
    "ClusterState",
    "FailureSettings",
    "Failures",
    "FlowDetectors",
    "FlowSettings",
    "Rule",
    "SuspectDetectors",
    "SuspectSettings",
    "load_rules",
]

_HOMES = {
    "ClusterState": "failures",
    "FAILURES": "failures",
    "FailureSettings": "failures",
    "Failures": "failures",
    "FlowDetectors": "flows",
    "FlowSettings": "flows",
    "PATTERNS": "rules",
    "Rule": "rules",
    "SuspectDetectors": "suspects",
    "SuspectSettings": "suspects",
    "load_rules": "rules",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
