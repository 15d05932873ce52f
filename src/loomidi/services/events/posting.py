"""One sink's worker: takes from the queue, sends, and decides what becomes of what was not taken.

Called by `telling`, on a thread for each sink, so that none waits for another. In: an outbox, a sink. Out: letters at
the receiver at least once, in their order. Steps of a round, in this order:

    1 take the oldest   2 send   3 taken: note it, go on   4 not now: wait longer each time, bury what is too old
    5 never: send one by one until the letter is known, bury it, go on
"""

import random
import threading
import time
from collections.abc import Callable, Sequence

from loomidi.contracts import InputError
from loomidi.kit import logging
from loomidi.loom.sinks import Away, Sink, Undeliverable
from loomidi.services.events.outbox import Outbox, Waiting
from loomidi.services.events.settings import EventSettings

_log = logging.logger("services.events")
_IDLE_S = 1.0  # between two looks at a queue that nobody in this process has added to
_MOST_DOUBLINGS = 30


class Posting:
    """One sink's."""

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        settings: EventSettings,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sink, self._outbox, self._settings = sink, outbox, settings
        self._now_ns, self._chance = now_ns, chance
        self._awake = threading.Event()
        self._failures = 0  # in a row
        self._singly = 0  # letters to be sent one by one, because one among them is refused
        self.problem = ""  # why the sink takes nothing, while it does not

    def wake(self) -> None:
        """Something has come, or it is time to end."""
        self._awake.set()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, then close the sink."""
        while not stop.is_set():
            try:
                pause_s = self.round()
            except Exception as error:  # noqa: BLE001 - the queue itself, as on a full disk: a worker never ends unseen
                self.problem = f"{type(error).__name__}: {error}"
                _log.warning("the queue of events cannot be used, it is tried again", cause=self.problem)
                pause_s = self._longer(0.0)
            if pause_s:
                self._awake.clear()
                self._sleep(stop, pause_s)
        self.sink.close()

    def _sleep(self, stop: threading.Event, pause_s: float) -> None:
        """A queue that was empty is looked at when something comes; a sink that is away is left alone for the pause."""
        if self.problem:
            stop.wait(pause_s)
        else:
            self._awake.wait(pause_s)

    def round(self) -> float:
        """One batch; how long to wait before the next, in seconds."""
        # 1 take
        waiting = self._outbox.head(self.sink.name, 1 if self._singly else self.sink.most)
        if not waiting:
            return _IDLE_S
        # 2 send
        try:
            self.sink.send([one.letter for one in waiting])
        except Undeliverable as error:
            return self._refused(waiting, error.reason, str(error))
        except Away as error:
            return self._away(waiting, error.reason, str(error), error.after_s)
        except InputError as error:
            return self._away(waiting, "settings", str(error))
        except Exception as error:  # noqa: BLE001 - one sink's fault must not end its queue unseen
            return self._away(waiting, "fault", f"{type(error).__name__}: {error}")
        # 3 taken
        self._outbox.sent(self.sink.name, _positions(waiting))
        self._failures, self.problem = 0, ""
        self._singly = max(0, self._singly - 1)
        return 0.0

    def _away(self, waiting: Sequence[Waiting], reason: str, why: str, after_s: float = 0.0) -> float:
        # 4 not now
        if not self.problem:
            _log.warning("a sink of events takes nothing", sink=self.sink.name, cause=why)
        self.problem = why
        oldest_ns = self._now_ns() - round(self._settings.give_up_s * 1e9)
        old = [one for one in waiting if one.queued_ns <= oldest_ns]
        young = [one for one in waiting if one.queued_ns > oldest_ns]
        if old:
            self._outbox.bury(self.sink.name, _positions(old), f"gave_up_{reason}")
        if young:
            self._outbox.tried(self.sink.name, _positions(young), reason)
        return self._longer(after_s)

    def _refused(self, waiting: Sequence[Waiting], reason: str, why: str) -> float:
        # 5 never
        self.problem = ""
        if len(waiting) > 1:
            self._singly = len(waiting)
            return 0.0
        _log.warning(
            "a sink refuses an event: a dead letter", sink=self.sink.name, letter=waiting[0].letter.id, cause=why
        )
        self._outbox.bury(self.sink.name, _positions(waiting), reason)
        self._singly = max(0, self._singly - 1)
        return 0.0

    def _longer(self, after_s: float) -> float:
        """Twice the last pause, at most the longest, shortened by chance to a half at most: sinks do not march."""
        doubled = self._settings.first_s * 2.0 ** min(self._failures, _MOST_DOUBLINGS)
        self._failures += 1
        return max(after_s, min(doubled, self._settings.longest_s) * (0.5 + 0.5 * self._chance()))


def _positions(waiting: Sequence[Waiting]) -> list[int]:
    return [one.position for one in waiting]
