"""What is about to fail, from metrics: exhaustion, restart loops, cascades; and readings that surprise.

Called by whoever reads metrics or looks at a cluster. In: Arrow readings, `ClusterState`, calls. Out: forecasts as
Arrow, bits of surprise, and `contracts.Finding`. No torch. What to do about a finding is left to `ionic`.
"""

from loomidi.origami.forecasts.cascading import Cascades, CascadeSettings
from loomidi.origami.forecasts.exhausting import FORECASTS, READINGS, Exhaustion, ExhaustionSettings
from loomidi.origami.forecasts.restarting import Restarts, RestartSettings
from loomidi.origami.forecasts.surprising import VIEWS, Surprises, SurpriseSettings
from loomidi.origami.forecasts.telling import FORETOLD, exhaustions

__all__ = [
    "FORECASTS",
    "FORETOLD",
    "READINGS",
    "VIEWS",
    "CascadeSettings",
    "Cascades",
    "Exhaustion",
    "ExhaustionSettings",
    "RestartSettings",
    "Restarts",
    "SurpriseSettings",
    "Surprises",
    "exhaustions",
]
