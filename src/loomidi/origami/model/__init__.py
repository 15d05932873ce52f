"""The graph model: trained here with torch (extra `train`), scored elsewhere without it.

Called by `origami.train` and the bench. In: features of edges. Out: `TrainedModel`, which leaves as one ONNX file.
Importing this needs no torch; a training does.
"""

from loomidi.origami.model.settings import ModelSettings
from loomidi.origami.model.training import TrainedModel, learn, train

__all__ = ["ModelSettings", "TrainedModel", "learn", "train"]
