"""One run of one scenario on one lab: what steps and symptoms may ask for and have to leave behind.

Made by `running`; handed to every step, symptom and `act.py`. Holds the journal of inverses, the background work and
what commands have printed. Leaves order and time to `running`.
"""

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from loomidi.contracts.errors import LoomidiError, Retryable
from loomidi_lab.staging.journals import Journal, runner_id, take_back
from loomidi_lab.staging.records import Drawn
from loomidi_lab.staging.targets import Lookup

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab
    from loomidi_lab.staging.observing import Observer

SCENARIO = "loomidi.io/scenario"
RUNNER = "loomidi.io/runner"
"""Annotations of what a run has made, by which leftovers are found. No labels: folds select by those."""
GUESTS = "tenants"
"""Namespace of pods that a scenario brings along. Its name says nothing about what they do: recordings show it."""
_NUMBERS = itertools.count(1)
_POLL_S = 0.25
_SOON_S = 0.3  # what looks at `stopping` has ended by then
_END_S = 3.0  # what hangs in the API ends when its pod is deleted


class RunEnded(Retryable):
    """Somebody wanted the run to end before it was over; it was taken back."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoadFigures:
    """What the shop's users saw in a span of time."""

    requests: int
    errors: int
    p50_ms: float
    p99_ms: float


class Shop(Protocol):
    """What symptoms ask of the shop; `lab/shop` gives one, tests another."""

    def load_between(self, start_ns: int, end_ns: int, journey: str = "") -> LoadFigures:
        """Figures of the requests that were due in that span."""


class Stage:
    """The state of a run. Steps call `remember` before each effect."""

    def __init__(
        self,
        lab: "Lab",
        drawn: Drawn,
        observer: "Observer",
        shop: Shop | None = None,
        ending: threading.Event | None = None,
    ) -> None:
        """`ending`: set from outside when the run shall end early; waiting then raises RunEnded, undoing hurries."""
        self.lab, self.drawn, self.observer, self.shop = lab, drawn, observer, shop
        self.ending = ending or threading.Event()
        self.lookup = Lookup(lab)
        self.runner = runner_id()
        self.number = next(_NUMBERS)
        self.say: Callable[[str], object] = lambda _text: None
        self.begin_ns = 0  # when the first step of the act shall have its effect; 0: at once
        self.began_ns = 0  # when it really had, as told by the step itself; 0: not told
        self.start_ns = 0
        self.end_ns = 0  # 0: still acting
        self.stopping = threading.Event()  # work in the background ends early
        self.undoing = False
        self._undoer = 0  # the thread that takes back
        self._outputs: list[str] = []
        self._threads: list[threading.Thread] = []
        self._servers: list[threading.Thread] = []
        self._failures: list[LoomidiError] = []
        self._journal = Journal.open(journals_of(lab), self._heading())

    def _heading(self) -> dict[str, Any]:
        name = self.drawn.scenario.name
        return {"scenario": name, "seed": self.drawn.seed, "runner": self.runner, "number": self.number}

    @property
    def marks(self) -> dict[str, str]:
        """Annotations on everything that is applied, so that leftovers can be found."""
        return {SCENARIO: self.drawn.scenario.name, RUNNER: self.runner}

    @property
    def folder(self) -> Path:
        """Of the scenario, with the payloads that are its own."""
        return self.drawn.scenario.folder

    def payload(self, name: str) -> Path:
        """A file that it carries somewhere, its own or a shared one."""
        return self.drawn.scenario.payload(name)

    def remember(self, **inverse: Any) -> None:
        """Note how the next effect is undone; on disk when it returns.

        Raises Retryable for work that is still under way when the undo has begun: its effect would stay.
        """
        if self.undoing and threading.get_ident() != self._undoer:
            raise Retryable("the run is being taken back")
        self._journal.remember(inverse)

    def heard(self, output: str) -> None:
        """Keep what a command printed, for symptoms of kind `output`."""
        self._outputs.append(output)

    @property
    def outputs(self) -> str:
        """All that commands have printed so far."""
        return "\n".join(self._outputs)

    def background(self, label: str, work: Callable[[], None]) -> None:
        """Do it beside the next steps; a failure makes the run void.

        The act ends when all that it began so has ended; what the setup began (a server) goes on until the undo.
        """

        def guarded() -> None:
            try:
                work()
            except LoomidiError as error:
                self._failures.append(error)

        thread = threading.Thread(target=guarded, name=f"stage-{label}", daemon=True)
        (self._threads if self.start_ns else self._servers).append(thread)
        thread.start()

    def join(self, timeout_s: float = 600.0) -> None:
        """Wait for background work. Raises its first failure, or Retryable when it does not end."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            while thread.is_alive() and not self.stopping.is_set() and time.monotonic() < deadline:
                thread.join(_POLL_S)
            if thread.is_alive() and not self.stopping.is_set():
                raise Retryable(f"{thread.name} did not end within {timeout_s:.0f} s")
        if self._failures:
            raise self._failures[0]

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Ask until it holds. Raises Retryable when it does not in time, or when the run is being stopped."""
        deadline = time.monotonic() + timeout_s
        while not self.hurried and not condition():
            self.check()
            if self.stopping.is_set():
                raise Retryable(f"stopped while waiting for {what}")
            if time.monotonic() > deadline:
                raise Retryable(f"{what} did not come within {timeout_s:.0f} s")
            self.stopping.wait(_POLL_S)

    def pause(self, seconds: float) -> None:
        """Sleep; shorter when background work is being stopped. Raises RunEnded when the run shall end."""
        deadline = time.monotonic() + seconds
        self.check()
        while not self.hurried and (left_s := deadline - time.monotonic()) > 0:
            stopped = self.stopping.wait(min(left_s, _POLL_S))
            self.check()
            if stopped:
                return

    def check(self) -> None:
        """Raises RunEnded when the run shall end, except to who takes it back."""
        if self.ending.is_set() and not self.hurried:
            raise RunEnded("the run was ended")

    @property
    def hurried(self) -> bool:
        """Whether the one who asks is an undo that shall not wait for what only has to settle."""
        return self.ending.is_set() and self.undoing and threading.get_ident() == self._undoer

    def beside(self, work: Callable[[], None]) -> threading.Thread:
        """Start a thread for steps, so that who called can look around; what it raises is its own affair."""
        thread = threading.Thread(target=work, name="steps", daemon=True)
        self._servers.append(thread)
        thread.start()
        return thread

    def begin_undo(self) -> None:
        """End what still goes on in the background; from now on steps undo."""
        self._undoer = threading.get_ident()
        self.stopping.set()
        until = time.monotonic() + _END_S
        while not self._joined(_SOON_S) and time.monotonic() < until:
            self._end_commands()  # again: one that is just being started has left no pid file yet
        self.undoing = True
        self.stopping.clear()

    def _joined(self, within_s: float) -> bool:
        until = time.monotonic() + within_s
        threads = (*self._threads, *self._servers)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _end_commands(self) -> None:
        """Kill what still runs in pods: who waits for it sees nothing else. It is done again with all the rest."""
        for inverse in _reversed(self._journal):
            if inverse["do"] == "kill_exec":
                with contextlib.suppress(LoomidiError):
                    take_back(self.lab, inverse)

    def take_back(self) -> list[str]:
        """Undo everything remembered, last first. Returns what could not be undone; then the journal stays."""
        self.stopping.set()
        failures = unwind(self.lab, self._journal)
        if not failures:
            self._journal.close()
        return failures


def journals_of(lab: "Lab") -> Path:
    """Where the journals of runs on a lab lie."""
    return lab.folder / "staging"


def unwind(lab: "Lab", journal: Journal) -> list[str]:
    """Carry out a journal's inverses, last first. Returns what failed, and tries the rest nevertheless."""
    failures = []
    with contextlib.suppress(FileNotFoundError):
        for inverse in _reversed(journal):
            try:
                take_back(lab, inverse)
            except LoomidiError as error:
                failures.append(f"{inverse['do']} {inverse.get('path', '')}: {error}")
    return failures


def _reversed(journal: Journal) -> Iterator[dict[str, Any]]:
    yield from reversed(journal.read()[1])
