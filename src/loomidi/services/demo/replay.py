"""The same story in user space: generated frames through the twin of the shield, at their real pace.

Called by the verb without root or XDP, and by `--twin`. In: a `Telling`, the number of trials. Out: `Outcome` with rung
`twin`. The C code that judges and accounts is the one that runs in the kernel, the lane is the same; what is missing is
a network: frames are handed over one by one, a benign request is a conversation of four frames that must all pass.
"""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from loomidi.contracts import Match, Mode
from loomidi.garden.graph import EntityGraph
from loomidi.insight.explain import explain
from loomidi.ionic.act import SqliteReceipts
from loomidi.ionic.decide import Limits
from loomidi.loom.capture.twin import TwinSettings, TwinShield
from loomidi.loom.flows import MeterSettings
from loomidi.origami.online import FlowDetectors, FlowSettings
from loomidi.services.demo import frames
from loomidi.services.demo.attacks import PROTECTED, Attack, attacks, forged_at_random, forged_for_protected
from loomidi.services.demo.stage import Message, Spread
from loomidi.services.demo.story import Outcome, Telling
from loomidi.services.demo.tallying import Tally
from loomidi.services.demo.testbed import ATTACKERS, CLIENTS, CLIENTS6, WEB, WEB6
from loomidi.services.demo.traffic import prepared
from loomidi.services.demo.trials import LONGEST_S, Trials, fresh_sources
from loomidi.services.fast.poising import poised
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fast.waking import waking
from loomidi.services.fastlane import Decision, FastLane

PPS = 20_000  # of a flood; Python hands the frames over one by one
TURN = 4  # frames between two turns of the lane
TALK_GAP_S = 0.02  # between two benign conversations


class Replay:
    """One run over one twin."""

    def __init__(self, telling: Telling, folder: Path) -> None:
        flows = MeterSettings(idle_s=1.5, active_s=10.0)
        self.shield = TwinShield(settings=TwinSettings(watch=waking(), flows=flows))
        self.tally = Tally(FlowDetectors(FlowSettings(lateness_s=5.0, quiet_s=10.0)))
        self.store = SqliteReceipts(folder / "receipts.sqlite")
        self.outcome = Outcome(rung="twin")
        self.applied: dict[str, Decision] = {}
        self._telling, self._given = telling, 0
        self._talks = _conversations()
        self._talk_due = 0.0
        settings = FastLaneSettings(
            mode=Mode.AUTONOMOUS, protected=PROTECTED, limits=Limits(max_active=100_000), wait_s=0.0, judge_s=1.5
        )
        observers = [self._keep]
        graph = EntityGraph()
        self.lane = FastLane(self.shield, self.store, settings, flows=self.tally, graph=graph, observers=observers)

    def tell(self, trials: int) -> Outcome:
        """The steps of `story`, in the same order."""
        say = self._telling
        say.scene(f"twin of the shield in user space, mode autonomous; protected: {', '.join(PROTECTED)}")
        self._wait(1.5)
        for attack in attacks(tools=False):
            self._attack(attack)
        say.scene("floods in the name of those who must never be cut")
        for source in PROTECTED:
            self._forged_for(source)
        say.scene(f"{trials} short floods, each from a fresh source")
        self._trials(trials)
        say.scene("one block is taken back")
        self._undo(ATTACKERS[0])
        say.scene("a flood that names no source: its networks are slowed, nobody known lives there")
        self._attack(forged_at_random())
        say.scene("the accounts")
        self._accounts()
        return self.outcome

    def _attack(self, attack: Attack) -> None:
        self._telling.attack(attack)
        sent = self._launch(attack)
        until = time.monotonic() + attack.patience_s
        while not self._stopped(attack) and time.monotonic() < until:
            self._wait(0.1)
        if not self._stopped(attack):
            self._fail(f"not stopped: {attack.title}")
        target = next((t for t in self.applied if t.startswith(attack.culprits[0])), "")
        self._telling.stopped(attack, self._entry(target.partition("/")[2]), sent)

    def _stopped(self, attack: Attack) -> bool:
        return all(any(target.startswith(culprit) for target in self.applied) for culprit in attack.culprits)

    def _launch(self, attack: Attack) -> int:
        order = attack.order
        if order["do"] == "logins":
            made = _logins(order["source"], order["target"])
            return self._send(made, float(order["seconds"]), 4 * int(order["per_second"]))
        ready, once = prepared(order)
        return self._send(
            ready if once else itertools.cycle(ready), float(order["seconds"]), int(order.get("pps", PPS))
        )

    def _send(self, given: Iterable[bytes], seconds: float, pps: int) -> int:
        """Hand frames over at that pace; the lane and the people have their turns in between."""
        began, sent = time.monotonic(), 0
        for frame in given:
            self._frame(frame)
            sent += 1
            if sent % TURN == 0 and self._turn() > began + seconds:
                break
            ahead = began + sent / pps - time.monotonic()
            if ahead > 0.0005:
                self._wait(ahead)
        return sent

    def _frame(self, frame: bytes) -> bool:
        """True when it passed."""
        self._given += 1
        return self.shield.process(frame, time.time_ns()) == "pass"

    def _turn(self) -> float:
        """One turn of the lane, its receipts (the twin is for one thread), one conversation when it is due."""
        decided = len(self.applied)
        self.lane.turn()
        if len(self.applied) != decided or not self.lane.busy:
            self.lane.flush()
        now = time.monotonic()
        if now >= self._talk_due:
            self._talk_due = now + TALK_GAP_S
            passed = [self._frame(frame) for frame in next(self._talks)]
            self.outcome.benign["sent"] += 1
            self.outcome.benign["lost"] += not all(passed)
        return now

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            self.shield.move_to(time.time_ns())
            self._turn()
            time.sleep(min(0.002, max(0.0, until - now)))

    def _forged_for(self, source: str) -> None:
        attack = forged_for_protected(source)
        self._telling.attack(attack)
        sent = self._launch(attack)
        if self._entry(source) is not None:
            self._fail(f"the protected {source} was touched")
        self._telling.line(f"{sent:,} frames, and {source} is left alone")

    def _trials(self, count: int) -> None:
        self.lane.settings = _staged(self.lane.settings, False)
        sources = fresh_sources(0, count)
        rows = [row for source in sources if (row := self._trial(source))]
        self.lane.settings = _staged(self.lane.settings, True)
        raw = {
            "decision_to_drop": [row[0] for row in rows],
            "first_packet_to_drop": [row[1] for row in rows],
            "crossing_to_decision": [row[2] for row in rows],
        }
        missed = count - len(rows)
        self.outcome.trials = Trials(
            decision_to_drop=Spread.of(raw["decision_to_drop"]),
            first_packet_to_drop=Spread.of(raw["first_packet_to_drop"]),
            crossing_to_decision=Spread.of(raw["crossing_to_decision"]),
            raw=raw,
            tried=count,
            unblocked=missed,
            sent=0,
            sources=tuple(sources),
        )
        if missed:
            self._fail(f"{missed} of {count} trials ended without a drop")

    def _trial(self, source: str) -> tuple[int, int, int] | None:
        """A flood until its first drop: ns from the decision, from the first frame, and from crossing to decision."""
        ready, until = frames.syn_flood(source, WEB, 80, count=64), time.monotonic() + LONGEST_S
        first_ns = time.time_ns()
        for frame in itertools.cycle(ready):
            if not self._frame(frame):
                break
            self.lane.turn()
            if time.monotonic() > until:
                return None
        made, entry = self.applied[f"host/{source}"], self.shield.entry(Match(source=source))
        self.lane.flush()
        assert entry is not None
        hit_ns = entry.first_hit_ns
        return hit_ns - made.decided_ns, hit_ns - first_ns, made.decided_ns - made.seen_ns

    def _undo(self, source: str) -> None:
        target, frame = f"host/{source}", frames.tcp(source, WEB, (50000, 80))
        blocked = not any([self._frame(frame) for _ in range(50)][-10:])
        self.lane.flush()
        decision = self.applied[target]
        if decision.finding and decision.fold:
            self.outcome.explanation = explain(decision.finding, [decision.fold], self.store.of(decision.plan_id))
        self.lane.undo(target, "the demo shows that it can be taken back")
        self.lane.turn()
        self.lane.flush()
        passes = self._frame(frame)
        self.outcome.undone = blocked and passes and self._entry(source) is None
        words = f"{source}: frames {'dropped' if blocked else 'PASSED'} before, {'passed' if passes else 'LOST'} after"
        self._telling.line(words)
        if not self.outcome.undone:
            self._fail(f"undo of the block of {source} could not be verified ({words})")

    def _accounts(self) -> None:
        while self.lane.busy:
            self.lane.turn()
        self.lane.close()
        for batch in self.shield.flush():
            self.tally.count(batch)
        counters = {reason: packets for reason, (packets, _) in self.shield.counters().items()}
        passed = counters["accounted"] + counters["overflowed"]
        dropped = sum(n for reason, n in counters.items() if reason.startswith("drop_"))
        unaccounted = self._given - sum(counters.values())
        self.outcome.balance = {
            "adds_up": unaccounted == 0 and self.tally.packets == passed,
            "received": self._given,
            "unaccounted": unaccounted,
            "passed": passed,
            "in_flows": self.tally.packets,
            "dropped": dropped,
            "unparsed": sum(n for reason, n in counters.items() if reason.startswith("unparsed_")),
            "overflow_lost": counters["overflow_lost"],
        }
        if not self.outcome.balance["adds_up"]:
            self._fail(f"the balance does not add up: {self.outcome.balance}")
        if self.outcome.benign["lost"] or not self.outcome.benign["sent"]:
            self._fail(f"{self.outcome.benign['lost']} of {self.outcome.benign['sent']} benign requests were lost")

    def _entry(self, source: str) -> Message | None:
        state = self.shield.entry(Match(source=source)) if source else None
        if state is None or not state.live:
            return None
        return {"hits": state.hits, "dropped": state.dropped}

    def _keep(self, decision: Decision) -> None:
        if decision.outcome == "applied":
            self.applied[decision.target] = decision
        pattern = decision.finding.pattern if decision.finding else ""
        told = {"decision": decision.outcome, "target": decision.target, "action": decision.action, "pattern": pattern}
        times = {"first_ns": decision.first_ns, "decided_ns": decision.decided_ns, "because": decision.because}
        self._telling.decision(told | times)

    def _fail(self, line: str) -> None:
        self.outcome.failures.append(line)
        self._telling.line(f"FAILED: {line}")


def _staged(settings: FastLaneSettings, staged: bool) -> FastLaneSettings:
    return dataclasses.replace(settings, staged=staged)


def _conversations() -> Iterator[list[bytes]]:
    """What the shield sees of one web request after the other: SYN, ACK, the request, FIN."""
    pairs = [*((client, WEB) for client in CLIENTS), *((client, WEB6) for client in CLIENTS6)]
    ports = itertools.cycle(range(20000, 60000))
    for (source, target), port in zip(itertools.cycle(pairs), ports, strict=False):
        yield _conversation(source, target, (port, 80), b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n")


def _logins(source: str, target: str) -> Iterator[bytes]:
    for port in itertools.cycle(range(20000, 60000)):
        yield from _conversation(source, target, (port, 22), b"root:12345678\n")


def _conversation(source: str, target: str, ports: tuple[int, int], said: bytes) -> list[bytes]:
    say = frames.ACK | frames.PSH
    return [
        frames.tcp(source, target, ports),
        frames.tcp(source, target, ports, frames.ACK),
        frames.tcp(source, target, ports, say, said),
        frames.tcp(source, target, ports, frames.ACK | frames.FIN),
    ]


def replayed(telling: Telling, trials: int) -> Outcome:
    """The whole demo on the twin. Needs no privilege."""
    with tempfile.TemporaryDirectory(prefix="loomidi-demo-") as folder, poised():
        return Replay(telling, Path(folder)).tell(trials)
