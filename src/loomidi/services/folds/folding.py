"""Findings become Folds in a cluster: what fits is proposed there, once at a time, the gentlest first.

Called by `detecting` and `diagnosing`, from threads of theirs. In: a finding with its folds, planned and judged. Out: a
Fold that the API server holds, or why there is none, counted. Each pass, by number:

    1 what happened just now   2 nothing at work on the same target, or a ladder to climb; nothing just tried
    3 the gentlest not tried yet   4 post it

The operator judges it again, and it alone acts. While the API server is away what was found waits, as long as its plan.
"""

import collections
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from loomidi.contracts import Finding, FoldSpec, LoomidiError, Plan, Replay, Retryable, Severity
from loomidi.fold.operator.climbing import steps_of
from loomidi.fold.resources import fold_object
from loomidi.fold.resources.definitions import GROUP, VERSION
from loomidi.fold.resources.events import event, events_in
from loomidi.fold.resources.objects import namespaces_of, nanoseconds
from loomidi.fold.resources.phases import TERMINAL, Phase
from loomidi.insight.report import SEVERITIES, ProposedFold
from loomidi.ionic.decide.grouping import SOURCE as GROUPED
from loomidi.ionic.decide.grouping import Groups
from loomidi.ionic.decide.places import Where, place
from loomidi.ionic.documents import plan_id
from loomidi.ionic.errors import ClusterAway, ClusterRejects
from loomidi.kit.clock import Clock, SystemClock
from loomidi.kit.logging import logger
from loomidi.services.folds.climbing import climb, in_force
from loomidi.services.folds.ranking import Bandit, Ranked, asking, by_rules
from loomidi.services.settings.answers import FoldingSettings
from loomidi.services.shared.probes import Sample

_PAUSE_S = 1.0  # before the API server is asked again
_IDLE_S = 0.5
_MOST_WAITING = 1000
_LEARN_S = 60.0  # between two looks at what became of what was chosen
_MANAGER = "loomidi/propose"  # the field manager of every Fold
_BUSY = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})
_log = logger("services.folding")
Fold = Mapping[str, Any]
LookBack = Callable[[FoldSpec], Replay]
Planner = Callable[[Finding, Where], Sequence[ProposedFold]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    finding: Finding
    folds: Sequence[ProposedFold]
    where: Where


class Folding:
    """One process's."""

    def __init__(
        self,
        client: httpx.Client,
        settings: FoldingSettings,
        clock: Clock | None = None,
        *,
        look_back: LookBack | None = None,
        plan: Planner | None = None,
        bandit: Bandit | None = None,
    ) -> None:
        """`look_back`: what a fold would have cut of late; None where no lake is at hand. `plan`: the folds against
        a storm; without it each finding of a storm is answered by itself. `bandit`: ranks instead of the rules."""
        self.settings, self._look_back = settings, look_back
        self.counts: collections.Counter[str] = collections.Counter()
        self._client, self._clock = client, clock or SystemClock()
        self._waiting: collections.OrderedDict[str, _Waiting] = collections.OrderedDict()
        self._more = threading.Condition()
        self._told: dict[tuple[str, str], None] = {}  # Fold and reason of events that were written
        self._groups, self._plan = Groups(), plan
        self._bandit, self._learned_ns = bandit, 0

    def offer(self, finding: Finding, folds: Sequence[ProposedFold], where: Where = place) -> None:
        """Take it and return at once; a later word on the same finding takes the place of an earlier one. Of findings
        about one cause one is answered, and a storm as a whole. `where`: the places of its entities."""
        with self._more:
            group = self._groups.take(finding, able=any(one.allowed for one in folds))
            if group.storm is not None and self._plan is not None:
                finding, folds = group.storm, ()  # planned when it is its turn, once for all that came meanwhile
            elif not group.speaks:
                return
            self._waiting.pop(finding.id, None)
            self._waiting[finding.id] = _Waiting(finding, folds, where)
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popitem(last=False)
                self.counts["overflow"] += 1
            self._more.notify()

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            if not self.once():
                stop.wait(_PAUSE_S)

    def once(self) -> bool:
        """Propose for what waits, if anything comes within a while; False where the API server has to be waited for."""
        one = self._next()
        if one is None:
            return True
        try:
            outcome = self.propose(one.finding, self._folds(one))
        except Retryable as error:
            _log.warning("a finding waits for the API server", finding=one.finding.id, error=str(error))
            self._again(one)
            return False
        except LoomidiError as error:
            _log.error("a Fold could not be proposed", finding=one.finding.id, error=str(error))
            outcome = "refused"
        self.counts[outcome] += 1
        return True

    def _folds(self, one: _Waiting) -> Sequence[ProposedFold]:
        """Those that came with the finding; of a storm planned now, once for all that has come meanwhile."""
        storm = one.finding.source == GROUPED and self._plan is not None
        return self._plan(one.finding, one.where) if storm and self._plan else one.folds

    def propose(self, finding: Finding, folds: Sequence[ProposedFold]) -> str:
        """What became of it, in one word. Raises Retryable while the API server is away."""
        now_ns = self._clock.now_ns()
        # 1 what happened just now
        if now_ns - finding.last_ns > self.settings.fresh_s * 1e9:
            return "stale"
        allowed = [one for one in folds if one.allowed]
        if not allowed:
            return "denied_by_guards" if folds else "no_answer"
        if now_ns >= min(one.plan.expires_ns for one in allowed):
            return "expired"
        # 2 nothing at work on the same target, or a ladder to climb; nothing just tried
        there = self._there(allowed)
        recent = [one for one in there if now_ns - _made_ns(one) < self.settings.rest_s * 1e9]
        if at_work := [one for one in there if one.get("status", {}).get("phase") not in TERMINAL]:
            return self._climbed(finding, allowed, at_work, recent)
        if not all(_untouched_and_milder(one, finding) for one in recent):
            return "resting"
        # 3 the gentlest not tried yet
        same = [one for one in there if one["spec"].get("because") == finding.id]
        tried = {(one["spec"]["kind"], one["spec"]["action"]) for one in same}
        left = [one for one in allowed if (one.fold.kind.value, one.fold.action) not in tried] or allowed[-1:]
        if same and steps_of(self._policy(same[-1])):
            left = allowed  # a ladder is climbed while a Fold is in force, and from the bottom again after it
        chosen = self._ranked(finding, left, now_ns)
        # 4 post it
        return self._post(chosen.fold, ranked=chosen) if chosen.fold else "nothing_chosen"

    def _ranked(self, finding: Finding, left: Sequence[ProposedFold], now_ns: int) -> Ranked:
        """By the rules, or by the bandit, which first hears what became of what it chose."""
        if self._bandit is None:
            return by_rules(finding, left, now_ns)
        if now_ns - self._learned_ns >= _LEARN_S * 1e9:
            self._learned_ns = now_ns
            answer = self._ask("GET", f"/apis/{GROUP}/{VERSION}/folds", {})
            self._bandit.learn(answer.json().get("items") or [] if answer.is_success else [])
        return self._bandit.rank(finding, left, now_ns)

    def _climbed(
        self, finding: Finding, allowed: Sequence[ProposedFold], at_work: Sequence[Fold], recent: Sequence[Fold]
    ) -> str:
        """The next step of the ladder where the Fold in force does not help, or why there is none."""
        fold = in_force(at_work)
        spec = self._policy(fold) if fold is not None else {}
        if fold is None or not spec:
            return "in_force"
        found = climb(finding, allowed, fold, [one for one in recent if one not in at_work], spec)
        if found.proposed is not None and self._namespace(found.proposed) != fold["metadata"]["namespace"]:
            return "in_force"  # nothing in one namespace says what follows in another
        outcome = self._post(found.proposed, fold["metadata"]["name"]) if found.proposed else found.outcome
        if found.told is not None:
            self._tell(fold, *found.told)
        return outcome

    def _policy(self, fold: Fold) -> Mapping[str, Any]:
        """The spec of the policy by which it was judged; {} when there is none, or it may not be read."""
        name = fold.get("status", {}).get("policy", "")
        answer = self._ask("GET", f"/apis/{GROUP}/{VERSION}/foldpolicies/{name}", {}) if name else None
        if answer is None or answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if answer.is_error:
            why = "grant deployments/rbac/proposer.yaml; until then no ladder is climbed"
            _log.warning("a FoldPolicy cannot be read", policy=name, status=answer.status_code, hint=why)
            return {}
        spec: Mapping[str, Any] = answer.json()["spec"]
        return spec

    def _tell(self, fold: Fold, reason: str, message: str) -> None:
        """As an event on the Fold, once a process; one that cannot be written is in the log."""
        about, key = fold["metadata"], (fold["metadata"]["uid"], reason)
        if key in self._told:
            return
        self._told[key] = None
        if len(self._told) > _MOST_WAITING:
            del self._told[next(iter(self._told))]
        kind = "Normal" if reason == "NextStep" else "Warning"
        body = event(fold, reason, message, kind=kind, source="loomidi-propose", now_ns=self._clock.now_ns())
        _log.info("on a ladder", fold=about["name"], reason=reason, message=message)
        answer = self._ask("POST", events_in(about["namespace"]), {"fieldManager": _MANAGER}, json=body)
        if answer.is_error:
            _log.warning("an event could not be written", fold=about["name"], status=answer.status_code)

    def _post(self, proposed: ProposedFold, escalates_from: str = "", ranked: Ranked | None = None) -> str:
        space = self._namespace(proposed)
        plan = self._measured(proposed.plan if not (ranked and ranked.ask) else asking(proposed.plan))
        body = fold_object(plan, space, escalates_from=escalates_from)
        if ranked and ranked.notes:
            body["metadata"]["annotations"] = dict(ranked.notes)
        answer = self._ask("POST", _folds_in(space), {"fieldManager": _MANAGER}, json=body)
        if answer.status_code == httpx.codes.CONFLICT:  # an earlier try of ours got there, and its answer did not come
            return "proposed_before"
        _checked(answer)
        _log.info("a Fold is proposed", fold=f"{space}/{plan.id}", target=proposed.fold.target)
        return "climbed" if escalates_from else "proposed"

    def _measured(self, plan: Plan) -> Plan:
        """With what it would have cut of late; a plan of another content is another plan."""
        if self._look_back is None:
            return plan
        replay = self._look_back(plan.fold)
        self.counts["replayed" if replay.measured else "not_replayed"] += 1
        radius = dataclasses.replace(plan.blast_radius, replay=replay)
        unnamed = dataclasses.replace(plan, id="", blast_radius=radius)
        return dataclasses.replace(unnamed, id=plan_id(unnamed))

    def _there(self, allowed: Sequence[ProposedFold]) -> list[dict[str, Any]]:
        """Folds on any of the same targets, whatever has become of them."""
        found: list[dict[str, Any]] = []
        for space, target in sorted({(self._namespace(one), one.fold.target) for one in allowed}):
            answer = self._ask("GET", _folds_in(space), {"fieldSelector": f"spec.target={target}"})
            _checked(answer)
            found += answer.json().get("items") or []
        return found

    def _ask(self, method: str, path: str, params: Mapping[str, str], **more: Any) -> httpx.Response:
        """Raises ClusterAway when there is no answer, or a busy one."""
        try:
            answer = self._client.request(method, path, params=dict(params), **more)
        except httpx.HTTPError as error:
            raise ClusterAway(f"{method} {path}: {type(error).__name__}: {error}; tried again later") from error
        if answer.status_code in _BUSY or answer.is_server_error:
            raise ClusterAway(f"{method} {path}: {answer.status_code}; tried again later")
        return answer

    def _namespace(self, proposed: ProposedFold) -> str:
        return min(namespaces_of(proposed.fold), default=self.settings.namespace)

    def _next(self) -> _Waiting | None:
        with self._more:
            if not self._waiting:
                self._more.wait(_IDLE_S)
            return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _again(self, one: _Waiting) -> None:
        """Unless something newer has come on it meanwhile."""
        with self._more:
            self._waiting.setdefault(one.finding.id, one)

    def samples(self) -> Iterator[Sample]:
        """For /metrics."""
        about = "Findings that could lead to a Fold, by what became of them"
        for what, value in sorted(self.counts.items()):
            yield Sample("loomidi_folding_total", "counter", about, value, {"what": what})
        for what, value in sorted(self._bandit.counts.items() if self._bandit else ()):
            about = "Choices of the bandit, by what was chosen, learned or masked"
            yield Sample("loomidi_ranking_total", "counter", about, value, {"what": what})
        about = "Findings by incident: findings, incidents, joined, spoken_for by another finding, in a storm, left out"
        for what, value in sorted(self._groups.counts.items()):
            yield Sample("loomidi_grouping_total", "counter", about, value, {"what": what})


def _folds_in(space: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{space}/folds"


def _made_ns(fold: Mapping[str, Any]) -> int:
    return nanoseconds(fold["metadata"]["creationTimestamp"])


def _untouched_and_milder(fold: Mapping[str, Any], finding: Finding) -> bool:
    """Whether it never acted, and was about something less bad: what was refused then may be right now."""
    severity = fold["spec"].get("finding", {}).get("severity", finding.severity.value)
    worse = SEVERITIES.index(finding.severity) < SEVERITIES.index(Severity(severity))
    return worse and fold["status"]["phase"] in (Phase.DENIED, Phase.EXPIRED)


def _checked(answer: httpx.Response) -> None:
    """Raises ClusterRejects with the API's own words."""
    if answer.is_error:
        asked, said = f"{answer.request.method} {answer.request.url.path}", " ".join(answer.text.split())[:500]
        raise ClusterRejects(
            f"{asked}: {answer.status_code} {said}; see docs/folds.md and deployments/rbac/proposer.yaml"
        )
