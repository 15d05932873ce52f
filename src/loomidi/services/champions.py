"""Who scores the live windows: the champion that the life cycle has put there, else the plain floor.

Called by `anomalies` at its start. In: the champion's folder, settings. Out: `Makers`: a name that changes with the
model, and what makes its detectors. A champion that cannot be used is told with its reason, and the floor scores
meanwhile: no model is no reason to look away.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from loomidi.contracts.errors import InputError, LoomidiError
from loomidi.kit import logging
from loomidi.origami import scoring
from loomidi.origami.online import Detector
from loomidi.origami.scoring.floors import Floor, FloorSettings
from loomidi.services.anomaly_settings import AnomalySettings

MANIFEST = "manifest.json"
_log = logging.logger("services.champions")


@dataclasses.dataclass(frozen=True, slots=True)
class Makers:
    """Of the detectors."""

    name: str  # floor, or champion and the first digits of its manifest's hash
    make: Callable[[], Detector]
    problem: str = ""  # why a champion that is there is not used


def makers(folder: Path, settings: AnomalySettings) -> Makers:
    """The champion of a folder, or the floor."""
    floor = FloorSettings(window=settings.learn_rows * 4 // 5)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return Makers("floor", lambda: Floor(floor))
    try:
        make = _champion(folder)
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    except (LoomidiError, OSError) as error:
        _log.warning("the champion cannot be used, the floor scores", folder=str(folder), cause=str(error))
        return Makers("floor", lambda: Floor(floor), f"the champion in {folder} cannot be used: {error}")
    return Makers(f"champion-{digest[:12]}", make)


def _champion(folder: Path) -> Callable[[], Detector]:
    reader: Callable[[Path], Callable[[], Detector]] | None = getattr(scoring, "champion", None)
    if reader is None:
        raise InputError("this version reads no trained models")
    make = reader(folder)
    make()  # what does not open now would not open later
    return make
