"""The detectors that run everywhere, without a trained model: on flow batches and in the fast lane.

Called by `services.analyzing` (`FlowDetectors`, Arrow in), `services.fastlane` (`SuspectDetectors`, plain Python),
`services.fast.neighbouring` (`Neighbours`, what hosts of a link say) and `services.parts.diagnosing` (`Failures`,
objects of a cluster). Out: `contracts.Finding`. And by `scoring`: what says how strange an edge is (`RobustNorm`,
`EdgeSketch`, `HalfSpaceTrees`: `Seen` in, scores out). What to do about a finding is left to `ionic`. The names are
bound on first use, so that the fast lane loads neither numpy nor pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loomidi.origami.online.cluster import ClusterState
    from loomidi.origami.online.failures import FAILURES, Failures, FailureSettings
    from loomidi.origami.online.flows import FlowDetectors, FlowSettings
    from loomidi.origami.online.neighbours import Neighbours, NeighbourSettings
    from loomidi.origami.online.norms import NormSettings, RobustNorm
    from loomidi.origami.online.rules import PATTERNS, Rule, load_rules
    from loomidi.origami.online.seen import Detector, Seen
    from loomidi.origami.online.sketches import EdgeSketch, SketchSettings
    from loomidi.origami.online.suspects import SuspectDetectors, SuspectSettings
    from loomidi.origami.online.tails import Cusum, CusumSettings, TailSettings, TailThreshold
    from loomidi.origami.online.trees import HalfSpaceTrees, TreesSettings

__all__ = [
    "FAILURES",
    "PATTERNS",
    "ClusterState",
    "Cusum",
    "CusumSettings",
    "Detector",
    "EdgeSketch",
    "FailureSettings",
    "Failures",
    "FlowDetectors",
    "FlowSettings",
    "HalfSpaceTrees",
    "NeighbourSettings",
    "Neighbours",
    "NormSettings",
    "RobustNorm",
    "Rule",
    "Seen",
    "SketchSettings",
    "SuspectDetectors",
    "SuspectSettings",
    "TailSettings",
    "TailThreshold",
    "TreesSettings",
    "load_rules",
]

_HOMES = {
    "ClusterState": "cluster",
    "Cusum": "tails",
    "CusumSettings": "tails",
    "Detector": "seen",
    "EdgeSketch": "sketches",
    "FAILURES": "failures",
    "FailureSettings": "failures",
    "Failures": "failures",
    "FlowDetectors": "flows",
    "FlowSettings": "flows",
    "HalfSpaceTrees": "trees",
    "NeighbourSettings": "neighbours",
    "Neighbours": "neighbours",
    "NormSettings": "norms",
    "PATTERNS": "rules",
    "RobustNorm": "norms",
    "Rule": "rules",
    "Seen": "seen",
    "SketchSettings": "sketches",
    "SuspectDetectors": "suspects",
    "SuspectSettings": "suspects",
    "TailSettings": "tails",
    "TailThreshold": "tails",
    "TreesSettings": "trees",
    "load_rules": "rules",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
