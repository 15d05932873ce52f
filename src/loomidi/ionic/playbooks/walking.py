"""A run in progress: from the start step to an end, by the steps of CACAO v2.0 section 4.

Called by `running`. In: a run with its journal, what it may act with. Out: whether it came to an end without a failure
that nobody handled. Going on after a crash is walking again from the start: what ended is not done again, so the way is
the same one. Bounded: steps, rounds of a loop, depth of playbooks in playbooks, time. Doing is left to `commands`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.ionic.errors import BadPlaybook
from loomidi.ionic.playbooks.commands import Asked, Commands, Waiting, parsed
from loomidi.ionic.playbooks.conditions import read_condition
from loomidi.ionic.playbooks.hands import Outcome
from loomidi.ionic.playbooks.journals import Journal
from loomidi.ionic.playbooks.reading import Playbook
from loomidi.ionic.playbooks.variables import REFERENCE, Scope
from loomidi.kit.clock import Clock

_DONE = Outcome(True, "")
TIMEOUT = "ACTION_TIMEOUT"  # section 4.1


@dataclasses.dataclass(frozen=True, slots=True)
class RunLimits:
    """Beyond these a run has failed, and is taken back."""

    steps: int = 1000
    # Steps begun, each round of a loop counted: a playbook that needs more does not know what it does.
    rounds: int = 100
    # Rounds of one while-condition.
    depth: int = 8
    # Playbooks inside playbooks.
    seconds: float = 86_400.0
    # From the begin of the run, waiting for people included; folds end by themselves long before.


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where in the run we are."""

    book: Playbook
    scope: Scope
    trail: str  # keys of the steps that this lies in
    until_ns: int  # deadline of what this lies in
    within: tuple[str, ...]  # ids of the playbooks


class Walk:
    """One attempt to bring a run to its end."""

    def __init__(
        self, journal: Journal, commands: Commands, books: Mapping[str, Playbook], limits: RunLimits, clock: Clock
    ) -> None:
        self._journal, self._commands, self._books = journal, commands, books
        self._limits, self._clock = limits, clock
        self._steps = 0
        self._assumed: frozenset[str] = frozenset()
        self._dry = False
        self.failures: list[tuple[str, str]] = []  # key, why

    def whole(self, book: Playbook, scope: Scope, *, dry: bool, assumed: tuple[str, ...] = ()) -> bool:
        """From the start step. Raises Waiting. A failure that nobody handles calls workflow_exception, once."""
        self._dry, self._assumed = dry, frozenset(assumed)
        until_ns = self._journal.began_ns + round(self._limits.seconds * 1e9)
        place = Place(book, scope, "", until_ns, (book.id,))
        well = self._branch(place, str(book.document["workflow_start"]))
        if not well and "workflow_exception" in book.document:
            self._branch(dataclasses.replace(place, trail="exception/"), str(book.document["workflow_exception"]))
        return well

    def _branch(self, place: Place, first: str) -> bool:
        """Step after step to an end step, which is where a branch is over. False for a failure without on_failure."""
        at = first
        while (step := place.book.steps[at])["type"] != "end":
            outcome = self._step(place, at, step)
            onward = step.get("on_completion") or step.get("on_success")
            if not outcome.ok:
                onward = step.get("on_failure")
            if onward is None:
                return False
            at = str(onward)
        return True

    def _step(self, place: Place, key: str, step: Mapping[str, Any]) -> Outcome:
        """Steps, in this order: 1 bounds   2 delay   3 what its type says, within its time   4 on record"""
        here = place.trail + key
        # 1 bounds
        self._steps += 1
        if self._steps > self._limits.steps:
            return self._left(here, step, Outcome(False, f"more than {self._limits.steps} steps"))
        began_ns = self._journal.begun_ns(here)
        # 2 delay
        begins_ns = began_ns + int(step.get("delay", 0)) * 1_000_000
        until_ns = place.until_ns
        if "timeout" in step:
            until_ns = min(until_ns, begins_ns + int(step["timeout"]) * 1_000_000)
        scope = Scope(step.get("step_variables", {}), place.scope)
        inside = dataclasses.replace(place, scope=scope, trail=f"{here}/", until_ns=until_ns)
        self._wait(min(begins_ns, place.until_ns))
        if begins_ns > place.until_ns:
            return self._left(here, step, Outcome(False, f"{TIMEOUT}: its delay is longer than the time that there is"))
        # 3 its type
        try:
            outcome = self._by_type(inside, key, step)
        except BadPlaybook as error:
            outcome = Outcome(False, str(error))
        # 4 on record
        return self._left(here, step, outcome)

    def _wait(self, until_ns: int) -> None:
        """Let the time pass. A dry run tells of a delay and does not wait."""
        left_s = (until_ns - self._clock.now_ns()) / 1e9
        if left_s > 0 and not self._dry:
            self._clock.sleep(left_s)

    def _left(self, here: str, step: Mapping[str, Any], outcome: Outcome) -> Outcome:
        if not outcome.ok:
            self.failures.append((here, outcome.why))
        if self._journal.last(here, "left") is None:
            name = str(step.get("name", step["type"]))
            self._journal.note(here, "left", {"ok": outcome.ok, "why": outcome.why, "name": name})
        return outcome

    def _by_type(self, inside: Place, key: str, step: Mapping[str, Any]) -> Outcome:
        kind = step["type"]
        if kind == "action":
            return self._action(inside, key, step)
        if kind == "playbook-action":
            return self._playbook(inside, step)
        if kind == "parallel":
            return self._parallel(inside, step)
        if kind == "if-condition":
            return self._if(inside, step)
        if kind == "while-condition":
            return self._while(inside, step)
        return self._switch(inside, step) if kind == "switch-condition" else _DONE

    # -- section 4.5 ----------------------------------------------------------------------

    def _action(self, inside: Place, key: str, step: Mapping[str, Any]) -> Outcome:
        """Its commands in their order, until one fails. What they return goes to the variables of out_args."""
        if key in self._assumed:
            return Outcome(False, "dry run: assumed to fail")
        outputs: dict[str, str] = {}
        for number, command in enumerate(step["commands"]):
            mark = f"{inside.trail.removesuffix('/')}#{number}"
            if self._clock.now_ns() >= inside.until_ns and self._journal.last(mark, "ended") is None:
                return Outcome(False, f"{TIMEOUT}: {key}")
            outcome = self._commands.do(Asked(inside.scope.filled(parsed(command)), mark, self._targets(inside, step)))
            if not outcome.ok:
                return outcome
            outputs |= outcome.outputs
        return self._returned(inside, step, outputs)

    def _targets(self, inside: Place, step: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        defined = inside.book.document.get("target_definitions", {})
        return tuple(inside.scope.filled(defined[name]) for name in step.get("targets", ()))

    def _returned(self, inside: Place, step: Mapping[str, Any], outputs: Mapping[str, str | None]) -> Outcome:
        for name in step.get("out_args", ()):
            if name not in outputs:
                return Outcome(
                    False, f"{name} is returned by nothing in this step; there are: {', '.join(sorted(outputs))}"
                )
            inside.scope.put(name, outputs[name])
        return _DONE

    # -- section 4.6 ----------------------------------------------------------------------

    def _playbook(self, inside: Place, step: Mapping[str, Any]) -> Outcome:
        book = self._books.get(str(step["playbook_id"]))
        if book is None:
            return Outcome(False, f"there is no playbook {step['playbook_id']} in the library; add it")
        if "playbook_version" in step and step["playbook_version"] != book.version:
            return Outcome(
                False, f"{book.name} is there in version {book.version}, asked for {step['playbook_version']}"
            )
        if book.id in inside.within or len(inside.within) >= self._limits.depth:
            return Outcome(False, f"{book.name}: playbooks call each other without end")
        arguments = {name: inside.scope.value(name) for name in step.get("in_args", ())}
        scope = bound(book, {name: value for name, value in arguments.items() if value is not None})
        place = dataclasses.replace(inside, book=book, scope=scope, within=(*inside.within, book.id))
        if not self._branch(place, str(book.document["workflow_start"])):
            return Outcome(False, f"{book.name} failed")
        return self._returned(inside, step, {name: scope.value(name) for name in book.variables})

    # -- sections 4.7 to 4.10 ----------------------------------------------------------------------

    def _parallel(self, inside: Place, step: Mapping[str, Any]) -> Outcome:
        """Every branch to its end, also when one fails or waits; well when all are. One after the other in time."""
        failed, waits = [], []
        for number, first in enumerate(step["next_steps"]):
            try:
                if not self._branch(dataclasses.replace(inside, trail=f"{inside.trail}{number}/"), first):
                    failed.append(first)
            except Waiting as waiting:
                waits.append(waiting)
        if waits:
            raise waits[0]
        return Outcome(not failed, f"branches failed: {', '.join(failed)}" if failed else "")

    def _if(self, inside: Place, step: Mapping[str, Any]) -> Outcome:
        taken = "on_true" if read_condition(step["condition"]).holds(inside.scope) else "on_false"
        return self._inner(inside, taken, step[taken]) if taken in step else _DONE

    def _while(self, inside: Place, step: Mapping[str, Any]) -> Outcome:
        condition = read_condition(step["condition"])
        for number in range(self._limits.rounds):
            if not condition.holds(inside.scope):
                return _DONE
            if self._clock.now_ns() >= inside.until_ns:
                return Outcome(False, f"{TIMEOUT}: in round {number + 1}")
            outcome = self._inner(inside, f"round{number + 1}", step["on_true"])
            if not outcome.ok:
                return outcome
        over = not condition.holds(inside.scope)
        return _DONE if over else Outcome(False, f"the condition still holds after {self._limits.rounds} rounds")

    def _switch(self, inside: Place, step: Mapping[str, Any]) -> Outcome:
        found = REFERENCE.fullmatch(step["switch"])
        value = inside.scope.value(found[1]) if found else None
        if value is None:
            return Outcome(False, f"{step['switch']} has no value, so no case is its")
        case = value if value in step["cases"] else "default"
        if case not in step["cases"]:
            return Outcome(False, f"no case for {value!r}, and no default")
        return self._inner(inside, f"case-{case}", step["cases"][case])

    def _inner(self, inside: Place, name: str, first: str) -> Outcome:
        well = self._branch(dataclasses.replace(inside, trail=f"{inside.trail}{name}/"), first)
        return _DONE if well else Outcome(False, f"its branch {name} failed")


def bound(book: Playbook, arguments: Mapping[str, str], offered: Mapping[str, str] | None = None) -> Scope:
    """The playbook's variables with their values. `offered`: taken where a variable is external and nobody said.

    Raises BadPlaybook for an argument that is no external variable (section 10.18), or that its type cannot be.
    """
    scope = Scope(book.variables)
    external = {name for name, one in book.variables.items() if one.get("external") is True}
    for name, value in {**{k: v for k, v in (offered or {}).items() if k in external}, **arguments}.items():
        if name not in external:
            raise BadPlaybook.of(
                "", f"{name} is no external variable of {book.name}; there are: {', '.join(external) or 'none'}"
            )
        scope.put(name, value)
    return scope
