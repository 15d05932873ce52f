"""Bringing a policy into force, and taking it back: each change written down with its inverse before it is made.

Called by `services.policy_api`, from one thread at a time. In: policies that have been read. Out: where they stand. A
process that is killed anywhere leaves a begun step behind; `settle` takes it back at the next start, so that what the
engines hold and what the shelf says are the same again. One that was killed has answered nobody: handing the policy
in again is always right.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from loomidi.contracts import InputError, LoomidiError
from loomidi.ionic.errors import EngineAway, PolicyHeld, PolicyNotInForce
from loomidi.ionic.policies.engines import Engine
from loomidi.ionic.policies.judging import Judge
from loomidi.ionic.policies.reading import read_policy, verdict_rules
from loomidi.ionic.policies.records import Policy, PolicyType, Shadow, Standing, Step, Version
from loomidi.ionic.policies.shelves import Shelf
from loomidi.kit import logging
from loomidi.kit.clock import Clock, SystemClock

_log = logging.logger("ionic.policies")

# Where a crash is tested: `fault` is called with each of these names as a change passes.
FAULTS = (
    "judged",
    "version_stored",
    "inverse_known",
    "step_stored",
    "applied_unverified",
    "verified_unrecorded",
    "recorded",
    "undone_unrecorded",
)
_PAUSE_NS = 300 * 1_000_000_000  # before an engine is given again what it did not take
_LOOK_S = 0.1  # between two questions to an engine whether a policy is in force


@dataclasses.dataclass(frozen=True, slots=True)
class Asker:
    """Who wants a change, and why."""

    author: str  # `local`, or the fingerprint of a token
    decision: str = ""  # id of the decision that asked for it


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """Where a policy stands, asked of the engine just now."""

    standing: Standing
    version: Version | None  # in force; else the last one that was handed in
    reasons: tuple[str, ...] = ()
    last: Step | None = None


class Deployer:
    """Changes one engine for each type of policy."""

    def __init__(
        self,
        shelf: Shelf,
        judge: Judge,
        engines: Mapping[PolicyType, Engine],
        *,
        verify_s: float = 15.0,
        clock: Clock | None = None,
        fault: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`engines`: a type without one stays in shadow. `verify_s`: how long an engine may take to follow."""
        self._shelf, self._judge, self._engines = shelf, judge, engines
        self._verify_s, self._clock, self._fault = verify_s, clock or SystemClock(), fault
        self._turn = threading.RLock()
        self._not_before_ns: dict[str, int] = {}  # name -> when it is given again at the earliest
        self._packages: Mapping[str, tuple[str, tuple[str, ...]]] | None = None  # None: to be looked up

    def deploy(self, policy: Policy, asker: Asker) -> tuple[Version, bool]:
        """The version, and whether nothing had to be changed. Steps, in this order:

        1 nothing of this name is half done   2 the same text in force: only the decision is added   3 judge in shadow
        4 store the version   5 bring it into force, where there is an engine
        """
        with self._turn:
            self._check_settled(policy.name)  # 1
            current = self._current(policy.name)
            if current is not None and current.digest == policy.digest and not self._lacking(policy):  # 2
                return self._shelf.add(policy, _NO_SHADOW, asker.author, asker.decision), True
            known = any(version.digest == policy.digest for version in self._shelf.versions(policy.name))
            shadow = self._judge.judge(policy)  # 3
            self._fault("judged")
            version = self._shelf.add(policy, shadow, asker.author, asker.decision)  # 4
            self._fault("version_stored")
            if policy.type not in self._engines:
                return version, known
            self._change(policy, version.number, asker)  # 5
            return version, False

    def rollback(self, name: str, to: int | None, asker: Asker) -> int:
        """To a version, default the one in force before; 0 takes it out of force. Returns the version in force then."""
        with self._turn:
            self._check_settled(name)
            current = self._shelf.in_force(name)
            if not current and not to:
                raise PolicyHeld(f"{name} is not in force, there is nothing to take back; name a version to go to")
            target = self._before(name, current) if to is None else to
            if target == current:
                return current
            policy = self._policy(name, target or current)
            if policy.type not in self._engines:
                kind = policy.type.value
                raise PolicyHeld(f"no engine for {kind} is configured here: {name} is in shadow only, and stays there")
            if target and target not in self._once_in_force(name):
                self._judge.judge(policy)
            self._change(policy, target, asker)
            return target

    def status(self, name: str) -> Status | None:
        """None for a name that is not known."""
        versions = self._shelf.versions(name)
        if not versions:
            return None
        steps = self._shelf.steps(name)
        last = steps[-1] if steps else None
        number = self._shelf.in_force(name)
        shown = next((one for one in versions if one.number == number), versions[-1])
        if last is not None and last.state == "begun":
            return Status(Standing.ERROR, shown, ("a change is under way, or was broken off and is taken back",), last)
        if number:
            lacking = tuple(self._lacking_told(self._policy(name, number)))
            return Status(Standing.ERROR if lacking else Standing.ACTIVE, shown, lacking, last)
        if last is not None and last.state == "undone":
            return Status(Standing.ERROR, shown, last.reasons, last)
        why = "out of force" if last else f"in shadow only: no engine for {shown.type.value} is configured here"
        return Status(Standing.INACTIVE, shown, (why,), last)

    def packages(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Of the Rego policies in force: package with slashes -> name, and the rules that give verdicts."""
        if self._packages is None:
            found = [
                self._policy(name, number) for name in self._shelf.names() if (number := self._shelf.in_force(name))
            ]
            self._packages = {
                policy.package.replace(".", "/"): (policy.name, verdict_rules(policy.content))
                for policy in found
                if policy.type is PolicyType.REGO
            }
        return self._packages

    def tend(self) -> list[str]:
        """Give engines that forget what is in force and not there; what somebody changed is left, and told as Error.

        What an engine does not take again is left for a while. Raises EngineAway, with the others not looked at.
        """
        given = []
        for name in self._shelf.names():
            with self._turn:
                try:
                    given += [name] if self._given_again(name) else []
                except EngineAway:
                    raise
                except LoomidiError as error:
                    _log.warning(
                        "a policy in force was forgotten and is not taken again", name=name, problem=str(error)
                    )
                    self._not_before_ns[name] = self._clock.now_ns() + _PAUSE_NS
        return given

    def _given_again(self, name: str) -> bool:
        number = self._shelf.in_force(name)
        if not number or self._clock.now_ns() < self._not_before_ns.get(name, 0):
            return False
        policy = self._policy(name, number)
        engine = self._engines.get(policy.type)
        if engine is None or not engine.forgets or engine.held(policy) is not None:
            return False
        self._check_settled(name)
        self._change(policy, number, _OURSELVES)
        return True

    def settle(self) -> int:
        """Take back what was begun and not ended. Returns how many. Raises when an engine is away: come again."""
        with self._turn:
            steps = self._shelf.open_steps()
            for step in steps:
                policy = self._policy(step.name, step.version or step.before)
                self._undo(policy, step, ["broken off before it was verified, and taken back"])
            return len(steps)

    def _change(self, policy: Policy, target: int, asker: Asker) -> None:
        """1 inverse  2 store it  3 apply  4 verify  5 record; whatever fails after 2 is taken back."""
        engine = self._engines[policy.type]
        before = self._shelf.in_force(policy.name)
        self._check_place(policy, before)
        inverse = engine.held(policy)  # 1
        self._fault("inverse_known")
        step = Step(0, policy.name, target, before, inverse, "begun", asker.author, 0, asker.decision, engine.name)
        step = self._shelf.begin(step)  # 2
        self._fault("step_stored")
        try:
            engine.put(policy) if target else engine.restore(policy, None)  # 3
            self._fault("applied_unverified")
            lacking = self._verified(engine, policy, wanted=bool(target))  # 4
        except LoomidiError as error:
            self._undo(policy, step, [str(error)])
            raise
        if lacking:
            self._undo(policy, step, lacking)
            told = f"{policy.name} did not come into force within {self._verify_s:g} s and was taken back"
            raise PolicyNotInForce(f"{told}: {'; '.join(lacking)}", lacking)
        self._fault("verified_unrecorded")
        self._shelf.end(step, "active")  # 5
        self._packages = None
        self._fault("recorded")

    def _undo(self, policy: Policy, step: Step, reasons: list[str]) -> None:
        """The inverse back in its place, then the end of the step; it stays open while the engine is away."""
        self._engine(policy).restore(policy, step.inverse)
        self._fault("undone_unrecorded")
        self._shelf.end(step, "undone", reasons)

    def _verified(self, engine: Engine, policy: Policy, *, wanted: bool) -> list[str]:
        """Why the change is not what the engine says; asked again until it is or the time is over."""
        until = self._clock.now_ns() + int(self._verify_s * 1e9)
        while True:
            if wanted:
                lacking = engine.lacking(policy)
            else:
                lacking = [] if engine.held(policy) is None else ["the engine still holds it"]
            if not lacking or self._clock.now_ns() >= until:
                return lacking
            self._clock.sleep(_LOOK_S)

    def _check_settled(self, name: str) -> None:
        if any(step.name == name for step in self._shelf.open_steps()):
            raise EngineAway(f"a change of {name} was broken off and is not taken back yet; try again in a moment")

    def _check_place(self, policy: Policy, before: int) -> None:
        """A name does not move while it is in force: what lay in the old place would stay there."""
        if not before:
            return
        old = self._policy(policy.name, before)
        if old.type is not policy.type or self._engine(old).place(old) != self._engine(policy).place(policy):
            raise PolicyHeld(
                f"{policy.name} is in force as another kind of policy or in another namespace; take it out of force "
                f"first (`loomidi policy rollback {policy.name} --to 0`), or take another name"
            )

    def _engine(self, policy: Policy) -> Engine:
        if policy.type not in self._engines:
            raise EngineAway(f"no engine for {policy.type.value} is configured here; see `loomidi serve policy --help`")
        return self._engines[policy.type]

    def _lacking(self, policy: Policy) -> list[str]:
        return self._engine(policy).lacking(policy)

    def _lacking_told(self, policy: Policy) -> list[str]:
        """The same; an engine that cannot be asked is a reason too."""
        try:
            return self._lacking(policy)
        except LoomidiError as error:
            return [f"it cannot be read back: {error}"]

    def _current(self, name: str) -> Version | None:
        return self._shelf.version(name, self._shelf.in_force(name))

    def _policy(self, name: str, number: int) -> Policy:
        version = self._shelf.version(name, number)
        if version is None:
            raise InputError(f"{name} has no version {number}; see `loomidi policy status {name}`")
        return read_policy(name, version.type, version.content)

    def _once_in_force(self, name: str) -> set[int]:
        return {step.version for step in self._shelf.steps(name) if step.state == "active"}

    def _before(self, name: str, current: int) -> int:
        """The newest older version that was in force; 0: none."""
        return max((number for number in self._once_in_force(name) if number < current), default=0)


_OURSELVES = Asker("loomidi")
_NO_SHADOW = Shadow((), 0, (), 0, 0, ())
"""Of a text whose version is there already: the one with that version is kept."""


def told(status: Status) -> dict[str, Any]:
    """A status for JSON, without violations."""
    version = status.version
    return {
        "status": status.standing.value,
        "reasons": list(status.reasons),
        "version": version.as_dict() if version else None,
        "last_change": status.last.as_dict() if status.last else None,
    }
