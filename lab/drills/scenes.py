"""Where scenarios are played one after the other: a lab whose users come all the time, with Loomidi at work or nobody.

Called by `commands`, `noticing`, bench/folding_lab and tests. In: a lab with the shop. Out: contexts. Loomidi may learn
first what is usual, for minutes instead of the day that it takes elsewhere.
"""

import contextlib
import dataclasses
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.services.http.authority import Door
from loomidi.services.settings.anomalies import AnomalySettings
from loomidi.services.settings.run import RunSettings, WindowGroup
from loomidi_lab.healing.comparing import users_of
from loomidi_lab.healing.defending import defended
from loomidi_lab.staging.observing import Observer, metering

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.healing.defending import Defence
    from loomidi_lab.staging.users import RequestLines

_ASK_S = 2.0
_LATE_S = 420.0  # beyond what is to be learned for, until something may be told
_DAY_S, _BORNE_OUT = 86_400.0, 0.1  # false incidents that a calibration slice can bear out
_TELLING = re.compile(r'^loomidi_anomalies_phase\{phase="telling"\} 1', re.MULTILINE)
_LEARNED = re.compile(r'^loomidi_anomalies_total\{what="learned"\} (\S+)', re.MULTILINE)
Say = Callable[[str], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """What a scenario is played on."""

    lab: "Lab"
    users: "RequestLines"
    observer: Observer
    defence: "Defence | None" = None  # Loomidi, where it is at work


class Learner:
    """The model of a pipeline with doors of its own: whether it tells by now, and what it says of itself."""

    def __init__(self, anomalies: AnomalySettings) -> None:
        self._anomalies, self._port = anomalies, _free_port()

    def wanted(self, settings: RunSettings) -> RunSettings:
        """These settings, with the model over its windows."""
        probes = Door(port=self._port)
        return dataclasses.replace(settings, windows=WindowGroup(), anomalies=self._anomalies, probes=probes)

    def await_telling(self) -> None:
        """Until the model has learned and calibrated. Raises EnvironmentLacks when that takes minutes longer."""
        timeout_s = self._anomalies.learn_s + self._anomalies.calibrate_s + _LATE_S
        until = time.monotonic() + timeout_s
        while not _TELLING.search(text := self._metrics()):
            if time.monotonic() > until:
                rows = found[1] if (found := _LEARNED.search(text)) else "no"
                raise EnvironmentLacks(f"nothing is told after {timeout_s:.0f} s: {rows} edges were learned from")
            time.sleep(_ASK_S)

    def figures(self) -> str:
        """What the model says of itself, for who reads why it told nothing."""
        return "\n".join(line for line in self._metrics().splitlines() if line.startswith("loomidi_anomalies"))

    def _metrics(self) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/metrics").text
        except httpx.HTTPError:
            return ""


def learning(minutes: float, quiet_s: float) -> AnomalySettings:
    """Half of the time to learn, half to calibrate, and as many false incidents a day as that half can bear out."""
    half_s = 30.0 * minutes
    return AnomalySettings(
        learn_s=half_s,
        calibrate_s=half_s,
        incidents_per_day=_BORNE_OUT * _DAY_S / half_s,
        learn_rows=2048,
        quiet_s=quiet_s,
        snapshot_s=10.0,
    )


@contextlib.contextmanager
def users_only(lab: "Lab", seed: int) -> Iterator[Scene]:
    """While the block runs, users visit the shop and every link is metered; nobody defends."""
    observer = Observer(lab)
    with metering(observer), users_of(lab, seed) as users:
        yield Scene(lab, users, observer)


@contextlib.contextmanager
def guarded(scene: Scene, say: Say, learner: Learner | None = None) -> Iterator[Scene]:
    """While the block runs, Loomidi watches and acts; it has learned by then where there is a learner."""
    wanted = learner.wanted if learner else lambda settings: settings
    with defended(scene.lab, say, settings=wanted) as defence:
        if learner:
            say("it learns what is usual")
            learner.await_telling()
        yield dataclasses.replace(scene, defence=defence)


def _free_port() -> int:
    """Of loopback, free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
