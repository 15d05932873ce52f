"""The fast lane: from a threshold crossed in the kernel to an entry that drops, in one process and one visible loop.

Called by `demo`, the latency bench and, later, the node agent. In: a `Shield` with its thresholds set, detectors, a
decider whose guards need no engine, receipts. Out: entries with a TTL in the data plane, a receipt for each on disk
right after, a `Decision` to every observer. No disk, bus, log line or policy engine stands before the act: the entry is
its own lease, it ends in the kernel whatever becomes of this process. The loop, repeated by number in the code:

    1 wait on the ring for suspects          5 act: one map write, the packet after it meets the entry
    2 judge: a finding, or it is learned      6 tell: receipt (writer thread), observers
    3 choose the fold of the stage that is due   7 settle once an interval: escalate, expire, drain flows into
    4 plan and guard: floor, caps, mode              the flow detectors, learn who is known

Stages: slow down, then drop when the source goes on (`standing`); who was dropped before is dropped at once.
Nothing in the protected set is touched, nor a known peer for what anybody could send in its name. In mode
shadow nothing is written at all: the decision is made, guarded and put on record as what would have been done.
"""

import dataclasses
import gc
import ipaddress
import queue
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from loomidi.contracts import Approval, Evidence, Finding, FoldSpec, LoomidiError, Mode, Plan, Step, Verdict
from loomidi.contracts.ports import DenyState, ReceiptStore, Shield, Suspect
from loomidi.contracts.schemas import FLOWS
from loomidi.ionic.act import Acted, Engine, ShieldDriver
from loomidi.ionic.decide import Decider, DeciderSettings, FloorGuard, PlanRefused, propose
from loomidi.ionic.decide.places import place
from loomidi.ionic.documents import rule_id
from loomidi.kit.clock import Clock, SystemClock
from loomidi.origami.online import SuspectDetectors
from loomidi.services.fast.knowing import Answered, KnownPeers, alone, covering, senders
from loomidi.services.fast.neighbouring import Neighbourhood
from loomidi.services.fast.poising import poised
from loomidi.services.fast.receipting import Shared, Writer
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fast.standing import Standing

# Patterns that need no answer, so the source may be anybody's. Decoys are scans in the name of others (ADR 0090).
_FLOODS = {"syn_flood", "udp_flood", "icmp_flood", "ip_flood", "tcp_flag_flood", "amplification"}
FORGEABLE = frozenset(_FLOODS | {"vertical_scan", "horizontal_scan"})

_DONE = object()
_ENOUGH = 100  # packets of a forged flood in one drain before networks are told from them


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What the lane made of one finding. Times are ns since the epoch, on the shield's clock; 0: there was none."""

    outcome: str  # applied, would, refused, failed, noted, expired, undone, adopted
    target: str  # entity id
    action: str = ""  # rate, drop
    finding: Finding | None = None
    fold: FoldSpec | None = None
    plan_id: str = ""
    because: str = ""
    first_ns: int = 0  # first packet of the short window, or of the flows
    seen_ns: int = 0  # the packet that crossed the threshold
    decided_ns: int = 0  # every guard had allowed it
    acted_ns: int = 0  # the entry was written


Observer = Callable[[Decision], None]


class FastLane:
    """One lane on one shield. Not thread-safe but for `undo`; close it when done."""

    def __init__(
        self,
        shield: Shield,
        store: ReceiptStore,
        settings: FastLaneSettings | None = None,
        *,
        detectors: SuspectDetectors | None = None,
        flows: Any = None,  # origami.online.FlowDetectors, or None: suspects only
        graph: Any = None,  # garden.graph.EntityGraph, or None: the blast radius is the worst case
        neighbours: Neighbourhood | None = None,  # None: nobody listens to ARP and neighbour discovery
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
    ) -> None:
        """Raises ValueError for a protected entry that is neither an address nor a CIDR."""
        self.settings = settings or FastLaneSettings()
        self.shield = Shared(shield)
        self.clock = clock or SystemClock()
        self.known = KnownPeers(self.settings.knowing)
        self.missed = 0  # suspects that were known, standing or pardoned already
        self._store, self._graph, self._flows = store, graph, flows
        self._detectors = detectors or SuspectDetectors()
        self._observers, self._neighbours = tuple(observers), neighbours
        self._driver = ShieldDriver(self.shield, clock=self.clock)
        self._engine = Engine(store, [self._driver], clock=self.clock)  # the writer's, but for `_restart`
        self._decider = self._deciding()
        self._writer = Writer()
        self._standing: dict[str, Standing] = {}
        self._counts: dict[str, int] = {}  # target -> plans standing against it
        self._ending: set[str] = set()  # targets that the writer is taking back
        self._chores: Iterator[None] | None = None  # flow work under way
        self._pardons: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._rests: OrderedDict[str, int] = OrderedDict()  # target -> not before, epoch ns
        self._settled: OrderedDict[str, int] = OrderedDict()  # target -> ended or pardoned at; older news is no news
        self._answered = Answered(self.settings.remembered)
        self._stages: OrderedDict[str, str] = OrderedDict()  # target -> hardest action so far
        self._pressed: dict[str, tuple[Finding, int]] = {}  # service -> a flood that names no source, seen ns
        own_ns = self.clock.now_ns() - self.clock.monotonic_ns()
        self._epoch_ns = getattr(shield, "offset_ns", 0) or own_ns  # the kernel's times differ from ours by nothing
        self._look_due = self._drain_due = self._judge_due = self._tidy_due = 0
        for prefix in self.settings.protected:
            self.shield.allow(prefix)
        self.known.learn(pa.RecordBatch.from_pylist([], schema=FLOWS))  # loads what the first drain would wait for
        self._detectors.attune(self.shield.attuned())
        self._restart()

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop()`. It is asked at least every `wait_s`."""
        with poised():
            while not stop():
                self.turn()

    def turn(self) -> None:
        """The loop's body, once."""
        suspects = self.shield.suspects(0.0 if self.busy else self.settings.wait_s)  # 1
        for suspect in suspects:
            self.consider(suspect)  # 2 to 6
        self._settle(quiet=not suspects)  # 7

    @property
    def busy(self) -> bool:
        """Whether flow work is left for the turns to come."""
        return self._chores is not None

    def consider(self, suspect: Suspect) -> Decision | None:
        """2: what a suspect leads to; None when it is being dealt with already, or when it was only learned from."""
        if self._resting(f"host/{suspect.source}" if suspect.kind == "source" else ""):
            self.missed += 1
            return None
        finding = self._detectors.judge(suspect)
        return self.answer(finding, suspect.at_ns) if finding else None

    def answer(self, finding: Finding, seen_ns: int) -> Decision | None:
        """3 to 6 for one finding; None when its target is being dealt with already."""
        # 3 choose
        fold = self._due(finding)
        if fold is None:
            return self._unplaced(finding, seen_ns)
        settled = finding.last_ns <= self._settled.get(fold.target, 0)
        standing = None if settled or self._resting(fold.target) else self._standing.get(fold.target)
        if standing and standing.unhindered(finding, round(self.settings.slow_patience_s * 1e9)):
            standing.finding = finding
            return self._escalate(fold.target, standing)
        if settled or standing or self._resting(fold.target):
            self.missed += 1
            return None
        return self._carry_out(finding, fold, seen_ns)

    def undo(self, target: str, why: str = "asked to") -> None:
        """Take everything back that stands against a target and leave it alone for `quiet_s`. From any thread."""
        self._pardons.put((target, why))

    def flush(self) -> None:
        """Wait until every receipt is on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the receipts. Entries stay: they end by themselves."""
        self._writer.close()

    def figures(self) -> dict[str, int]:
        """What stands, waits and failed."""
        return {
            "standing": len(self._standing),
            "known_peers": len(self.known.known()),
            "receipts_failed": self._writer.failed,
            "missed": self.missed,
        } | (self._neighbours.figures() if self._neighbours else {})

    # -- 3 choose ----------------------------------------------------------------------------------------------

    def _due(self, finding: Finding) -> FoldSpec | None:
        """The gentlest fold that the shield can do; the hardest for a target that has come that far before."""
        folds = [fold for fold in propose(finding) if self._driver.check(fold) is None]
        if not folds:
            return None
        at_once = not self.settings.staged or self._stages.get(folds[0].target) == "drop"
        return self._trimmed(folds[-1] if at_once else folds[0])

    def _trimmed(self, fold: FoldSpec) -> FoldSpec:
        """The fold with a fast lane's burst and TTL, without the Kubernetes object that `propose` can make any time."""
        ttl_s = min(fold.ttl_s, self.settings.longest_ttl_s)
        burst = max(1, int(fold.rate_pps * self.settings.burst_s)) if fold.action == "rate" else 0
        undo = fold.undo.replace(f"{fold.ttl_s:g} s", f"{ttl_s:g} s")
        return dataclasses.replace(fold, ttl_s=ttl_s, burst=burst, undo=undo, manifest={})

    def _unplaced(self, finding: Finding, seen_ns: int) -> Decision | None:
        """No single source to act on. A forged flood is kept until the drained flows say where it comes from."""
        target = finding.entities[0]
        if finding.pattern in FORGEABLE and place(target).kind == "service":
            self._pressed.setdefault(target, (finding, seen_ns))
        if self._resting(target):
            return None
        self._rest(target)
        because = "no single source to act on; the networks it comes from are looked up in the flows"
        return self._tell(
            Decision("noted", target, finding=finding, because=because, first_ns=finding.first_ns, seen_ns=seen_ns)
        )

    def _resting(self, target: str) -> bool:
        return target in self._ending or self._rests.get(target, 0) > self._now()

    def _rest(self, target: str) -> None:
        _remember(self._rests, target, self._now() + round(self.settings.quiet_s * 1e9), self.settings.remembered)

    # -- 4 plan and guard, 5 act, 6 tell -----------------------------------------------------------------------

    def _carry_out(self, finding: Finding, fold: FoldSpec, seen_ns: int) -> Decision:
        # 4 plan and guard
        plan = self._decider.plan(finding, fold)
        draft = Decision("", fold.target, fold.action, finding, fold, plan.id, "", finding.first_ns, seen_ns)
        try:
            approval = self._decider.decide(plan)
            self._spare_known(plan)
        except PlanRefused as refusal:
            return self._refused(plan, refusal, draft)
        if plan.mode is Mode.SHADOW:
            return self._shadowed(plan, approval, draft)
        inverse = dict(self._driver.inverse(fold)) | {"rule_id": rule_id(plan.id)}
        decided_ns = self._now()
        # 5 act
        try:
            detail = dict(self._driver.apply(plan, approval))
        except (LoomidiError, OSError) as error:
            return self._failed(plan, error, draft)
        acted_ns = self._now()
        # 6 tell
        until_ns = int(detail["expires_ns"])
        acted = Acted(plan, approval, self._driver.name, inverse, detail | {"until_ns": until_ns}, until_ns)
        self._writer.put(self._engine.receipt_after, acted)
        self._stand(plan, until_ns)
        return self._tell(dataclasses.replace(draft, outcome="applied", decided_ns=decided_ns, acted_ns=acted_ns))

    def _spare_known(self, plan: Plan) -> None:
        """Raises PlanRefused for a peer with a good record whose address this flood could have forged."""
        source = plan.fold.match.source
        if plan.finding.pattern in FORGEABLE and self.known.knows(source):
            why = f"{source} has completed conversations, and this could be sent in its name: a person decides"
            raise PlanRefused(plan.id, (Verdict("fastlane", "known_peer", False, why),))

    def _stand(self, plan: Plan, until_ns: int) -> None:
        target = plan.fold.target
        before = self._standing.get(target)
        plans = (*(before.plans if before else ()), plan.id)
        hardest = plan.fold.action == "drop"
        new = Standing(rule_id(plan.id), plan.fold, plan.finding, until_ns, plans, self._now(), hardest=hardest)
        self._standing[target] = new
        self._counts[target] = len(plans)
        _remember(self._stages, target, plan.fold.action, self.settings.remembered)

    def _refused(self, plan: Plan, refusal: PlanRefused, draft: Decision) -> Decision:
        against = [verdict for verdict in refusal.verdicts if verdict.allow is not True]
        because = "; ".join(f"{verdict.guard}/{verdict.rule}: {verdict.reason}" for verdict in against)
        self._rest(plan.fold.target)
        self._writer.put(self._note, plan, Step.REFUSED, {"verdicts": [v.as_dict() for v in against]})
        return self._tell(dataclasses.replace(draft, outcome="refused", because=because))

    def _shadowed(self, plan: Plan, approval: Approval, draft: Decision) -> Decision:
        self._rest(plan.fold.target)
        self._writer.put(self._engine.carry_out, plan, approval)  # in this mode: on record, and nothing else
        because = "mode shadow: nothing was touched"
        return self._tell(dataclasses.replace(draft, outcome="would", because=because, decided_ns=self._now()))

    def _failed(self, plan: Plan, error: Exception, draft: Decision) -> Decision:
        because = f"{type(error).__name__}: {error}"
        self._rest(plan.fold.target)
        self._writer.put(self._note, plan, Step.FAILED, {"error": because})
        return self._tell(dataclasses.replace(draft, outcome="failed", because=because))

    def _note(self, plan: Plan, step: Step, detail: Mapping[str, Any]) -> None:
        self._store.append(
            plan.id, step, self._driver.name, {}, dict(detail) | {"plan": plan.as_dict(), "lane": "fast"}
        )

    def _tell(self, decision: Decision) -> Decision:
        for observer in self._observers:
            observer(decision)
        return decision

    # -- 7 settle ----------------------------------------------------------------------------------------------

    def _settle(self, quiet: bool) -> None:
        now = self._now()
        with suppress(queue.Empty):
            while True:
                self._pardon(*self._pardons.get_nowait())
        if now >= self._look_due:
            self._look_due = now + round(self.settings.look_s * 1e9)
            self._look(now)
            self._overhear(now)
        if now >= self._drain_due:
            self._drain_due = now + round(self.settings.interval_s * 1e9)
            self._chores = self._drained(now)
        if self._chores is not None:
            if next(self._chores, _DONE) is _DONE:
                self._chores = None
        elif quiet and now >= self._tidy_due:
            self._tidy_due = now + 10_000_000_000
            gc.collect(1)  # the collector is off in the loop; a quiet moment costs nobody anything

    def _overhear(self, now: int) -> None:
        """Who claims another's address is told and never acted on: the address is its victim's (ADR 0093)."""
        because = "told only: the address is a victim's; find the port of the link address that claims it"
        for finding in self._neighbours.findings(now) if self._neighbours else ():
            seen = Decision("noted", finding.entities[0], "", finding, because=because)
            self._tell(dataclasses.replace(seen, first_ns=finding.first_ns, seen_ns=finding.last_ns))

    def _look(self, now: int) -> None:
        """Read the entries back: which ended, which work, which are not enough."""
        if not self._standing:
            return
        found = {state.deny.rule_id: state for state in self.shield.entries()}
        for target, standing in list(self._standing.items()):
            state = found.get(standing.rule_id)
            if state is None or not state.live or standing.until_ns <= now:
                self._ended(target, standing)
            else:
                self._follow(target, standing, state, now)

    def _follow(self, target: str, standing: Standing, state: DenyState, now: int) -> None:
        """Verify what works; drop who does not stop."""
        if state.dropped and not standing.verified and standing.fold is not None:
            standing.verified = True
            self._writer.put(self._engine.verify, standing.plans[-1])
        if standing.pressed(state.dropped, now, round(self.settings.patience_s * 1e9)):
            self._escalate(target, standing)

    def _escalate(self, target: str, standing: Standing) -> Decision | None:
        """The next stage, planned and guarded like the first."""
        standing.hardest = True
        drops = [f for f in propose(standing.finding) if f.action == "drop"] if standing.finding else []
        if standing.finding is None or not drops or drops[0].target != target:
            return None
        return self._carry_out(standing.finding, self._trimmed(drops[0]), self._now())

    def _ended(self, target: str, standing: Standing) -> None:
        """The time of an entry is over: receipt it and take the dead entry out; until then suspects of it wait."""
        del self._standing[target]
        self._counts.pop(target, None)
        self._ending.add(target)
        _remember(self._settled, target, self._now(), self.settings.remembered)
        self._writer.put(self._engine.expire_due)
        self._writer.put(self._ending.discard, target)
        action = standing.fold.action if standing.fold else ""
        plan_id = standing.plans[-1] if standing.plans else ""
        self._tell(Decision("expired", target, action, standing.finding, standing.fold, plan_id, "its time is over"))

    def _pardon(self, target: str, why: str) -> None:
        standing = self._standing.pop(target, None)
        if standing is None:
            self._tell(Decision("noted", target, because="nothing stands against it"))
            return
        self._rest(target)
        _remember(self._settled, target, self._now(), self.settings.remembered)
        self._counts.pop(target, None)
        self._stages.pop(target, None)
        for plan_id in reversed(standing.plans):
            self._writer.put(self._engine.undo, plan_id, why)
        done = Decision("undone", target, "", standing.finding, standing.fold, standing.plans[-1], why)
        self._writer.put(self._tell, done)

    def _drained(self, now: int) -> Iterator[None]:
        """Flows to the graph, the known peers and the flow detectors; what these find is answered like a suspect.

        Yields often: the loop looks at the ring between two steps, so that a large drain holds no decision up.
        """
        self._writer.put(self._engine.expire_due)
        self._detectors.attune(self.shield.attuned())
        batches = list(self.shield.drain())
        yield
        findings: list[Finding] = []
        for batch in batches:
            self.known.learn(batch)
            if self._graph is not None:
                self._graph.absorb(batch)
                yield
            findings += self._flows.observe(batch) if self._flows is not None else ()
            yield
        if self._flows is not None and now >= self._judge_due:
            self._judge_due = now + round(self.settings.judge_s * 1e9)
            findings += self._answered.grown(self._flows.look())  # as they stand: half a window teaches nothing
            yield
        for finding in findings:
            self.answer(finding, finding.last_ns)
        for service, (finding, seen_ns) in list(self._pressed.items()):
            if self._slow_networks(service, finding, seen_ns, batches) or now - seen_ns > self.settings.quiet_s * 1e9:
                del self._pressed[service]

    def _slow_networks(self, service: str, finding: Finding, seen_ns: int, batches: Iterable[Any]) -> bool:
        """Slow the networks that a forged flood comes from, except where somebody known or protected lives; who sends
        it alone is answered by name."""
        where = place(service)
        packets: Counter[str] = Counter()
        for batch in batches:
            packets.update(senders(batch, where.address, where.port))
        if one := alone(packets, finding):
            self.answer(dataclasses.replace(finding, entities=(f"host/{one}", service)), seen_ns)
            return True
        if packets.total() < _ENOUGH:
            return False
        texts = (*self.known.known(), *self.settings.protected)
        spared = [ipaddress.ip_network(text, strict=False) for text in texts]
        for target in self._standing:  # dealt with one by one
            packets.pop(target.partition("/")[2], None)
        facts = tuple(fact for fact in finding.evidence if fact.name != "sources")
        for prefix, weight in covering(packets, spared, self.settings.knowing):
            share = Evidence("share_of_flood", round(weight / packets.total(), 3), None, "", f"comes from {prefix}")
            named = dataclasses.replace(finding, entities=(f"network/{prefix}", service), evidence=(*facts, share))
            self.answer(named, seen_ns)
        return True

    # -- start -------------------------------------------------------------------------------------------------

    def _deciding(self) -> Decider:
        settings = self.settings
        deciding = DeciderSettings(mode=settings.mode, limits=settings.limits)
        floor = FloorGuard(settings.protected, settings.limits, settings.mode)
        counts = self._active
        return Decider([floor], settings.protected, deciding, self._graph, clock=self.clock, active=counts)

    def _active(self) -> Mapping[str, int]:
        """Target -> plans at work on it, for the guards' caps; without the engine's lock, which may wait for a disk."""
        return self._counts

    def _restart(self) -> None:
        """Settle what an earlier process left: its open plans, and entries in the kernel that have no receipt."""
        self._engine.recover()
        adopted = {int(r.inverse["rule_id"]): r.plan_id for r in self._engine.adopt(self.shield)}
        owners = {rule_id(plan_id): plan_id for plan_id in self._store.open_plans()} | adopted
        for state in self.shield.entries():
            plan_id = owners.get(state.deny.rule_id)
            if plan_id is None or not state.live:
                continue
            source = state.deny.match.source
            target = f"{'network' if '/' in source else 'host'}/{source}"
            self._standing[target] = Standing(
                state.deny.rule_id, None, None, state.expires_ns, (plan_id,), hardest=True
            )
            self._counts[target] = 1
            self._tell(Decision("adopted", target, state.deny.action, plan_id=plan_id, because="found after a restart"))

    def _now(self) -> int:
        """ns since the epoch on the clock that the kernel's times are on."""
        return self.clock.monotonic_ns() + self._epoch_ns


def _remember(kept: OrderedDict[str, Any], key: str, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
