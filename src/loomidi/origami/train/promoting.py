"""A challenger past the gate, or not; the champion before it back.

Called by `services.anomalies.modelling`. In: a registry, the shelf that the live loop reads, a stream. Out: `Gate`; the
shelf and the aliases changed only when it is open. Where nobody is champion yet, a model has to beat the plain floor,
trained on the same rows; the floor itself (robust-norm) has to keep the absolute criteria only.
"""

import dataclasses
import tempfile
from pathlib import Path

from loomidi.contracts.errors import InputError, Refused
from loomidi.origami.scoring.champions import Shelf
from loomidi.origami.scoring.manifests import Manifest, Model
from loomidi.origami.train import gating
from loomidi.origami.train.fitting import FitSettings, fit
from loomidi.origami.train.gating import Gate, GateSettings
from loomidi.origami.train.registries import CHALLENGER, Registry
from loomidi.origami.train.streams import Stream
from loomidi.origami.train.trying import try_out

FLOOR = "robust-norm"


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """A challenger beside whom it was held against."""

    challenger: Manifest
    against: Manifest | None  # None: the floor, against nobody
    gate: Gate


def compare(shelf: Shelf, challenger: Model, stream: Stream, settings: GateSettings | None = None) -> Compared:
    """The gate, without going through it. Both models see the same edges in the same order."""
    settings = settings or GateSettings()
    with tempfile.TemporaryDirectory() as folder:
        champion = _against(shelf, challenger, stream, Path(folder) / FLOOR)
        if champion is not None and champion.manifest.id == challenger.manifest.id:
            raise Refused("this model is the champion already; nothing was compared")
        if champion is not None and champion.manifest.features != stream.features:
            told = "the champion was made for other features than this stream has; compare on a stream of its kind"
            return Compared(challenger.manifest, champion.manifest, gating.empty(told))
        trial = None if champion is None else try_out(champion, stream)
        gate = gating.judge(stream, trial, try_out(challenger, stream), settings)
    return Compared(challenger.manifest, champion.manifest if champion else None, gate)


def promote(
    registry: Registry, shelf: Shelf, challenger: Model, stream: Stream, settings: GateSettings | None = None
) -> Compared:
    """1 compare, 2 note a refusal and stop, 3 the files that score live, 4 the aliases."""
    compared = compare(shelf, challenger, stream, settings)  # 1
    manifest, gate = challenger.manifest, compared.gate
    if not gate.open:  # 2
        shelf.refused(manifest, gate.because, gating.plain(gate))
        return compared
    shelf.put(challenger, gate.because, gating.plain(gate))  # 3
    registry.settle(manifest)  # 4
    registry.alias(manifest.name, CHALLENGER, "")
    return compared


def roll_back(registry: Registry, shelf: Shelf, because: str) -> Manifest:
    """The one before is champion again, here and in the registry."""
    if not because.strip():
        raise InputError("say why the champion is taken back: the history keeps it")
    back = shelf.back(because)
    registry.settle(back)
    return back


def _against(shelf: Shelf, challenger: Model, stream: Stream, folder: Path) -> Model | None:
    champion = shelf.champion()
    if champion is not None:
        return champion
    if challenger.manifest.kind == FLOOR:
        return None
    return fit(stream, FitSettings(kind=FLOOR, name=challenger.manifest.name), 0, folder).model
