"""Settings of the part that learns what windows usually look like, as a group of the one configuration file.

Read by `anomalies`, `noticing` and `answering`. A part that is on tells findings and touches nothing: no fold is
proposed for what only the model holds to be strange.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from loomidi.contracts.errors import UsageError

_LEAST_ALLOWED = 0.1  # false incidents in the slice: below, the threshold is what a fitted tail makes of some edges


@dataclasses.dataclass(frozen=True, slots=True)
class AnomalySettings:
    """What is learned, and how much may be told."""

    on: bool = True
    # Learn what windows of edges usually look like, then tell what does not; nothing is proposed for it.
    incidents_per_day: float = 1.0
    # False incidents that are put up with: the budget.
    size_s: int = 0
    # Of the windows that are looked at; 0: the shortest that are made.
    learn_s: float = 43_200.0
    # Of windows with traffic, before which nothing is told: with the slice after it a day, each hour once.
    calibrate_s: float = 43_200.0
    # Of the slice after it, by which p-values and the threshold are set.
    learn_rows: int = 20_480
    # Edges that are learned from at least, whatever the time; fewer suit a small cluster, and tell more coarsely.
    quiet_s: float = 600.0
    # An incident without an alert for so long is over.
    settle_s: float = 0.5
    # Silence after which the window that came last is whole.
    snapshot_s: float = 60.0
    # Between snapshots of what was learned; what is told is written down before it is told.
    pairs: int = 65_536
    # Edges remembered by the features, 200 octets each; the least recently seen makes room.
    kept_rows: int = 250_000
    # Edges kept to learn from, and as many to calibrate by, 250 octets each; of more, every second window is.
    champion: str = ""
    # Folder of the trained model; empty: models/champion under the state folder. Without one: robust norm and trees.
    early_s: float = 1.0
    # Between looks at windows that are still open, where this process makes them; 0: none, they are told when closed.
    model_ms: float = 50.0
    # CPU time that a trained model may take for a tick; more in over a hundredth of the ticks is too slow.
    watch_ticks: int = 360
    # Of the champion, over which it is watched: an hour. Half of them beyond the bounds, and the one before comes back.

    def size(self, made: Sequence[int]) -> int:
        """Of the windows to look at, 0 where none are made. Raises UsageError for a size that is not made."""
        if self.size_s and self.size_s not in made:
            raise UsageError(f"anomalies.size_s is {self.size_s}; windows are made of {', '.join(map(str, made))} s")
        return self.size_s or min(made, default=0)

    def checked(self) -> "AnomalySettings":
        """Raises UsageError for what makes no sense, before anything is opened."""
        if self.incidents_per_day <= 0 or self.learn_rows < 1280 or self.kept_rows < 2 * self.learn_rows:
            raise UsageError(
                "anomalies: incidents_per_day must be above 0, learn_rows at least 1280, kept_rows twice that"
            )
        if self.early_s < 0 or 0 < self.early_s < 0.1 or self.model_ms <= 0 or self.watch_ticks < 3:
            raise UsageError("anomalies: early_s is 0 or at least 0.1, model_ms above 0, watch_ticks at least 3")
        return self

    def coarse(self) -> str:
        """What a slice is too short to tell, by the budget; empty where it is long enough."""
        allowed = self.incidents_per_day * self.calibrate_s / 86_400
        if allowed >= _LEAST_ALLOWED:
            return ""
        return (
            f"calibrating for {self.calibrate_s:g} s with {self.incidents_per_day:g} incidents a day leaves "
            f"{allowed:.2g} of one in the slice: only what is far stranger than all of it will be told; calibrate "
            f"longer, or allow {_LEAST_ALLOWED * 86_400 / max(self.calibrate_s, 1.0):.0f} a day"
        )

    def folder(self, state: Path) -> Path:
        """Where the champion lies."""
        return Path(self.champion).expanduser() if self.champion else state.expanduser() / "models" / "champion"
