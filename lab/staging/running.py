"""Run a drawn scenario on a lab: set up, start on time, act, look for its symptoms, take everything back.

Called by the commands, the recorder and the fixtures. In: lab, `Drawn`, observer, the planned start. Out: `Occurrence`.
What a scenario does wrong makes the run void, with the reason. Being ended (an event that the caller sets, or Ctrl-C)
and faults of our own take back first, then rise. Steps run in a thread of their own: the caller's looks around.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from loomidi.contracts.errors import EnvironmentLacks, LoomidiError, Retryable
from loomidi_lab.staging import steps, symptoms
from loomidi_lab.staging.observing import Observer, metering
from loomidi_lab.staging.records import Drawn, Occurrence, SymptomResult
from loomidi_lab.staging.stages import RunEnded, Shop, Stage
from loomidi_lab.staging.sweeping import sweep
from loomidi_lab.staging.users import user_load

if TYPE_CHECKING:
    from loomidi_lab.cluster import Lab

_LOOK_S = 1.0
_POLL_S = 0.1  # how soon an end that is wanted is noticed
_OVERTIME_S = 60.0  # beyond twice the planned duration an act is given up


def run(
    lab: "Lab",
    drawn: Drawn,
    *,
    at: float | None = None,
    observer: Observer | None = None,
    shop: Shop | None = None,
    say: Callable[[str], object] = lambda _text: None,
    ending: threading.Event | None = None,
    linger: Callable[[], object] = lambda: None,
) -> Occurrence:
    """One run. `at`: planned start of the act on `time.monotonic`; None: as soon as it is set up. `linger` is called
    once the act is over, while all that it was made of is still there.

    Without an observer the lab's links are metered for this run; without a shop users come where the scenario needs
    them. Raises EnvironmentLacks when the lab has not what the scenario needs; then nothing was begun. Raises RunEnded
    when `ending` is set before all is over; then everything is taken back.
    """
    check_needs(lab, drawn)
    ending = ending or threading.Event()
    with ExitStack() as stack:
        if observer is None:
            observer = Observer(lab)
            stack.enter_context(metering(observer))
        if shop is None and drawn.scenario.needs.get("load"):
            shop = stack.enter_context(user_load(lab, drawn.seed, ending, say))
        return _run(Stage(lab, drawn, observer, shop, ending), at, say, linger)


def _run(stage: Stage, at: float | None, say: Callable[[str], object], linger: Callable[[], object]) -> Occurrence:
    for leftover in sweep(stage.lab):
        say(f"swept: {leftover}")
    stage.say = say
    play = _Play(stage)
    try:
        play.set_up()
        play.act(at)
        linger()
    except RunEnded:
        raise
    except LoomidiError as error:
        play.void = str(error)
    finally:
        play.clear_up()
    return play.occurrence()


def check_needs(lab: "Lab", drawn: Drawn) -> None:
    """Raises EnvironmentLacks for a network, a number of nodes or a shop that is not there, or a part that ended."""
    needs, name = drawn.scenario.needs, drawn.scenario.name
    if dead := lab.dead():
        ended = f"not running: {', '.join(dead)}; see `loomidi-lab restart -h`"
        raise EnvironmentLacks(f"{name} needs the whole lab; {ended}")
    if lab.network not in needs.get("network", (lab.network,)):
        wanted = " or ".join(needs["network"])
        raise EnvironmentLacks(f"{name} needs a lab with network {wanted}; run: loomidi-lab up --network {wanted}")
    if len(lab.nodes) < needs.get("nodes", 1):
        raise EnvironmentLacks(f"{name} needs {needs['nodes']} nodes; run: loomidi-lab up --nodes {needs['nodes']}")
    if needs["shop"] and not lab.api.exists("/apis/apps/v1/namespaces/shop/deployments/frontend"):
        raise EnvironmentLacks(f"{name} needs the shop; run: loomidi-lab shop deploy")


class _Play:
    """The phases of one run, in their order."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.void, self.jitter_ns = stage, "", 0
        self.watches = [_Watch(written) for written in stage.drawn.symptoms]
        self.sources: list[dict[str, Any]] = []
        self.victims: list[dict[str, Any]] = []
        self._failed: list[Exception] = []

    def set_up(self) -> None:
        """Before the clock starts."""
        self.stage.say("setting up")
        self._wait_for(self._begin(self._prepare))
        self._raise_failure()

    def _prepare(self) -> None:
        steps.perform_all(self.stage, self.stage.drawn.phases["setup"])
        for watch in self.watches:
            self.stage.check()
            watch.prepare(self.stage)

    def _begin(self, work: Callable[[], None]) -> threading.Thread:
        """In a thread of its own, so that this one can look for symptoms and for the wish to end."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which raises it
                self._failed.append(error)

        return self.stage.beside(guarded)

    def _raise_failure(self) -> None:
        self.stage.check()  # first: a step fails when what it waits for is being ended
        if self._failed:
            raise self._failed[0]

    def act(self, at: float | None) -> None:
        """Start on time, look for symptoms while it lasts and for a while after."""
        stage, drawn = self.stage, self.stage.drawn
        first = next(iter(drawn.phases["act"][0]))
        lead_s = steps.LEAD_S.get(first, 0.0)
        begin = max(time.monotonic() + lead_s, at if at is not None else 0.0)
        self.jitter_ns = int((begin - at) * 1e9) if at is not None else 0
        planned_ns = time.time_ns() + int((begin - time.monotonic()) * 1e9)
        stage.say(f"acting in {max(0.0, begin - time.monotonic()):.1f} s, for about {drawn.duration_s:.0f} s")
        stage.start_ns = planned_ns
        early_s = steps.EARLIEST_S if lead_s else 0.0  # where there is time, a busy machine may take longer to start it
        stage.pause(max(0.0, begin - early_s - time.monotonic()))
        if lead_s:
            stage.begin_ns = planned_ns
        else:
            stage.start_ns = stage.began_ns = time.time_ns()
        self._look(self._begin(self._steps), begin)
        stage.start_ns = stage.began_ns or planned_ns
        self.jitter_ns += stage.start_ns - planned_ns
        self._judge()

    def _steps(self) -> None:
        for step in self.stage.drawn.phases["act"]:
            self.stage.check()
            if self.stage.stopping.is_set() or self.stage.undoing:
                return
            steps.perform(self.stage, step)
        self.stage.join()

    def _look(self, worker: threading.Thread, begin: float) -> None:
        stage = self.stage
        give_up = begin + 2 * stage.drawn.duration_s + _OVERTIME_S
        while worker.is_alive():
            self._wait_for(worker, _LOOK_S)
            self._measure([watch for watch in self.watches if not watch.final])
            if time.monotonic() > give_up:
                raise Retryable(f"the act did not end within {give_up - begin:.0f} s")
        stage.end_ns = time.time_ns()
        self._raise_failure()
        for measured in ("sources", "victims"):
            getattr(self, measured).extend(map(stage.lookup.measured, getattr(stage.drawn, measured)))
        end = time.monotonic()
        while True:
            waiting = [watch for watch in self.watches if watch.open(time.monotonic() - end - stage.observer.lag_s)]
            if not waiting:
                return
            stage.pause(_LOOK_S)
            self._measure(waiting)
            self._raise_failure()

    def _measure(self, watches: Sequence["_Watch"]) -> None:
        """Beside, too: what is asked may take its time to answer."""

        def look() -> None:
            for watch in watches:
                self.stage.check()
                watch.look(self.stage)

        self._wait_for(self._begin(look))

    def _wait_for(self, worker: threading.Thread, seconds: float = math.inf) -> None:
        until = time.monotonic() + seconds
        while worker.is_alive() and time.monotonic() < until:
            self.stage.check()
            worker.join(_POLL_S)

    def _judge(self) -> None:
        missed = [watch for watch in self.watches if not watch.result.confirmed]
        if missed:
            what = "; ".join(f"{watch.result.name}: {watch.told()}" for watch in missed)
            raise Retryable(f"symptom not confirmed: {what}")

    def clear_up(self) -> None:
        """Always: the scenario's own undo, then everything remembered, last first."""
        stage = self.stage
        stage.say("undoing")
        stage.end_ns = stage.end_ns or time.time_ns()
        stage.start_ns = stage.start_ns or stage.end_ns  # it never began
        stage.begin_undo()
        failures = []
        for step in stage.drawn.phases["undo"]:
            try:
                steps.perform(stage, step)
            except LoomidiError as error:
                failures.append(str(error))
        failures += stage.take_back()
        if failures:
            left = f"not all could be undone: {'; '.join(failures)}"
            self.void = self.void or left
            stage.say(left)

    def occurrence(self) -> Occurrence:
        """What became of it."""
        stage = self.stage
        return Occurrence(
            drawn=stage.drawn,
            start_ns=stage.start_ns,
            end_ns=stage.end_ns,
            jitter_ns=self.jitter_ns,
            sources=tuple(self.sources),
            victims=tuple(self.victims),
            symptoms=tuple(watch.result for watch in self.watches),
            void_because=self.void,
            flows=stage.observer.flow_count(stage.start_ns) if stage.start_ns else 0,
        )


class _Watch:
    """One symptom over the time of a run. Confirmed once is confirmed, unless it is only judged at the end."""

    def __init__(self, written: Any) -> None:
        self._symptom = symptoms.make(written)
        self._within_s = symptoms.within_s(written)
        self._trouble = ""
        self.final = self._symptom.final
        self.result = SymptomResult(written["name"], False, 0.0, self._symptom.wanted, 0)

    def prepare(self, stage: Stage) -> None:
        """Baselines."""
        self._symptom.prepare(stage)

    def open(self, after_s: float) -> bool:
        """Whether it is worth looking again, that long after the act (and the meter's own delay)."""
        if self.final:
            return after_s < min(self._within_s, 2.0) or (not self.result.confirmed and after_s < self._within_s)
        return not self.result.confirmed and after_s < self._within_s

    def look(self, stage: Stage) -> None:
        """Measure once more."""
        if self.result.confirmed and not self.final:
            return
        try:
            seen = self._symptom.measure(stage)
        except LoomidiError as error:
            self._trouble = str(error)
            return
        self._trouble = ""
        old = self.result
        unanswered = old.unanswered + seen.unanswered
        self.result = SymptomResult(old.name, seen.confirmed, seen.value, old.wanted, time.time_ns(), unanswered)
        if seen.confirmed and not old.confirmed:
            stage.say(f"confirmed: {old.name} ({_figure(seen.value)}, wanted {old.wanted})")

    def told(self) -> str:
        """What was seen instead."""
        missing = f" ({self.result.unanswered} times a pod did not answer)" if self.result.unanswered else ""
        return self._trouble or f"{_figure(self.result.value)}, wanted {self.result.wanted}{missing}"


def _figure(value: float | str) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else value
