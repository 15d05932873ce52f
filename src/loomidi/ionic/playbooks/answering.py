"""An OpenC2 consumer: commands of others answered by what our guards allow and our engine does.

Called by `services.playing`. In: a command or a message, as parsed JSON. Out: the response, as JSON, or None where
none was asked for. Status codes are those of the Language Specification (v1.0 section 3.3.2.2): 102 planned or waiting,
200 done, 400 cannot be read, 401 a person's leave is missing, 403 the guards say no, 500 it broke, 501 not done here.
Who may send commands at all is left to whoever carries them here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from loomidi.contracts import LoomidiError, Plan, Receipt, Step
from loomidi.ionic.decide import person_asked
from loomidi.ionic.documents import read_plan, rule_id
from loomidi.ionic.errors import BadCommand, PlanRefused
from loomidi.ionic.playbooks import openc2
from loomidi.ionic.playbooks.findings import ordered
from loomidi.ionic.playbooks.hands import Acts, Hands
from loomidi.ionic.playbooks.openc2 import Meaning
from loomidi.kit.clock import Clock, SystemClock

_HELD, _OVER = (Step.APPLIED, Step.VERIFIED), (Step.UNDONE, Step.EXPIRED)


class Consumer:
    """A stateless packet filter, as SLPF v1.0 sees us."""

    def __init__(self, hands: Hands, *, name: str = "loomidi", clock: Clock | None = None) -> None:
        """`name`: of this consumer, which an actuator's hostname or asset_id has to be where one is named."""
        self._hands, self._name = hands, name
        self._clock = clock or SystemClock()

    def answer(self, document: Any) -> dict[str, Any] | None:
        """Never raises: what goes wrong is a status and a text."""
        meaning = Meaning("")
        try:
            command = openc2.unwrapped(document)
            meaning = openc2.meaning_of(command, self._clock.now_ns())
            self._for_us(command.get("actuator", {}).get(openc2.PROFILE) or {})
            response = self._done(meaning, _producer(document))
        except BadCommand as error:
            response = _response(error.status, str(error))
        except PlanRefused as error:
            person = any(verdict.rule == "person" and verdict.allow is False for verdict in error.verdicts)
            response = _response(401 if person else 403, str(error))
        except LoomidiError as error:
            response = _response(500, str(error))
        except Exception as error:  # noqa: BLE001 - a producer gets a status, whatever breaks
            response = _response(500, f"{type(error).__name__}: {error}")
        return self._wrapped(document, meaning, response)

    def _for_us(self, actuator: Any) -> None:
        known = {"hostname", "named_group", "asset_id", "asset_tuple"}
        if not isinstance(actuator, Mapping) or set(actuator) - known:
            raise BadCommand(400, f"actuator.slpf is an object with {', '.join(sorted(known))}")
        if other := [name for name, value in actuator.items() if value not in (self._name, [self._name])]:
            raise BadCommand(501, f"actuator.slpf.{other[0]}: this is {self._name}; send it to the one that is meant")

    def _done(self, meaning: Meaning, producer: str) -> dict[str, Any]:
        if meaning.action == "query":
            return self._features(meaning)
        if meaning.action == "delete":
            return self._taken_back(self._by_rule(meaning.rule_number), "delete slpf:rule_number")
        if meaning.action == "allow":
            return self._allowed(meaning)
        return self._denied(meaning, producer)

    def _features(self, meaning: Meaning) -> dict[str, Any]:
        if not meaning.features:
            return _response(200)
        pairs = {action: list(targets) for action, targets in openc2.PAIRS.items()}
        able: dict[str, Any] = {"versions": list(openc2.VERSIONS), "profiles": [openc2.PROFILE], "pairs": pairs}
        results = {name: able[name] for name in meaning.features if name in able}  # rate_limit: there is none
        return _response(200, results=results)

    def _denied(self, meaning: Meaning, producer: str) -> dict[str, Any]:
        """A plan like any other. Steps: 1 plan   2 in shadow judge and no more   3 approval   4 the engine"""
        if meaning.fold is None:
            raise BadCommand(400, "deny without a target")
        # 1 plan
        finding = ordered(meaning.fold, f"openc2:{producer}", self._clock.now_ns())
        plan = self._hands.decider.plan(finding, dataclasses.replace(meaning.fold, because=finding.id))
        # 2 shadow
        if not self._acting():
            return self._judged(plan, meaning)
        # 3 approval
        if why := person_asked(plan.fold.kind, plan.mode):
            return _response(401, why)
        approval = self._hands.decider.decide(plan)
        # 4 the engine
        receipt = self._engine().carry_out(plan, approval)
        if receipt.step not in _HELD:
            return _response(500, f"it was taken back: {receipt.detail.get('why', receipt.step.value)}")
        return _response(200, "; ".join(meaning.notes), {openc2.PROFILE: {"rule_number": rule_id(plan.id)}})

    def _judged(self, plan: Plan, meaning: Meaning) -> dict[str, Any]:
        verdicts = self._hands.decider.judge(plan)
        if not verdicts or any(verdict.allow is not True for verdict in verdicts):
            raise PlanRefused(plan.id, verdicts)
        notes = ("planned and allowed; mode shadow touches nothing", *meaning.notes)
        return _response(102, "; ".join(notes))

    def _allowed(self, meaning: Meaning) -> dict[str, Any]:
        """What a deny of ours stopped is let through again; nothing is let through that was not stopped by us."""
        same = [plan for plan in self._open() if meaning.fold and plan.fold.match == meaning.fold.match]
        if not same:
            why = "no deny of ours is in force for exactly that target, and there are no rules that only let through"
            raise BadCommand(501, f"Option not supported: {why}")
        return self._taken_back(same, "allow")

    def _by_rule(self, number: int) -> list[Plan]:
        found = [plan for plan in self._open() if rule_id(plan.id) == number]
        if not found:
            raise BadCommand(500, f"rule {number} is not in force here; it may have ended by itself")
        return found

    def _taken_back(self, plans: list[Plan], why: str) -> dict[str, Any]:
        if not self._acting():
            return _response(102, "mode shadow touches nothing")
        receipts: list[Receipt] = [self._engine().undo(plan.id, f"OpenC2: {why}") for plan in plans]
        if left := [receipt.plan_id for receipt in receipts if receipt.step not in _OVER]:
            return _response(500, f"not taken back: {', '.join(left)}")
        return _response(200)

    def _open(self) -> list[Plan]:
        """Plans in force that changed what passes, as they were stored with their receipts."""
        store = self._hands.receipts
        if store is None:
            return []
        began = [receipt for plan_id in store.open_plans() for receipt in store.of(plan_id)[:1]]
        plans = [read_plan(receipt.detail["plan"]) for receipt in began if "plan" in receipt.detail]
        return [plan for plan in plans if plan.fold.action == "drop"]

    def _acting(self) -> bool:
        return self._hands.engine is not None and self._hands.decider.settings.mode.value != "shadow"

    def _engine(self) -> Acts:
        if self._hands.engine is None:
            raise BadCommand(501, "there is no engine here")
        return self._hands.engine

    def _wrapped(self, document: Any, meaning: Meaning, response: dict[str, Any]) -> dict[str, Any] | None:
        if meaning.response == "none":
            return None
        if meaning.response == "ack" and response["status"] == 200:
            response = {"status": 102}
        if not isinstance(document, Mapping) or "body" not in document:
            return response
        asked = document.get("headers")
        headers: dict[str, Any] = {"created": self._clock.now_ns() // 1_000_000, "from": self._name}
        if isinstance(asked, Mapping):
            headers |= {"request_id": asked["request_id"]} if "request_id" in asked else {}
            headers |= {"to": [asked["from"]]} if "from" in asked else {}
        return {"headers": headers, "body": {"openc2": {"response": response}}}


def _producer(document: Any) -> str:
    headers = document.get("headers") if isinstance(document, Mapping) else None
    return str(headers.get("from", "unnamed"))[:100] if isinstance(headers, Mapping) else "unnamed"


def _response(status: int, text: str = "", results: Mapping[str, Any] | None = None) -> dict[str, Any]:
    response: dict[str, Any] = {"status": status}
    if text:
        response["status_text"] = text
    return response | ({"results": dict(results)} if results else {})
