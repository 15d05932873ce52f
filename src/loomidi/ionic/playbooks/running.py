"""Running playbooks: begun, broken off, gone on with, answered by people, taken back.

Called by `services.playing`. In: a playbook, a finding, values. Out: a `Report`. A run is dry unless somebody says
otherwise and the mode acts at all. A run that fails is taken back, plan by plan; one that a crash broke off goes on
where it was or is taken back, never half forgotten. Steps are left to `walking`, storing to `runs`.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Finding, InputError, Mode, UsageError, content_id
from loomidi.ionic.documents import read_record
from loomidi.ionic.errors import BadPlaybook, NotActing, RunHeld
from loomidi.ionic.playbooks import vocabulary
from loomidi.ionic.playbooks.commands import Commands, Waiting
from loomidi.ionic.playbooks.findings import bindings
from loomidi.ionic.playbooks.hands import Hands, Outcome
from loomidi.ionic.playbooks.journals import Journal
from loomidi.ionic.playbooks.reading import Playbook, taken
from loomidi.ionic.playbooks.runs import Entry, MemoryRuns, Run, Runs
from loomidi.ionic.playbooks.walking import RunLimits, Walk, bound
from loomidi.kit.clock import Clock, SystemClock

STATES = ("running", "waiting", "completed", "failed", "undone", "stuck")
OVER = frozenset({"completed", "failed", "undone"})  # nothing is open: `stuck` has plans that could not be taken back


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What became of a run so far."""

    run: Run
    state: str
    why: str
    entries: tuple[Entry, ...]

    @property
    def folds(self) -> tuple[Mapping[str, Any], ...]:
        """The folds that were planned, in their order, as documents; also those that were refused or did not hold."""
        return tuple(fold for fold, _ in self.planned)

    @property
    def planned(self) -> tuple[tuple[Mapping[str, Any], bool], ...]:
        """The same, each with whether the guards allow it (in a dry run) or it came into force."""
        ended = [entry.detail for entry in self.entries if entry.event == "ended"]
        return tuple(
            (detail["told"]["fold"], bool(detail["ok"])) for detail in ended if "fold" in detail.get("told", {})
        )

    @property
    def steps(self) -> tuple[tuple[str, bool, str], ...]:
        """(place, ok, why) of every step that was left, in their order."""
        return tuple((e.key, bool(e.detail["ok"]), str(e.detail["why"])) for e in self.entries if e.event == "left")

    @property
    def waits(self) -> tuple[tuple[str, str], ...]:
        """(place, what is asked) that nobody has answered yet."""
        return tuple((entry.key, str(entry.detail["why"])) for entry in self.unanswered)

    @property
    def unanswered(self) -> tuple[Entry, ...]:
        """The same as they were written down: an answer is bound to `mark`."""
        answered = {(entry.key, entry.detail["mark"]) for entry in self.entries if entry.event == "answered"}
        waits = [entry for entry in self.entries if entry.event == "waits"]
        return tuple(entry for entry in waits if (entry.key, entry.detail["mark"]) not in answered)


class Runner:
    """Runs playbooks with the hands that it was given."""

    def __init__(
        self,
        hands: Hands,
        runs: Runs | None = None,
        books: Iterable[Playbook] = (),
        *,
        limits: RunLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`books`: what playbook-action steps may call. Without `runs`, they are kept in memory: dry runs only."""
        self._clock = clock or SystemClock()
        self._hands, self._limits = hands, limits or RunLimits()
        self._durable = runs is not None
        self._runs: Runs = runs if runs is not None else MemoryRuns(clock=self._clock)
        self._books = {book.id: book for book in books}

    def start(
        self,
        book: Playbook,
        finding: Finding | None = None,
        arguments: Mapping[str, str] | None = None,
        *,
        dry: bool = True,
        assumed: Sequence[str] = (),
    ) -> Report:
        """A new run. Raises NotActing where it may not act, BadPlaybook for arguments that do not fit."""
        if not dry:
            self._may_act(book)
            if assumed:
                raise UsageError("steps are assumed to fail in a dry run only")
        if unknown := [key for key in assumed if key not in book.steps]:
            raise InputError(f"{book.name} has no step {unknown[0]}; its steps: {', '.join(book.steps)}")
        began_ns = self._clock.now_ns()
        plain = finding.as_dict() if finding is not None else None
        given = dict(arguments or {})
        bound(book, given, bindings(finding) if finding is not None else {})  # before anything is written
        asked = {"playbook": book.document, "finding": plain, "arguments": given, "dry": dry, "assumed": list(assumed)}
        run_id = content_id("run", asked | {"began_ns": began_ns})
        run = Run(run_id, book.document, plain, given, dry, began_ns, tuple(assumed))
        self._runs.begin(run)
        return self._on(run)

    def resume(self, run_id: str) -> Report:
        """Go on with a run that a crash broke off, or whose question was answered. One that is over stays over."""
        run = self._runs.run(run_id)
        report = self.report(run_id)
        return report if report.state in (*OVER, "stuck") else self._on(run)

    def answer(self, run_id: str, key: str, by: str, *, yes: bool) -> Report:
        """A person's answer to what a run waits for; then it goes on. Raises RunHeld when it waits for nothing such."""
        asked = {entry.key: entry for entry in self.report(run_id).unanswered}
        if key not in asked:
            raise RunHeld(f"{run_id} does not wait at {key!r}; it waits at: {', '.join(asked) or 'nothing'}")
        if not by.strip():
            raise UsageError("an answer has a name; say who answers")
        self._runs.note(run_id, key, "answered", {"by": by, "yes": yes, "mark": asked[key].detail["mark"]})
        return self.resume(run_id)

    def take_back(self, run_id: str, why: str = "asked to") -> Report:
        """Every plan of the run, whatever its state; again where it did not work the last time."""
        run = self._runs.run(run_id)
        journal = Journal(self._runs, run)
        outcome = self._taken_back(run, journal, why)
        self._state(journal, "undone" if outcome.ok else "stuck", outcome.why)
        return self.report(run_id)

    def recover(self, *, go_on: bool = False) -> list[Report]:
        """Settle every run that a crash has left running: taken back, or gone on with."""
        left = [run.id for run in self._runs.all() if self.report(run.id).state == "running"]
        return [self.resume(run_id) if go_on else self.take_back(run_id, "found after a restart") for run_id in left]

    def report(self, run_id: str) -> Report:
        """As it is on record."""
        return told(self._runs, run_id)

    # -- inside ----------------------------------------------------------------------

    def _may_act(self, book: Playbook) -> None:
        mode = self._hands.decider.settings.mode
        if mode is Mode.SHADOW or self._hands.engine is None:
            raise NotActing(f"mode {mode.value} touches nothing; a run for real takes another mode and a driver")
        if not self._durable or self._hands.receipts is None:
            raise NotActing("a run for real takes a state folder: it must outlive this process")
        if book.document.get("revoked") is True:
            raise NotActing(f"{book.name} was revoked by who made it")
        now_s = self._clock.now_ns() / 1e9
        first, last = (vocabulary.parsed(book.document.get(name, "")) for name in ("valid_from", "valid_until"))
        if (first and now_s < first.timestamp()) or (last and now_s >= last.timestamp()):
            raise NotActing(f"{book.name} is valid from {first or 'ever'} until {last or 'ever'}, and not now")

    def _on(self, run: Run) -> Report:
        book = taken(run.playbook)
        journal = Journal(self._runs, run)
        if journal.all():
            self._state(journal, "running", "gone on with")
        commands = self._commands(run, journal)
        walk = Walk(journal, commands, self._books, self._limits, self._clock)
        offered = bindings(_finding(run)) if run.finding is not None else {}  # type: ignore[arg-type]
        try:
            well = walk.whole(book, bound(book, run.arguments, offered), dry=run.dry, assumed=run.assumed)
        except Waiting as waiting:
            self._state(journal, "waiting", waiting.why)
            return self.report(run.id)
        if well:
            self._state(journal, "completed", "")
            return self.report(run.id)
        key, why = walk.failures[-1] if walk.failures else ("", "it did not reach an end step")
        outcome = self._taken_back(run, journal, f"the run failed at {key}")
        self._state(journal, "failed" if outcome.ok else "stuck", f"{key}: {why}; {outcome.why}")
        return self.report(run.id)

    def _commands(self, run: Run, journal: Journal) -> Commands:
        return Commands(self._hands, journal, _finding(run), dry=run.dry)

    def _taken_back(self, run: Run, journal: Journal, why: str) -> Outcome:
        commands = self._commands(run, journal)
        if run.dry:
            return Outcome(True, "dry run: nothing was done")
        if self._hands.engine is None or self._hands.receipts is None:
            raise NotActing(f"{run.id} was for real: taking it back takes the driver that it acted with")
        return commands.taken_back(commands.plans(), why)

    def _state(self, journal: Journal, state: str, why: str) -> None:
        journal.note("", state, {"why": why})


def told(runs: Runs, run_id: str) -> Report:
    """A run as it is on record, without anything to act with."""
    run, entries = runs.run(run_id), tuple(runs.entries(run_id))
    last = next((entry for entry in reversed(entries) if not entry.key), None)
    return Report(run, last.event if last else "running", str(last.detail["why"]) if last else "", entries)


def _finding(run: Run) -> Finding | None:
    if run.finding is None:
        return None
    try:
        return read_record(Finding, run.finding, "finding")
    except InputError as error:
        raise BadPlaybook.of("", f"the run's finding cannot be read: {error}") from error
