"""Whether the champion still does what it was promoted for; where it does not, the one before it comes back by itself.

Called by `part` with every tick that a trained model has judged. In: how the tick was judged, the promise that was
broken. Out: `Back`: who scores from now on, and the finding that says so. The bounds and their hysteresis are
`origami.scoring`'s: a tick counts once, half of the last `watch_ticks` must be bad, one broken promise is enough, and
there is no way forth: the model before that one is nobody, so that two models cannot take turns.
"""

import collections
import dataclasses
from pathlib import Path

from loomidi.contracts import Evidence, Finding, Severity
from loomidi.contracts.errors import LoomidiError
from loomidi.contracts.records import content_id
from loomidi.kit import logging
from loomidi.origami.scoring import Bounds, BoundSettings, Manifest, Shelf, Tick, watched
from loomidi.origami.scoring.champions import CHAMPION
from loomidi.services.anomalies.champions import Makers, floor, makers
from loomidi.services.settings.anomalies import AnomalySettings

PATTERN = "model_rolled_back"
_log = logging.logger("services.overseeing")


@dataclasses.dataclass(frozen=True, slots=True)
class Back:
    """What came back, and why."""

    makers: Makers
    finding: Finding


class Overseeing:
    """One installation's."""

    def __init__(self, folder: Path, settings: AnomalySettings) -> None:
        """`folder`: of the champion; one that is no link `champion` of a shelf has nothing to go back to."""
        self.counts = collections.Counter[str]()
        self._folder, self._settings = folder, settings
        self._watched = ""  # name of the model that the bounds are of
        self._bounds = Bounds()

    def see(self, scoring: Makers, tick: Tick, broken: str = "") -> Back | None:
        """One tick; None while all is well, or while there is nothing to go back to."""
        if scoring.model is None:
            return None
        if scoring.name != self._watched:
            self._watched, self._bounds = scoring.name, Bounds(self._limits(scoring.model.manifest))
        shelf, manifest = self._shelf(), scoring.model.manifest
        figures, found = (tick.edges, tick.strange, tick.cpu_ms), None
        try:
            found = watched(shelf, self._bounds, manifest, figures, broken) if shelf is not None else None
        except LoomidiError as error:  # the folder cannot be written, or what was before is spoiled
            self.counts["not_taken_back"] += 1
            _log.warning("the champion could not be taken back", model=manifest.id, cause=str(error))
        reason = broken or (self._bounds.reason if shelf is not None else self._bounds.see(*figures))
        if found is not None:
            self.counts["rolled_back"] += 1
            return self._back(makers(self._folder, self._settings), scoring, reason, tick)
        if not reason:
            return None
        self.counts["beyond_bounds"] += 1
        if self.counts["beyond_bounds"] == 1:
            _log.warning("the champion is beyond its bounds and nothing was before it", model=manifest.id, why=reason)
        return self._back(floor(self._settings, reason), scoring, reason, tick) if broken else None

    def _limits(self, manifest: Manifest) -> BoundSettings:
        ticks = self._settings.watch_ticks
        return BoundSettings(
            nominal=manifest.risk, latency_ms=self._settings.model_ms, ticks=ticks, least=max(ticks // 3, 1)
        )

    def _shelf(self) -> Shelf | None:
        return Shelf(self._folder.parent) if self._folder.name == CHAMPION and self._folder.is_symlink() else None

    def _back(self, back: Makers, before: Makers, why: str, tick: Tick) -> Back:
        _log.warning("the champion was taken back by itself", was=before.name, now=back.name, cause=why)
        return Back(back, finding_of(back, before, why, tick))


def finding_of(back: Makers, before: Makers, why: str, tick: Tick) -> Finding:
    """What people are told of it: a model's fault, no attack."""
    evidence = (
        Evidence("reason", why, None, "", "the bound that the model was beyond"),
        Evidence("was", before.name, None, "", "who scored until then"),
        Evidence("now", back.name, None, "", "who scores from now on"),
    )
    name = before.model.manifest.name if before.model is not None else before.name
    return Finding(
        id=content_id("finding", [PATTERN, before.name, back.name, tick.time_ns]),
        pattern=PATTERN,
        techniques=(),
        severity=Severity.LOW,
        confidence=1.0,
        entities=(f"model/{name}",),
        first_ns=tick.time_ns,
        last_ns=tick.time_ns,
        evidence=evidence,
        source=f"origami.scoring:{back.name}",
    )
