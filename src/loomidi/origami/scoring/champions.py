"""The model that scores live: a folder that is turned over in one step, the one before it, and why each came or went.

Called by the live loop (`Shelf.champion`, `Bounds`), which has no MLflow, and by `train.promoting`. In: the folder
`models` of the state. Out: `Model`s; lines of `history.jsonl`. `champion`, `previous` and `challenger` are links into
`kept`, so that a reader sees the old model or the new one. Whether a model may become the champion is left to the gate
of `train`.
"""

import collections
import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks, InputError, Refused
from loomidi.kit.clock import Clock, SystemClock
from loomidi.origami.online.seen import Detector
from loomidi.origami.scoring import manifests
from loomidi.origami.scoring.manifests import Manifest, Model

FOLDER = "models"  # within the state folder
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
KEPT, HISTORY = "kept", "history.jsonl"
_MOST_KEPT = 5  # folders, the champion and the one before it among them


def champion(folder: Path) -> Callable[[], Detector]:
    """What makes the detectors of a champion's folder, one after the other. Raises as `manifests.load` does."""
    return manifests.load(folder).detector


class Shelf:
    """The models of one installation."""

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        """Nothing is made before something is put there."""
        self.folder = folder
        self._clock = clock or SystemClock()

    def champion(self) -> Model | None:
        """What scores live; None: nothing was promoted. Raises Misfit where it cannot be used as it is."""
        return self._at(CHAMPION)

    def previous(self) -> Model | None:
        """What scored before it; None where nothing did."""
        return self._at(PREVIOUS)

    def challenger(self) -> Model | None:
        """What is scored beside it and tells nothing; None where nothing is."""
        return self._at(CHALLENGER)

    def challenge(self, model: Model, version: str = "") -> Manifest:
        """Let a copy of this model be scored beside the champion, in place of the one that was."""
        with self._alone():
            manifest = self._keep(model, version)
            self._turn(CHALLENGER, manifest.id)
            self._note("challenges", manifest, "trained", {}, self._target(CHAMPION))
            self._prune()
        return manifest

    def put(self, model: Model, because: str, evidence: Mapping[str, Any] | None = None, version: str = "") -> Manifest:
        """Make a copy of this model the champion. The gate has been passed; this only carries it out."""
        with self._alone():
            manifest = self._keep(model, version)
            before = self._target(CHAMPION)
            if before and before != manifest.id:
                self._turn(PREVIOUS, before)
            self._turn(CHAMPION, manifest.id)
            if self._target(CHALLENGER) == manifest.id:
                (self.folder / CHALLENGER).unlink()
            self._note("promoted", manifest, because, evidence or {}, before)
            self._prune()
        return manifest

    def back(self, because: str, evidence: Mapping[str, Any] | None = None, only: str = "") -> Manifest:
        """The one before comes back, and there is none before it then. Raises Refused where there is none.

        `only`: the id of the champion that was found wanting; refused when it is another by now.
        """
        with self._alone():
            before, now = self._target(PREVIOUS), self._target(CHAMPION)
            if only and now != only:
                raise Refused(f"the champion is {now or 'nobody'} by now, not {only}; nothing was changed")
            model = self.previous()
            if model is None:
                raise Refused("no model was champion before this one; promote another, or stop using models")
            self._turn(CHAMPION, before)
            (self.folder / PREVIOUS).unlink()
            self._note("rolled back", model.manifest, because, evidence or {}, now)
        return model.manifest

    def refused(self, manifest: Manifest, because: str, evidence: Mapping[str, Any]) -> None:
        """Note that a model did not pass the gate."""
        with self._alone():
            self._note("refused", manifest, because, evidence, self._target(CHAMPION))

    def history(self) -> list[dict[str, Any]]:
        """What became of models, the oldest first; a line that a crash cut off is left out."""
        path = self.folder / HISTORY
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [row for row in map(_row, lines) if row]

    def _keep(self, model: Model, version: str) -> Manifest:
        """A copy in `kept`, there as a whole or not at all."""
        manifest = dataclasses.replace(model.manifest, version=version or model.manifest.version)
        kept = self.folder / KEPT / manifest.id
        if not kept.is_dir():
            partial = kept.with_name(f".{kept.name}.{os.getpid()}")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(model.folder, partial)
            manifests.write_manifest(partial, manifest)
            manifests.load(partial)  # the copy is what will be read
            partial.rename(kept)
        return manifest

    def _at(self, name: str) -> Model | None:
        return manifests.load(self.folder / name) if self._target(name) else None

    def _target(self, name: str) -> str:
        """The id that a link leads to; "" where there is none."""
        link = self.folder / name
        if link.is_dir() and not link.is_symlink():
            raise InputError(f"{link} is a folder that somebody else made; take it away and promote a model")
        return link.readlink().name if link.is_symlink() else ""

    def _turn(self, name: str, to: str) -> None:
        """One rename: a reader finds what was there or what is there now."""
        link = self.folder / f".{name}.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(KEPT) / to, target_is_directory=True)
        link.replace(self.folder / name)

    def _note(self, what: str, manifest: Manifest, because: str, evidence: Mapping[str, Any], before: str) -> None:
        about = {name: getattr(manifest, name) for name in ("id", "kind", "name", "version", "run", "seed")}
        row = {"at_ns": self._clock.now_ns(), "what": what, "because": because, "before": before}
        with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"model": about, "evidence": evidence}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _prune(self) -> None:
        held = {self._target(name) for name in (CHAMPION, PREVIOUS, CHALLENGER)}
        kept = sorted((self.folder / KEPT).iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in [path for path in kept if path.name not in held][max(_MOST_KEPT - len(held), 0) :]:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time; readers need no lock. Raises EnvironmentLacks where the folder cannot be written."""
        try:
            (self.folder / KEPT).mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise EnvironmentLacks(f"{error.filename or self.folder}: {error.strerror or error}") from error


def _row(line: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return row


@dataclasses.dataclass(frozen=True, slots=True)
class BoundSettings:
    """When a champion has failed."""

    nominal: float = 1e-3
    # Share of edges that the calibration lets be told as strange.
    times: float = 5.0
    # A tick is bad when more than so many times the nominal share of its edges is strange.
    latency_ms: float = 50.0
    # A tick is slow when scoring it took longer.
    slow: float = 0.01
    # Share of slow ticks that is put up with: the p99.
    ticks: int = 360
    # Over which it is judged: an hour of 10 s ticks. An attack that is shorter than half of them is no reason.
    least: int = 120
    # Ticks before which nothing is said.


class Bounds:
    """What a champion does after its promotion, tick by tick.

    A tick counts once, however many of its edges are strange: one flood must not bring the model before back. A model
    that breaks what it promises has no such time: it gives no scores to wait for.
    """

    def __init__(self, settings: BoundSettings | None = None) -> None:
        self.settings = settings or BoundSettings()
        self.reason = ""  # as the last tick left it
        self._ticks: collections.deque[tuple[bool, bool]] = collections.deque(maxlen=self.settings.ticks)

    def see(self, edges: int, strange: int, latency_ms: float) -> str:
        """Take in one tick; the reason to go back, "" where there is none. What is no number is bad and slow."""
        if edges:
            self.reason = self._seen(edges, strange, latency_ms)
        return self.reason if edges else ""

    def _seen(self, edges: int, strange: int, latency_ms: float) -> str:
        s = self.settings
        bad, slow = not strange <= s.times * s.nominal * edges, not latency_ms <= s.latency_ms
        self._ticks.append((bad, slow))
        count, figures = len(self._ticks), self.figures()
        if count < s.least:
            return ""
        if figures["bad"] > count / 2:
            return f"{figures['bad']} of {count} ticks had over {s.times:g} times the alarms that it was calibrated for"
        if figures["slow"] > s.slow * count:
            return f"{figures['slow']} of {count} ticks took longer than {s.latency_ms:g} ms to score"
        return ""

    def figures(self) -> dict[str, int]:
        """How many ticks were bad, slow, seen."""
        bad, slow = (sum(column) for column in zip(*self._ticks, strict=True)) if self._ticks else (0, 0)
        return {"ticks": len(self._ticks), "bad": bad, "slow": slow}


def watched(
    shelf: Shelf, bounds: Bounds, champion: Manifest, tick: tuple[int, int, float], broken: str = ""
) -> Manifest | None:
    """One tick of the live loop (edges, strange ones, ms): the manifest that came back, None while all is well.

    `broken`: the promise that the champion did not keep on this tick; one is enough.
    """
    reason = broken or bounds.see(*tick)
    if not reason:
        return None
    try:
        return shelf.back(f"by itself: {reason}", bounds.figures(), only=champion.id)
    except Refused:
        return None  # nothing to go back to, or somebody else was quicker
