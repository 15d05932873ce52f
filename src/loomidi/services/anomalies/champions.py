"""Who scores the live windows: the champion that the life cycle has put there, else the plain floor; who challenges it.

Called by `part` at its start and after a way back. In: the champion's folder, settings. Out: `Makers`: a name that
changes with the model, the model itself, and what makes its detectors. A champion that cannot be used is told with its
reason, and the floor scores meanwhile: no model is no reason to look away.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from loomidi.contracts.errors import LoomidiError
from loomidi.kit import logging
from loomidi.origami.features import CAUSAL, SHAPE
from loomidi.origami.online import Detector
from loomidi.origami.scoring import Model, manifests
from loomidi.origami.scoring.floors import Floor, FloorSettings
from loomidi.services.settings.anomalies import AnomalySettings

_log = logging.logger("services.champions")


@dataclasses.dataclass(frozen=True, slots=True)
class Makers:
    """Of the detectors."""

    name: str  # floor, or champion and the first digits of its manifest's hash
    make: Callable[[], Detector]
    problem: str = ""  # why a champion that is there is not used
    model: Model | None = None  # None: the floor


def makers(folder: Path, settings: AnomalySettings) -> Makers:
    """The champion of a folder, or the floor."""
    if not (folder / manifests.MANIFEST).is_file():
        return floor(settings)
    try:
        model = usable(folder)
        digest = hashlib.sha256((model.folder / manifests.MANIFEST).read_bytes()).hexdigest()
    except (LoomidiError, OSError) as error:
        _log.warning("the champion cannot be used, the floor scores", folder=str(folder), cause=str(error))
        return floor(settings, f"the champion in {folder} cannot be used: {error}")
    return Makers(f"champion-{digest[:12]}", model.detector, model=model)


def floor(settings: AnomalySettings, problem: str = "") -> Makers:
    """What needs no training."""
    wanted = FloorSettings(window=settings.learn_rows * 4 // 5)
    return Makers("floor", lambda: Floor(wanted), problem)


def usable(folder: Path) -> Model:
    """A model whose detector opens, made for the features of windows. Raises LoomidiError with the reason, OSError."""
    model = manifests.load(folder)
    if model.manifest.features != (*CAUSAL, *SHAPE):
        raise manifests.Misfit("it was made for other features than windows have; train it on windows")
    model.detector()  # what does not open now would not open later
    return model
