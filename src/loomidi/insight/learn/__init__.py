"""What is learned from what happened: drift of scores, features and alarms; outcomes of folds as labels.

Called by `services.anomalies.modelling`. In: scores and features of now and of then, receipts. Out: `Drift`s, requests
to retrain (a line each, never a promotion), rows of LABELS with where each comes from. `changes` is the only home of
river.
"""

from loomidi.insight.learn.asking import Request, Requests
from loomidi.insight.learn.changes import ScoreChanges
from loomidi.insight.learn.drifting import Drift, DriftSettings, alarm_drift, feature_drift, psi
from loomidi.insight.learn.labelling import HOLD_OUT, Word, held_out, keep, labels_of

__all__ = [
    "HOLD_OUT",
    "Drift",
    "DriftSettings",
    "Request",
    "Requests",
    "ScoreChanges",
    "Word",
    "alarm_drift",
    "feature_drift",
    "held_out",
    "keep",
    "labels_of",
    "psi",
]
