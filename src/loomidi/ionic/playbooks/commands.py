"""What the commands of a playbook do: each becomes a plan, a question, a request to a person, or a refusal.

Called by `walking`. In: a command whose variables are filled in, its place in the run. Out: an `Outcome`, or `Waiting`
where a person is asked. A command that ended is not carried out again; one that a crash broke off is looked up in the
receipts by its plan, which was written down before anything happened. Which step comes next is left to `walking`.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loomidi.contracts import Approval, Finding, FoldSpec, LoomidiError, Plan, Receipt, Step, content_id
from loomidi.ionic.approvals import GUARDS
from loomidi.ionic.decide import person_asked, propose
from loomidi.ionic.documents import read_plan, read_record, rule_id
from loomidi.ionic.errors import BadPlaybook
from loomidi.ionic.playbooks import openc2
from loomidi.ionic.playbooks.findings import ordered
from loomidi.ionic.playbooks.hands import Hands, Outcome, refusals
from loomidi.ionic.playbooks.journals import Journal
from loomidi.ionic.playbooks.vocabulary import FOLD, PROBE, UNDO

_HELD = (Step.APPLIED, Step.VERIFIED)
_OVER = (Step.UNDONE, Step.EXPIRED)
_BEGUN = (Step.INTENT, Step.APPLIED)


class Waiting(Exception):
    """The run waits for a person. `key`: where; `why`: what is asked; `mark`: what an answer is bound to."""

    def __init__(self, key: str, why: str, mark: str) -> None:
        self.key, self.why, self.mark = key, why, mark
        super().__init__(f"{key}: {why}")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One command at its place."""

    command: Mapping[str, Any]  # filled in
    key: str  # idempotency: the same in every attempt of this run
    targets: tuple[Mapping[str, Any], ...] = ()


class Commands:
    """The commands of one run."""

    def __init__(self, hands: Hands, journal: Journal, finding: Finding | None, *, dry: bool) -> None:
        self._hands = hands
        self._journal = journal
        self._finding = finding
        self._dry = dry

    def do(self, asked: Asked) -> Outcome:
        """Carry it out, once. Whatever breaks on the way is a failed command; only Waiting leaves from here."""
        if (done := self._journal.last(asked.key, "ended")) is not None:
            return Outcome(**done)
        handler = _HANDLERS.get(str(asked.command["type"]), Commands._refused)
        try:
            outcome = handler(self, asked)
        except Waiting as waiting:
            if waiting.mark not in {told["mark"] for told in self._journal.each(asked.key, "waits")}:
                self._journal.note(asked.key, "waits", {"why": waiting.why, "mark": waiting.mark})
            raise
        except LoomidiError as error:
            outcome = Outcome(False, str(error))
        except Exception as error:  # noqa: BLE001 - an engine or probe that breaks has not done what was asked
            outcome = Outcome(False, f"{type(error).__name__}: {error}")
        self._journal.note(asked.key, "ended", dataclasses.asdict(outcome))
        return outcome

    # -- folds ----------------------------------------------------------------------

    def _fold(self, asked: Asked) -> Outcome:
        finding, fold = self._meant(asked)
        return self._carried(asked.key, finding, fold)

    def _meant(self, asked: Asked) -> tuple[Finding, FoldSpec]:
        """`{"propose": ACTION}` takes the fold that our own proposing has for the finding; else a whole fold."""
        told = _json(asked)
        if "propose" in told:
            return self._proposed(told)
        fold = read_record(FoldSpec, {name: value for name, value in told.items() if name != "because"}, "fold")
        finding = self._finding or ordered(fold, "a playbook", self._journal.began_ns)
        return finding, dataclasses.replace(fold, because=finding.id)

    def _proposed(self, told: Mapping[str, Any]) -> tuple[Finding, FoldSpec]:
        if extra := set(told) - {"propose", "as", "ttl_s"}:
            raise BadPlaybook.of("", f"{min(extra)}: beside `propose` there are `as` and `ttl_s` only")
        if self._finding is None:
            raise BadPlaybook.of("", "`propose` rests on a finding; run it with --finding FILE")
        seen_as = dataclasses.replace(self._finding, pattern=str(told.get("as", self._finding.pattern)))
        fold = next((one for one in propose(seen_as) if one.action == told["propose"]), None)
        if fold is None:
            raise BadPlaybook.of("", f"{seen_as.pattern} of {self._finding.entities[:1]} asks for no {told['propose']}")
        if "ttl_s" in told:
            fold = dataclasses.replace(fold, ttl_s=float(told["ttl_s"]))
        return self._finding, fold

    def _carried(self, key: str, finding: Finding, fold: FoldSpec) -> Outcome:
        """Steps, in this order:

        1 it was begun before a crash: what became of it   2 plan   3 dry: what the guards say, and nothing more
        4 a person, where mode and kind ask for one   5 the plan is written down   6 approval   7 the engine
        """
        # 1 begun before
        if (known := self._known(key)) is not None:
            return known
        # 2 plan
        plan = self._hands.decider.plan(finding, fold)
        # 3 dry
        if self._dry or self._hands.engine is None:
            return self._judged(plan)
        # 4 a person
        approver = self._approver(key, plan)
        # 5 written down
        self._journal.note(key, "planned", {"plan": plan.as_dict()})
        # 6 approval
        approval = self._hands.decider.decide(plan, approver)
        # 7 the engine
        return _told(plan, self._hands.engine.carry_out(plan, approval))

    def _judged(self, plan: Plan) -> Outcome:
        against = refusals(self._hands.decider.judge(plan))
        told = {
            "plan": plan.id,
            "fold": plan.fold.as_dict(),
            "finding": plan.finding.id,
            "radius": plan.blast_radius.as_dict(),
        }
        outputs = {"__plan_id__": plan.id, "__allowed__": str(not against).lower(), "__rule_number__": "0"}
        return Outcome(not against, against or "dry run: the guards allow it", outputs, told)

    def _known(self, key: str) -> Outcome | None:
        if self._hands.receipts is None or self._hands.engine is None:
            return None
        for detail in self._journal.each(key, "planned"):
            plan = read_plan(detail["plan"])
            receipts = self._hands.receipts.of(plan.id)
            began = next((receipt for receipt in receipts if receipt.step in _BEGUN), None)
            if began is not None:
                approval = read_record(Approval, began.detail["approval"], "approval")
                return _told(plan, self._hands.engine.carry_out(plan, approval))  # only looks: it was begun
        return None

    def _approver(self, key: str, plan: Plan) -> str:
        """Whoever answered for this very fold; the guards where nobody has to."""
        why = person_asked(plan.fold.kind, plan.mode)
        if not why:
            return GUARDS
        ask = f"{why}: {plan.fold.action} {plan.fold.target} for {plan.fold.ttl_s:g} s"
        return self._answer(key, ask, _mark(plan))

    def _answer(self, key: str, ask: str, mark: str) -> str:
        """The name of who said yes. Raises Waiting until somebody answered, BadPlaybook for a no."""
        answer = self._journal.last(key, "answered")
        if answer is None or answer["mark"] != mark:
            raise Waiting(key, ask, mark)
        if answer["yes"] is not True:
            raise BadPlaybook.of("", f"{answer['by']} said no")
        return str(answer["by"])

    # -- taking back and measuring ----------------------------------------------------------------------

    def _undo(self, asked: Asked) -> Outcome:
        told = _json(asked)
        chosen = self.plans(str(told.get("of", "all")))
        if self._dry or self._hands.engine is None:
            return Outcome(True, f"dry run: would take back {len(chosen)} plans", {}, {"undo": chosen})
        return self.taken_back(chosen, str(told.get("why", "the playbook takes it back")))

    def taken_back(self, plan_ids: Sequence[str], why: str) -> Outcome:
        """By their stored inverses, the latest first. What is over already stays so."""
        left = []
        for plan_id in reversed(plan_ids):
            if self._hands.engine is not None and self._begun(plan_id):
                receipt = self._hands.engine.undo(plan_id, why)
                left += (
                    [] if receipt.step in _OVER else [f"{plan_id}: {receipt.detail.get('error', receipt.step.value)}"]
                )
        if left:
            return Outcome(False, f"not taken back: {'; '.join(left)}", {}, {"undo": list(plan_ids)})
        return Outcome(True, f"{len(plan_ids)} plans are taken back", {}, {"undo": list(plan_ids)})

    def plans(self, of: str = "all") -> list[str]:
        """Plan ids of this run, oldest first: all, or those of one step."""
        found = self._journal.plans_of(of)
        if self._dry:
            return [
                str(detail["told"]["plan"])
                for _, detail in found
                if detail.get("ok") and "plan" in detail.get("told", {})
            ]
        return list(dict.fromkeys(str(detail["plan"]["id"]) for event, detail in found if event == "planned"))

    def _latest(self, of: str) -> list[str]:
        """Plans that no later one of the run stands in the place of: a drop where a rate was is all that can hold."""
        found: dict[str, str] = {}
        for event, detail in self._journal.plans_of(of):
            if event == "planned":
                fold = detail["plan"]["fold"]
                found[json.dumps([fold["kind"], fold["target"], fold["match"]])] = str(detail["plan"]["id"])
        return [plan_id for plan_id in found.values() if self._begun(plan_id)]

    def _begun(self, plan_id: str) -> bool:
        receipts = self._hands.receipts.of(plan_id) if self._hands.receipts is not None else []
        return any(receipt.step in _BEGUN for receipt in receipts)

    def _probe(self, asked: Asked) -> Outcome:
        told = _json(asked)
        name = str(told.get("probe", ""))
        if name != "holds" and name not in self._hands.probes:
            known = ", ".join(["holds", *self._hands.probes])
            raise BadPlaybook.of("", f"there is no probe {name!r} here; there are: {known}")
        if self._dry or self._hands.engine is None:
            return Outcome(True, f"dry run: probe {name} is taken to hold", {"__holds__": "true"}, {"probe": name})
        if name != "holds":
            measured = dict(self._hands.probes[name](told))
            return _measured(name, measured.get("holds") is True, measured)
        receipts = [self._hands.engine.verify(plan_id) for plan_id in self._latest(str(told.get("of", "all")))]
        held = bool(receipts) and all(receipt.step is Step.VERIFIED for receipt in receipts)
        return _measured(name, held, {receipt.plan_id: receipt.step.value for receipt in receipts})

    # -- others ----------------------------------------------------------------------

    def _openc2(self, asked: Asked) -> Outcome:
        """Answered by our own packet filter; nothing is sent to anybody."""
        meaning = openc2.meaning_of(openc2.content_of(asked.command), self._journal.began_ns)
        if meaning.action == "query":
            return Outcome(True, "features", {"__status__": "200"}, {"features": list(meaning.features)})
        if meaning.action == "delete":
            chosen = [plan_id for plan_id in self.plans() if rule_id(plan_id) == meaning.rule_number]
            if not chosen:
                return Outcome(False, f"no rule {meaning.rule_number} of this run", {"__status__": "500"})
            return self.taken_back(chosen, "delete slpf:rule_number")
        if meaning.action == "allow" or meaning.fold is None:
            return Outcome(
                False, "allow: a playbook takes back its denies with delete or x-loomidi-undo", {"__status__": "501"}
            )
        finding = self._finding or ordered(meaning.fold, "a playbook", self._journal.began_ns)
        outcome = self._carried(asked.key, finding, dataclasses.replace(meaning.fold, because=finding.id))
        return dataclasses.replace(outcome, outputs={**outcome.outputs, "__status__": "200" if outcome.ok else "500"})

    def _manual(self, asked: Asked) -> Outcome:
        what = str(asked.command.get("command") or asked.command.get("description") or "an unnamed task")
        if self._dry:
            return Outcome(True, f"dry run: a person would be asked: {what}", {"__answered_by__": ""}, {"manual": what})
        by = self._answer(asked.key, what, content_id("manual", what))
        return Outcome(True, f"{by} did it: {what}", {"__answered_by__": by}, {"manual": what})

    def _http(self, asked: Asked) -> Outcome:
        line = str(asked.command.get("command", ""))
        if self._dry:
            return Outcome(True, f"dry run: would send {line}", {"__status__": "0"}, {"http": line})
        if self._hands.call is None:
            raise BadPlaybook.of("", "http-api is not carried out: nobody allowed a host for it")
        request = {**asked.command, "targets": list(asked.targets), "idempotency_key": self._journal.mark(asked.key)}
        answer = self._hands.call(request)
        status = int(answer["status"])
        return Outcome(200 <= status < 300, f"answered with {status}", {"__status__": str(status)}, dict(answer))

    def _refused(self, asked: Asked) -> Outcome:
        kind = str(asked.command["type"])
        return Outcome(
            False,
            f"{kind} is not carried out by Loomidi: it has no plan and no way back; use {FOLD}, or manual",
            {},
            {},
        )


def _json(asked: Asked) -> Mapping[str, Any]:
    command = asked.command["command"]
    if not isinstance(command, Mapping):
        raise BadPlaybook.of("", f"{asked.command['type']} takes a JSON object as text")
    return command


def parsed(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """The command with the JSON that it carries as text read, so that variables are filled into values, not syntax."""
    if command["type"] not in (FOLD, PROBE, UNDO):
        return command
    return {**command, "command": json.loads(command["command"])}


def _told(plan: Plan, receipt: Receipt) -> Outcome:
    held = receipt.step in _HELD
    why = str(receipt.detail.get("error") or receipt.detail.get("why") or receipt.step.value)
    outputs = {"__plan_id__": plan.id, "__allowed__": "true", "__rule_number__": str(rule_id(plan.id))}
    told = {"plan": plan.id, "fold": plan.fold.as_dict(), "finding": plan.finding.id, "receipt": receipt.id}
    return Outcome(held, "in force" if held else why, outputs, told)


def _measured(name: str, held: bool, figures: Mapping[str, Any]) -> Outcome:
    outputs = {"__holds__": str(held).lower()}
    return Outcome(held, f"probe {name} {'holds' if held else 'does not hold'}", outputs, {"probe": name, **figures})


def _mark(plan: Plan) -> str:
    """What an answer is bound to: the fold and why; not when it was planned, for the guards are asked again."""
    return content_id("ask", {"fold": plan.fold.as_dict(), "finding": plan.finding.id})


_HANDLERS: Mapping[str, Callable[[Commands, Asked], Outcome]] = {
    FOLD: Commands._fold,
    PROBE: Commands._probe,
    UNDO: Commands._undo,
    "openc2-http": Commands._openc2,
    "manual": Commands._manual,
    "http-api": Commands._http,
}
