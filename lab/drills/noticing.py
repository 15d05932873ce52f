"""The whole pipeline over a shop with users: what `loomidi run` has learned of it, and what it tells of scenarios.

Called by tests. In: a lab with the shop, how long is to be learned, scenarios. Out: what came of each, and what was
told meanwhile. One pipeline over many scenarios, as it is in use; it proposes in shadow and nobody acts. Users come all
the time, so that what is usual is known before anything happens.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loomidi_lab.drills.scenes import Learner, Say, Scene, users_only
from loomidi_lab.drills.telling import Told, told_of
from loomidi_lab.healing.defending import looking
from loomidi_lab.staging import drawing, loading, running

if TYPE_CHECKING:
    from loomidi.services.settings.anomalies import AnomalySettings
    from loomidi_lab.cluster import Lab
    from loomidi_lab.healing.defending import Defence
    from loomidi_lab.staging.records import Occurrence

_ASK_S = 2.0  # between two looks at what has been told
Enough = Callable[[list[Told]], bool]


class Noticing:
    """A pipeline at work, and the users of the shop."""

    def __init__(self, scene: Scene, defence: "Defence", learner: Learner) -> None:
        self._scene, self._defence, self._learner = scene, defence, learner

    def await_telling(self) -> None:
        """Until the model has learned and calibrated. Raises EnvironmentLacks when that takes minutes longer."""
        self._learner.await_telling()

    def told(self, since_ns: int) -> list[Told]:
        """All that was told since then and lies in the lake by now."""
        return told_of(self._defence.findings(since_ns))

    def play(self, name: str, seed: int, say: Say) -> "Occurrence":
        """Run a scenario. Raises InputError for an unknown one, EnvironmentLacks where the lab lacks what it needs."""
        drawn, scene = drawing.draw(loading.load(name), seed), self._scene
        return running.run(scene.lab, drawn, observer=scene.observer, shop=scene.users, say=say)

    def await_told(self, since_ns: int, enough: Enough, timeout_s: float) -> list[Told]:
        """What was told since then, as soon as it is enough, or when the time is over."""
        until = time.monotonic() + timeout_s
        while not enough(found := self.told(since_ns)) and time.monotonic() < until:
            time.sleep(_ASK_S)
        return found

    def figures(self) -> str:
        """What the model says of itself, for who reads why it told nothing."""
        return self._learner.figures()


@contextlib.contextmanager
def noticing(
    lab: "Lab", anomalies: "AnomalySettings", seed: int, say: Say, *, folder: Path | None = None
) -> Iterator[Noticing]:
    """While the block runs, users visit the shop and `loomidi run` learns what is usual, with its own windows.

    `folder`: its lake and state stay there, and it goes on from what lies there.
    """
    learner = Learner(anomalies)
    with users_only(lab, seed) as scene, looking(lab, learner.wanted, say, folder=folder) as defence:
        yield Noticing(scene, defence, learner)
