"""Shields where they can be, sockets where they cannot: each link by the best rung that holds.

Called by `services.agents.agent` (`capture` auto). In: an open `ShieldCapture`. Out: the Protocol `capturing.Capture`.
A link that refuses a program (another one owns it, the driver or the kernel cannot) gets a socket of its own.
"""

from loomidi.contracts.errors import LoomidiError
from loomidi.loom.flows.settings import MeterSettings
from loomidi.loom.sources.capturing import Adopted, Capture, Taken, Tally, joined
from loomidi.loom.sources.shields import MOST_GONE, ShieldCapture
from loomidi.loom.sources.sockets import SocketCapture

_SPECIAL = str.maketrans({"[": "[[]", "*": "[*]", "?": "[?]"})


class MixedCapture:
    """A `ShieldCapture` and sockets for what it refuses."""

    def __init__(self, shields: ShieldCapture, meter: MeterSettings) -> None:
        """Raises EnvironmentLacks when a link can be captured in neither way."""
        self._shields, self._meter = shields, meter
        self._sockets: dict[tuple[str, str], SocketCapture] = {}
        self._problems: list[str] = []
        self._gone: dict[str, Tally] = {}  # of sockets whose link went
        try:
            self._follow(first=True)
        except LoomidiError:
            self.close()
            raise

    @property
    def rung(self) -> str:
        """Of all links, or `mixed`."""
        rungs = {tally.rung for tally in self.tallies().values()}
        return rungs.pop() if len(rungs) == 1 else "mixed" if rungs else "none"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why links have sockets, and what sockets could not read."""
        return (*self._shields.problems, *self._problems, *(one for s in self._sockets.values() for one in s.problems))

    def take(self) -> list[Taken]:
        """Of all links."""
        taken = [*self._shields.take(), *self._left()]
        self._follow()
        for sockets in self._sockets.values():
            taken += sockets.take()
        return taken

    def finish(self) -> list[Taken]:
        """Of all links, to the end."""
        taken = self._shields.finish()
        for sockets in self._sockets.values():
            taken += sockets.finish()
        return taken

    def tallies(self) -> dict[str, Tally]:
        """By link, whichever rungs it had."""
        found, parts = dict(self._gone), list[Capture]([self._shields, *self._sockets.values()])
        for part in parts:
            for link, tally in part.tallies().items():
                found[link] = joined(found.get(link), tally)
        return found

    def adopted(self) -> dict[str, Adopted]:
        """Of the shields."""
        return self._shields.adopted()

    def close(self) -> None:
        """Let go of everything."""
        self._shields.close()
        for sockets in self._sockets.values():
            sockets.close()

    def _follow(self, *, first: bool = False) -> None:
        for link in self._shields.refused:
            place = (link.netns, link.name)
            if place in self._sockets:
                continue
            try:
                self._sockets[place] = SocketCapture([(link.netns, link.name.translate(_SPECIAL))], self._meter)
            except LoomidiError as error:
                if first:
                    raise
                self._complain(f"{link}: {error}")

    def _left(self) -> list[Taken]:
        """Of sockets whose link has gone, the last flows."""
        there = {(link.netns, link.name) for link in self._shields.refused}
        taken = []
        for place in [place for place in self._sockets if place not in there]:
            sockets = self._sockets.pop(place)
            taken += sockets.finish()
            sockets.close()
            for link, tally in sockets.tallies().items():
                self._gone[link] = joined(self._gone.pop(link, None), tally)
        while len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        return taken

    def _complain(self, line: str) -> None:
        if line not in self._problems:
            self._problems.append(line)
