"""The whole pipeline over a shop with users: what `loomidi run` has learned of it, and what it tells of scenarios.

Called by tests. In: a lab with the shop, how long is to be learned, scenarios. Out: what came of each, and what was
told meanwhile. One pipeline over many scenarios, as it is in use; it proposes in shadow and nobody acts. Users come all
the time, so that what is usual is known before anything happens.
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
from loomidi_lab.drills.telling import Told, told_of
from loomidi_lab.healing.comparing import users_of
from loomidi_lab.healing.defending import looking
from loomidi_lab.staging import drawing, loading, running
from loomidi_lab.staging.observing import Observer, metering

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.healing.defending import Defence
    from loomidi_lab.staging.records import Occurrence
    from loomidi_lab.staging.users import RequestLines

_ASK_S = 2.0  # between two looks at what has been told
_TELLING = re.compile(r'^loomidi_anomalies_phase\{phase="telling"\} 1', re.MULTILINE)
_LEARNED = re.compile(r'^loomidi_anomalies_total\{what="learned"\} (\S+)', re.MULTILINE)
Say = Callable[[str], object]
Enough = Callable[[list[Told]], bool]


class Noticing:
    """A pipeline at work, and the users of the shop."""

    def __init__(self, lab: "Lab", defence: "Defence", users: "RequestLines", observer: Observer, probes: int) -> None:
        self._lab, self._defence, self._users, self._observer = lab, defence, users, observer
        self._probes = probes

    def await_telling(self, timeout_s: float) -> None:
        """Until the model has learned and calibrated. Raises EnvironmentLacks when that takes longer."""
        until = time.monotonic() + timeout_s
        while not _TELLING.search(text := self._metrics()):
            if time.monotonic() > until:
                rows = found[1] if (found := _LEARNED.search(text)) else "no"
                raise EnvironmentLacks(f"nothing is told after {timeout_s:.0f} s: {rows} edges were learned from")
            time.sleep(_ASK_S)

    def told(self, since_ns: int) -> list[Told]:
        """All that was told since then and lies in the lake by now."""
        return told_of(self._defence.findings(since_ns))

    def play(self, name: str, seed: int, say: Say) -> "Occurrence":
        """Run a scenario. Raises InputError for an unknown one, EnvironmentLacks where the lab lacks what it needs."""
        drawn = drawing.draw(loading.load(name), seed)
        return running.run(self._lab, drawn, observer=self._observer, shop=self._users, say=say)

    def await_told(self, since_ns: int, enough: Enough, timeout_s: float) -> list[Told]:
        """What was told since then, as soon as it is enough, or when the time is over."""
        until = time.monotonic() + timeout_s
        while not enough(found := self.told(since_ns)) and time.monotonic() < until:
            time.sleep(_ASK_S)
        return found

    def figures(self) -> str:
        """What the model says of itself, for who reads why it told nothing."""
        return "\n".join(line for line in self._metrics().splitlines() if line.startswith("loomidi_anomalies"))

    def _metrics(self) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self._probes}/metrics").text
        except httpx.HTTPError:
            return ""


@contextlib.contextmanager
def noticing(lab: "Lab", anomalies: AnomalySettings, seed: int, say: Say) -> Iterator[Noticing]:
    """While the block runs, users visit the shop and `loomidi run` learns what is usual, with its own windows."""
    port = _free_port()

    def wanted(settings: RunSettings) -> RunSettings:
        windows, probes = WindowGroup(), Door(port=port)
        return dataclasses.replace(settings, windows=windows, anomalies=anomalies, probes=probes)

    observer = Observer(lab)
    with contextlib.ExitStack() as stack:
        stack.enter_context(metering(observer))
        users = stack.enter_context(users_of(lab, seed))
        defence = stack.enter_context(looking(lab, wanted, say))
        yield Noticing(lab, defence, users, observer, port)


def _free_port() -> int:
    """Of loopback, free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
