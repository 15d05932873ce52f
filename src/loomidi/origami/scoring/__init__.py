"""How strange is too strange, what belongs together, and what must not be learned.

Called by `services` and the bench. In: features of edges, detectors of `online` or of a trained model. Out: `Incident`s
within a budget of false ones a day. Leaves to `ionic` what to do about one.
"""

from loomidi.origami.scoring.calibrating import Calibration, CalibrationSettings, discoveries
from loomidi.origami.scoring.guarding import Guarded, GuardSettings
from loomidi.origami.scoring.incidents import Alert, Incident, Incidents, IncidentSettings
from loomidi.origami.scoring.judging import Judge, JudgeSettings
from loomidi.origami.scoring.limits import RollingLimit, RollingSettings

__all__ = [
    "Alert",
    "Calibration",
    "CalibrationSettings",
    "GuardSettings",
    "Guarded",
    "Incident",
    "IncidentSettings",
    "Incidents",
    "Judge",
    "JudgeSettings",
    "RollingLimit",
    "RollingSettings",
    "discoveries",
]
