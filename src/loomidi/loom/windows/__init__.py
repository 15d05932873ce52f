"""Windows: flows and metrics of a stretch of event time as features of edges and entities.

Called by `loom.runners` and the bench. In: batches of FLOW_RECORDS and METRICS. Out: EDGE_WINDOWS and ENTITY_WINDOWS.
The chain is `project`, `split`, `reduced` (each a function from Arrow to Arrow or `Parts`), then `Closer`, which merges
and tells features by the visible lists of operators. Leaves the bus, checkpoints and clocks to the runners.
"""

from loomidi.loom.windows.closing import Closed, Closer
from loomidi.loom.windows.features import EDGE_OPERATORS, ROLE_OPERATORS, Window, edge_windows, entity_windows
from loomidi.loom.windows.parts import Parts, merged, reduced
from loomidi.loom.windows.projecting import ROWS, project, split
from loomidi.loom.windows.specifications import PANE_S, SPECS, WindowSettings, WindowSpec
from loomidi.loom.windows.watermarks import Watermarks

__all__ = [
    "EDGE_OPERATORS",
    "PANE_S",
    "ROLE_OPERATORS",
    "ROWS",
    "SPECS",
    "Closed",
    "Closer",
    "Parts",
    "Watermarks",
    "Window",
    "WindowSettings",
    "WindowSpec",
    "edge_windows",
    "entity_windows",
    "merged",
    "project",
    "reduced",
    "split",
]
