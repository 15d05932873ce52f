"""The life of a model: trained by seeds, recorded, compared with the champion, promoted or refused, taken back.

Called by `services.anomalies.modelling`. In: streams of edges with what is known of them. Out: runs and versions in
MLflow, the files that score live (`scoring.champions`), JSON documents that `insight` draws. Only `registries` imports
mlflow, only `machines` ray, each when it is used. What scores live imports nothing from here.
"""

from loomidi.origami.train.appraising import document, strangest, wilson
from loomidi.origami.train.fitting import FitSettings, Trained, fit
from loomidi.origami.train.gating import Criterion, Gate, GateSettings, judge
from loomidi.origami.train.machines import RaySeeds
from loomidi.origami.train.promoting import Compared, compare, promote, roll_back
from loomidi.origami.train.registries import CHALLENGER, CHAMPION, Registry, Version
from loomidi.origami.train.seeding import Seeds, ablations, here, train
from loomidi.origami.train.sources import of_lake, of_path, of_recording
from loomidi.origami.train.streams import Known, Stream, StreamSettings, stream_of
from loomidi.origami.train.trying import Trial, try_out

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Compared",
    "Criterion",
    "FitSettings",
    "Gate",
    "GateSettings",
    "Known",
    "RaySeeds",
    "Registry",
    "Seeds",
    "Stream",
    "StreamSettings",
    "Trained",
    "Trial",
    "Version",
    "ablations",
    "compare",
    "document",
    "fit",
    "here",
    "judge",
    "of_lake",
    "of_path",
    "of_recording",
    "promote",
    "roll_back",
    "strangest",
    "stream_of",
    "train",
    "try_out",
    "wilson",
]
