"""The process that defends: a real shield on one interface and the fast lane over it, steered by lines of JSON.

Run as `python -m loomidi.services.demo.defender CONFIG` inside the room `node`; by the demo, the bench and the tests.
In: a `Config` as JSON, then one order a line on standard input (its end ends the process). Out: one JSON line for
`ready`, for each decision (written after the act) and for each reply. Killing it is part of the tests: entries end
without it.

Orders: {"do": "undo", "target": ID}   {"do": "explain", "target": ID}   {"do": "entries"}   {"do": "counters"}
        {"do": "balance", "sources": [IP...]}
        {"do": "staged", "value": BOOL}   {"do": "floor", "source": IP}   {"do": "churn", "per_s": N}
"""

import dataclasses
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loomidi.contracts import LoomidiError, Match, Mode, Step
from loomidi.contracts.ports import Deny, DenyState
from loomidi.garden.graph import EntityGraph
from loomidi.insight.explain import explain
from loomidi.ionic.act import SqliteReceipts
from loomidi.ionic.decide import Limits as Caps
from loomidi.loom.capture import ShieldSettings, attach, detach, open_shield, reopen
from loomidi.loom.flows import MeterSettings
from loomidi.origami.online import FlowDetectors, FlowSettings
from loomidi.services.demo.tallying import Tally
from loomidi.services.fast.neighbouring import neighbourhood
from loomidi.services.fast.settings import FastLaneSettings
from loomidi.services.fast.waking import waking
from loomidi.services.fastlane import Decision, FastLane

Order = dict[str, Any]
_CHURN = 100  # changes at a stretch


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """What the demo tells its defender."""

    interface: str
    receipts: str  # path of the SQLite file
    mode: str = "autonomous"
    protected: tuple[str, ...] = ()
    xdp: str = "auto"  # rung: auto, native, generic, tc
    longest_ttl_s: float = 300.0
    most_active: int = 100_000  # trials stand against many sources at once
    judge_s: float = 5.0  # between two judgements of the flows
    idle_s: float = 1.5  # flows end soon, so that the demo does not wait for them
    pinned: bool = False  # the shield outlives this process, as with `loomidi shield attach`
    cpu: int = -1  # pin to this CPU


class Defender:
    """Shield, lane and the two pipes."""

    def __init__(self, config: Config) -> None:
        flows = MeterSettings(idle_s=config.idle_s, active_s=10.0)
        self.shield = _shield(config, ShieldSettings(watch=waking(), flows=flows))
        self.tally = Tally(FlowDetectors(FlowSettings(lateness_s=5.0, quiet_s=10.0)))
        self.orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self.ended = False
        self._churn: Churn | None = None
        self.store = store = SqliteReceipts(Path(config.receipts))
        self.last: dict[str, Decision] = {}  # target -> what was last carried out against it
        settings = FastLaneSettings(
            mode=Mode(config.mode),
            protected=config.protected,
            limits=Caps(max_active=config.most_active),
            longest_ttl_s=config.longest_ttl_s,
            judge_s=config.judge_s,
        )
        graph = EntityGraph()
        self.neighbours = neighbourhood(config.interface)
        self.lane = FastLane(
            self.shield, store, settings, flows=self.tally, graph=graph, neighbours=self.neighbours,
            observers=[self._keep, _report],
        )  # fmt: skip

    def work(self) -> None:
        """Say `ready`, then defend until standard input ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        _say({"ready": True, "rung": self.shield.rung, "offset_ns": self.shield.offset_ns, "pid": os.getpid()})
        try:
            self.lane.run(self._obey)
        finally:
            self.lane.close()
            self.neighbours.close()
            self.shield.close()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.orders.put(json.loads(line))
        self.orders.put(None)

    def _obey(self) -> bool:
        """Carry out what has come in; True when there is nothing more to come."""
        while not self.orders.empty():
            order = self.orders.get()
            if order is None:
                return True
            _say({"reply": ORDERS[order["do"]](self, order)})
        return False

    def _keep(self, decision: Decision) -> None:
        if decision.outcome == "applied":
            self.last[decision.target] = decision

    def explain(self, order: Order) -> Order:
        """Why the last act against a target was done, in plain words."""
        self.lane.flush()
        decision = self.last[order["target"]]
        assert decision.finding is not None
        assert decision.fold is not None
        return {"text": explain(decision.finding, [decision.fold], self.store.of(decision.plan_id))}

    def counters(self, _: Order) -> Order:
        """Packets by reason, now."""
        return {"counters": {reason: packets for reason, (packets, _) in self.shield.counters().items()}}

    def undo(self, order: Order) -> Order:
        """Take back what stands against a target."""
        self.lane.undo(order["target"], "the demo shows that it can be taken back")
        return {}

    def entries(self, _: Order) -> Order:
        """What is in the tables."""
        return {"entries": [_entry(state) for state in self.shield.entries()]}

    def balance(self, order: Order) -> Order:
        """Every count there is, after the flows have been flushed. Traffic must have ended."""
        while self.lane.busy:
            self.lane.turn()  # a drain under way holds flows that nobody has counted
        counters = self._settled_counters()
        wanted = set(order.get("sources", ()))
        states = [state for state in self.shield.entries() if state.deny.match.source in wanted]
        return {
            "counters": counters,
            "flow_packets": self.tally.packets,
            "by_source": {source: self.tally.by_source[source] for source in wanted},
            "dropped_by_source": sum(state.dropped for state in states) + self._dropped_before(wanted),
            "lane": self.lane.figures(),
        }

    def _settled_counters(self) -> Order:
        """Flush the flows until no packet came meanwhile: a late RST or FIN must be in both counts or in neither."""
        for _ in range(50):
            before = self.counters({})["counters"]
            for batch in self.shield.flush():
                self.tally.count(batch)
            after: Order = self.counters({})["counters"]
            if after == before:
                break
        return after

    def _dropped_before(self, sources: set[str]) -> int:
        """Drops of entries that were taken out, from the receipts of their end."""
        self.lane.flush()
        ends = [receipt for receipt in self.store.all() if receipt.step in (Step.UNDONE, Step.EXPIRED)]
        ours = [receipt for receipt in ends if dict(receipt.inverse["match"]).get("source") in sources]
        return sum(int(receipt.detail.get("dropped", 0)) for receipt in ours if not receipt.detail.get("restored"))

    def staged(self, order: Order) -> Order:
        """Whether a source is slowed before it is dropped."""
        self.lane.settings = dataclasses.replace(self.lane.settings, staged=bool(order["value"]))
        return {}

    def floor(self, order: Order) -> Order:
        """One bare write of an entry, for the bench: what no lane can be faster than."""
        at_ns = time.monotonic_ns()
        self.shield.deny(Deny(Match(source=order["source"]), "drop", 60.0))
        return {"at_ns": at_ns, "done_ns": time.monotonic_ns()}

    def churn(self, order: Order) -> Order:
        """Change so many entries a second beside the lane, for the bench; 0 ends it. Tells how many were changed."""
        changed = self._churn.end() if self._churn else 0
        self._churn = Churn(self.shield, int(order["per_s"])) if order["per_s"] else None
        return {"changed": changed}


class Churn:
    """Rules that come and go: entries of addresses that nobody uses, written and removed on a thread of their own."""

    def __init__(self, shield: Any, per_s: int) -> None:
        self._shield, self._pause_s = shield, _CHURN / per_s
        self._changed, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop, and tell how many changes were made. All entries are gone."""
        self._over.set()
        self._thread.join()
        return self._changed

    def _work(self) -> None:
        matches = [Match(source=f"100.64.0.{host}") for host in range(1, _CHURN // 2 + 1)]
        while not self._over.wait(self._pause_s):
            for match in matches:
                self._shield.deny(Deny(match, "drop", 60.0))
            for match in matches:
                self._shield.remove(match)
            self._changed += _CHURN


ORDERS: dict[str, Callable[[Defender, Order], Order]] = {
    "undo": Defender.undo,
    "explain": Defender.explain,
    "counters": Defender.counters,
    "entries": Defender.entries,
    "balance": Defender.balance,
    "staged": Defender.staged,
    "floor": Defender.floor,
    "churn": Defender.churn,
}


def _shield(config: Config, settings: ShieldSettings) -> Any:
    if not config.pinned:
        return open_shield(config.interface, config.xdp, settings)
    try:
        return reopen(config.interface)
    except Exception:  # noqa: BLE001 - none there yet, or one whose interface has gone
        detach(config.interface)
        return attach(config.interface, config.xdp, settings)


def _report(decision: Decision) -> None:
    """One line per decision; called after the act."""
    finding, fold = decision.finding, decision.fold
    _say(
        {
            "decision": decision.outcome,
            "target": decision.target,
            "action": decision.action,
            "because": decision.because,
            "plan_id": decision.plan_id,
            "pattern": finding.pattern if finding else "",
            "finding": finding.as_dict() if finding else None,
            "fold": fold.as_dict() if fold else None,
            "first_ns": decision.first_ns,
            "seen_ns": decision.seen_ns,
            "decided_ns": decision.decided_ns,
            "acted_ns": decision.acted_ns,
        }
    )


def _entry(state: DenyState) -> Order:
    return {
        "source": state.deny.match.source,
        "action": state.deny.action,
        "live": state.live,
        "hits": state.hits,
        "dropped": state.dropped,
        "first_hit_ns": state.first_hit_ns,
        "ttl_s": round(state.deny.ttl_s, 1),
    }


def _say(message: Order) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(text: str) -> None:
    """Run with a `Config` as JSON."""
    given = json.loads(text)
    config = Config(**given | {"protected": tuple(given.get("protected", ()))})
    if config.cpu >= 0:
        os.sched_setaffinity(0, {config.cpu})
    try:
        defender = Defender(config)
    except LoomidiError as error:
        _say({"error": str(error)})
        sys.exit(error.exit_code)
    defender.work()


if __name__ == "__main__":
    main(sys.argv[1])
