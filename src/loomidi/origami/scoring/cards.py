"""What the file of a model says of itself: on which features, how they are scaled, and what is usual.

Called by `model` when it exports and by `graphs` when it loads. In: a `Card`. Out: metadata of an ONNX file, and back.
A file that does not fit the features of this version is refused here, before it scores anything.
"""

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Mapping

from loomidi.contracts.errors import InputError
from loomidi.origami.features import CAUSAL, SHAPE

VERSION = 2
"""Of the inputs and outputs of the exported step; another one is refused."""
CARD, SCHEMA, CALIBRATION = "loomidi.card", "loomidi.schema", "loomidi.calibration"
FORECAST, ATTACK = "loomidi.forecast", "loomidi.attack"
"""Further graphs, where they were trained: ONNX as base64."""
_RETRAIN = "train it anew with this version"


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """Of one trained model. Lengths of `middle` and `spread` are that of `features`."""

    features: tuple[str, ...]  # in the order of the columns of `values`
    middle: tuple[float, ...]  # of log1p features, as `features.matrix` gives them
    spread: tuple[float, ...]
    members: int  # networks in the ensemble
    width: int  # of the memory of one end, all members together
    tick_s: float  # edges of one tick are judged by what was before it
    horizon_s: float  # the longest gap that is told
    ends: int  # that are remembered
    remember: str  # all, means, nothing
    graph: bool  # False: the ablation that sees one edge alone
    hash_seed: int  # of the keys of ends
    seed: int  # of the training
    fading: float = 0.02  # share that one tick of an end has in the means of its edges
    gate: float = 0.0  # p-value below which an edge is not remembered; 0: all are
    metrics: tuple[str, ...] = ()  # of nodes, in the order that the forecast takes and gives them
    horizons_s: tuple[float, ...] = ()  # of the forecast

    @property
    def schema(self) -> str:
        """A hash of what the model expects of the graph: equal where two models take the same input."""
        told = {
            "version": VERSION,
            "features": self.features,
            "values": "log1p float32",
            "ends": "workload, entity, network",
            "hash_seed": self.hash_seed,
            "metrics": self.metrics,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def metadata(self, calibration: bytes, graphs: Mapping[str, bytes]) -> dict[str, str]:
        """As an ONNX file carries it."""
        packed = {name: base64.b64encode(data).decode() for name, data in ((CALIBRATION, calibration), *graphs.items())}
        return {CARD: json.dumps(dataclasses.asdict(self), sort_keys=True), SCHEMA: self.schema, **packed}


def read(metadata: Mapping[str, str]) -> Card:
    """The card of a file. Raises InputError where it is not a model of ours, was edited, or is of other features."""
    if CARD not in metadata or SCHEMA not in metadata or CALIBRATION not in metadata:
        raise InputError("this ONNX file is no graph model of loomidi: its metadata lack the card; give another file")
    try:
        told = json.loads(metadata[CARD])
        lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        card = Card(**{**told, **lists})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"the card of this graph model is damaged or of another version; {_RETRAIN}") from error
    if metadata[SCHEMA] != card.schema:
        raise InputError(f"the graph schema of this model is not the one that its file names; {_RETRAIN}")
    if card.features not in (CAUSAL, (*CAUSAL, *SHAPE)):
        changed = sorted(set(card.features) ^ {*CAUSAL, *SHAPE})
        raise InputError(
            f"this model was trained on other features ({', '.join(changed) or 'in another order'}); {_RETRAIN}"
        )
    if not len(card.features) == len(card.middle) == len(card.spread):
        raise InputError(f"the scaler of this model does not fit its features; {_RETRAIN}")
    return card


def attached(metadata: Mapping[str, str], name: str) -> bytes:
    """One of the packed parts. Raises InputError where it is damaged."""
    try:
        return base64.b64decode(metadata[name], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} in the file of this model is damaged; {_RETRAIN}") from error
