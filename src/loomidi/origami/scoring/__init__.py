"""How strange is too strange, what belongs together, and what must not be learned.

Called by `services` and the bench. In: features of edges, detectors of `online` or of a trained model. Out: `Incident`s
within a budget of false ones a day. Leaves to `ionic` what to do about one.
"""

from loomidi.origami.scoring.calibrating import Calibration, CalibrationSettings, discoveries
from loomidi.origami.scoring.cards import Card
from loomidi.origami.scoring.champions import Bounds, BoundSettings, Shelf, champion, watched
from loomidi.origami.scoring.glancing import GlanceSettings, Glancing
from loomidi.origami.scoring.graphs import GraphModel
from loomidi.origami.scoring.guarding import BrokenPromise, Guarded, GuardSettings, lesser
from loomidi.origami.scoring.habits import Habits, HabitSettings
from loomidi.origami.scoring.incidents import Alert, Incident, Incidents, IncidentSettings
from loomidi.origami.scoring.judging import Judge, JudgeSettings, Tick, ticked
from loomidi.origami.scoring.limits import RollingLimit, RollingSettings
from loomidi.origami.scoring.manifests import Manifest, Misfit, Model

__all__ = [
    "Alert",
    "BoundSettings",
    "Bounds",
    "BrokenPromise",
    "Calibration",
    "CalibrationSettings",
    "Card",
    "GlanceSettings",
    "Glancing",
    "GraphModel",
    "GuardSettings",
    "Guarded",
    "HabitSettings",
    "Habits",
    "Incident",
    "IncidentSettings",
    "Incidents",
    "Judge",
    "JudgeSettings",
    "Manifest",
    "Misfit",
    "Model",
    "RollingLimit",
    "RollingSettings",
    "Shelf",
    "Tick",
    "champion",
    "discoveries",
    "lesser",
    "ticked",
    "watched",
]
