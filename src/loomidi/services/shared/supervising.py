"""Parts of a service that run side by side: started in order, started again when they fail, ended in order.

Called by `pipeline`. In: named parts, each an async function that runs until it is told to end. Out: how each of them
is (for readiness and metrics). A passing fault (`Retryable`, a lost connection) starts the part again after a pause
that doubles up to a limit; any other error of ours ends all parts, for only a person can mend it; what nobody mapped is
logged with its traceback and treated as passing, a few times. Leaves what a part does to the part.
"""

import asyncio
import dataclasses
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from loomidi.contracts.errors import LoomidiError, Retryable
from loomidi.kit import logging
from loomidi.kit.waiting import cancelled, told_within

_log = logging.logger("services.supervising")
_MOST_UNEXPECTED = 5  # in a row, without having run for `steady_s` between them


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How a part that failed is tried again."""

    first_s: float = 0.5
    # Pause before the second try; it doubles from try to try.
    longest_s: float = 15.0
    # No pause is longer: a bus that comes back is met within this time.
    steady_s: float = 30.0
    # A part that ran this long begins with the first pause again.
    ending_s: float = 20.0
    # Given to each part to end in good order; then it is cancelled, and that is logged.


@dataclasses.dataclass(slots=True)
class Part:
    """One part and how it is."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]  # ends when the event is set, or raises
    reasons: Callable[[], Sequence[str]] = lambda: ()  # while it runs: why it is not as it should be
    state: str = "waiting"  # waiting, running, pausing, ended, failed
    problem: str = ""  # why it pauses or has failed, one line
    restarts: int = 0

    def beat(self, state: str, problem: str = "") -> None:
        """Note how it is."""
        self.state, self.problem = state, " ".join(problem.split())


class Supervisor:
    """Runs parts until `stop`, or until one of them fails for good."""

    def __init__(self, parts: Sequence[Part], patience: Patience | None = None) -> None:
        self.parts = tuple(parts)
        self._patience = patience or Patience()
        self._ending = asyncio.Event()
        self._failed: BaseException | None = None

    def stop(self) -> None:
        """End all parts in good order, the last one started first. From the loop's thread."""
        self._ending.set()

    @property
    def ready(self) -> list[str]:
        """Why it is not: one line for each part that does not run; empty when all do."""
        lines = list[str]()
        for part in self.parts:
            if part.state == "running":
                lines += part.reasons()
            elif part.state != "ended":
                lines.append(f"{part.name}: {part.problem or part.state}")
        return lines

    async def run(self) -> None:
        """Until all have ended. Raises the error of a part that failed for good."""
        each = [asyncio.Event() for _ in self.parts]
        tasks = [
            asyncio.create_task(self._keep(part, told), name=part.name)
            for part, told in zip(self.parts, each, strict=True)
        ]
        await self._ending.wait()
        for part, told, task in reversed(list(zip(self.parts, each, tasks, strict=True))):
            told.set()
            await self._end(part, task)
        if self._failed is not None:
            raise self._failed

    async def run_until_signal(self) -> None:
        """`run`, ended in good order by SIGINT or SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        await self.run()

    async def _end(self, part: Part, task: asyncio.Task[None]) -> None:
        _done, late = await asyncio.wait([task], timeout=self._patience.ending_s)
        if late:
            _log.error("part did not end in time and is cancelled", part=part.name, after_s=self._patience.ending_s)
            await cancelled(task)

    async def _keep(self, part: Part, told: asyncio.Event) -> None:
        """Run it again and again until it is told to end."""
        pause_s, unexpected = self._patience.first_s, 0
        while not told.is_set():
            began = time.monotonic()
            part.beat("running")
            try:
                await part.run(told)
                break
            except (Retryable, ConnectionError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
            except LoomidiError as error:
                self._give_up(part, error)
                return
            except Exception as error:  # noqa: BLE001 - one part's fault must not take the others down unseen
                unexpected += 1
                problem = f"{type(error).__name__}: {error}"
                _log.error("part failed unexpectedly", part=part.name, problem=problem, exc_info=error)
                if unexpected >= _MOST_UNEXPECTED:
                    self._give_up(part, error)
                    return
            if time.monotonic() - began >= self._patience.steady_s:
                pause_s, unexpected = self._patience.first_s, 0
            pause_s = await self._pause(part, told, problem, pause_s)
        part.beat("ended")

    async def _pause(self, part: Part, told: asyncio.Event, problem: str, pause_s: float) -> float:
        """Wait, or be told to end; returns the next pause."""
        part.restarts += 1
        part.beat("pausing", problem)
        _log.warning("part is tried again", part=part.name, problem=part.problem, pause_s=pause_s)
        await told_within(told, pause_s)
        return min(pause_s * 2, self._patience.longest_s)

    def _give_up(self, part: Part, error: BaseException) -> None:
        part.beat("failed", str(error))
        _log.error("part failed for good, all parts end", part=part.name, problem=part.problem)
        self._failed = self._failed or error
        self._ending.set()
