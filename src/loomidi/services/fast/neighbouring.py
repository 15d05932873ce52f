"""Who claims whose address on the shielded link, for a lane's loop: what was heard, judged, and what to ask.

Called by `fastlane` in its step 7, opened by whoever opens the shield. In: a link. Out: findings `neighbour_spoofing`,
which are told and never acted on (ADR 0093). At most `most` frames a turn: a storm of ARP holds no decision up, and
what is left over waits in the kernel or is counted as lost. Leaves frames to `loom`, judging to `origami`.
"""

from typing import Protocol

from loomidi.contracts import Finding
from loomidi.contracts.neighbours import NeighbourWord
from loomidi.loom.capture.neighbours import NeighbourEar, gateways
from loomidi.origami.online import Neighbours

_MOST, _LOOK_NS = 64, 1_000_000_000


class Ear(Protocol):
    """What is asked of `loom.capture.neighbours.NeighbourEar`."""

    lost: int
    odd: int

    def heard(self, most: int) -> list[NeighbourWord]:
        """At most so many words since the last time."""

    def ask(self, address: str, link: str) -> bool:
        """Ask one holder whether it has an address; False where it cannot be asked."""

    def close(self) -> None:
        """End."""


class Neighbourhood:
    """One link. For the thread of its lane."""

    def __init__(self, ear: Ear, detector: Neighbours | None = None, most: int = _MOST) -> None:
        self._ear, self._detector, self._most = ear, detector or Neighbours(), most
        self._lost = self._words = self._asked = 0
        self._look_due = 0

    def findings(self, now_ns: int) -> list[Finding]:
        """Of what was said since the last time. `now_ns`: epoch."""
        words = self._ear.heard(self._most)
        lost, self._lost = self._ear.lost - self._lost, self._ear.lost
        self._words += len(words)
        found = self._detector.observe(words, lost)
        for address, link in self._detector.questions():
            self._asked += self._ear.ask(address, link)
        if now_ns >= self._look_due:
            self._look_due = now_ns + _LOOK_NS
            found += self._detector.look(now_ns)
        return found

    def figures(self) -> dict[str, int]:
        """What was heard, what could not be, and what was left out."""
        return {
            "neighbour_words": self._words,
            "neighbour_words_lost": self._ear.lost,
            "neighbour_frames_odd": self._ear.odd,
            "neighbours_asked": self._asked,
            "neighbours_forgotten": self._detector.forgotten,
            "neighbour_findings_untold": self._detector.untold,
        }

    def close(self) -> None:
        """End."""
        self._ear.close()


def neighbourhood(link: str) -> Neighbourhood:
    """Listen to a link from now on. Raises EnvironmentLacks without the right, Refused for a link that is not there."""
    return Neighbourhood(NeighbourEar(link), Neighbours(gateways=gateways(link)))
