"""Root cause: of all that suffers, who makes the others suffer; for attacks and failures alike.

Called with an incident's window, by `services.benching` and by whoever has findings to explain. In: signals of
entities and of the edges between them, who calls whom, what rests on what, as Arrow (`observations`); spans become
signals by `SpanSums`. Out: `Cause` records with their evidence, or a table. No model is trained and nothing is drawn by
lot. What to do about it is left to `policy`.
"""

from loomidi.origami.causes.observations import (
    CALLS,
    PLACES,
    RANKED,
    SIGNALS,
    Cause,
    Observed,
    Role,
    Sign,
    Symptom,
    Window,
)
from loomidi.origami.causes.ranking import as_table, rank
from loomidi.origami.causes.settings import CauseSettings
from loomidi.origami.causes.spans import SPANS, SpanSums

__all__ = [
    "CALLS",
    "PLACES",
    "RANKED",
    "SIGNALS",
    "SPANS",
    "Cause",
    "CauseSettings",
    "Observed",
    "Role",
    "Sign",
    "SpanSums",
    "Symptom",
    "Window",
    "as_table",
    "rank",
]
