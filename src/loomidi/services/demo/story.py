"""The story of the demo, live: benign traffic, attacks one after the other, repeated trials, undo, and the accounts.

Called by the verb. In: a `Telling` that shows, the number of trials. Out: `Outcome`, with a line for everything that
did not hold. Needs root and XDP or tc; without them the verb tells the same story on the twin (`replay`). Steps:

    1 build the rooms, attach the shield      4 floods in the name of the protected: nothing may happen
    2 people use the services                 5 repeated trials
    3 attack after attack, each to be stopped 6 one block taken back   7 a flood of forged sources   8 the accounts
"""

import contextlib
import dataclasses
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from loomidi.services.demo.attacks import PROTECTED, Attack, attacks, forged_at_random, forged_for_protected
from loomidi.services.demo.stage import Attacker, Defender, Message, People, apart, unaccounted
from loomidi.services.demo.testbed import ATTACKERS, WEB, Network, sweep
from loomidi.services.demo.trials import Trials, fresh_sources, run_trials


class Telling(Protocol):
    """Shows what happens. Adapters: the verb's, and a silent one in tests."""

    def scene(self, text: str) -> None:
        """A new part of the story begins."""

    def attack(self, attack: Attack) -> None:
        """An attack is about to begin."""

    def decision(self, decision: Message) -> None:
        """The defender has decided. Called from another thread."""

    def stopped(self, attack: Attack, entry: Message | None, sent: int) -> None:
        """An attack is over; `entry` is what stands against its first culprit."""

    def line(self, text: str) -> None:
        """Anything else worth a line."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """The figures, and what did not hold."""

    rung: str = ""
    trials: Trials | None = None
    benign: Message = dataclasses.field(default_factory=lambda: {"sent": 0, "lost": 0})
    balance: Message = dataclasses.field(default_factory=lambda: {"adds_up": False})
    undone: bool = False
    explanation: str = ""
    failures: list[str] = dataclasses.field(default_factory=list)

    def as_dict(self) -> Message:
        """What `--json` writes. A figure that was not measured is null."""
        nothing = {"p50": None, "p99": None, "trials": 0}
        trials = self.trials
        return {
            "decision_to_drop_ms": trials.decision_to_drop.as_dict() if trials else nothing,
            "first_packet_to_drop_ms": trials.first_packet_to_drop.as_dict() if trials else nothing,
            "benign_requests": {"sent": self.benign["sent"], "lost": self.benign["lost"]},
            "balance": self.balance,
            "undo": {"verified": self.undone},
            "rung": self.rung,
        }


class Story:
    """One run. `tell` walks through it."""

    def __init__(self, telling: Telling, trials: int) -> None:
        self._telling, self._count = telling, trials
        self.outcome = Outcome()
        self._sent: dict[str, int] = {}  # exact source -> frames that its generator sent

    def tell(self, network: Network, folder: Path) -> Outcome:
        """All steps, in order."""
        # 1 build and attach
        cpus = apart()
        config = {"receipts": str(folder / "receipts.sqlite"), "protected": PROTECTED, "judge_s": 1.5, "cpu": cpus[1]}
        self._network = network
        self._defender = Defender(network, config, self._telling.decision)
        self.outcome.rung = self._defender.ready["rung"]
        self._attacker = Attacker(network, cpu=cpus[0])
        before = unaccounted(self._network, self._defender)
        self._telling.scene(
            f"shield attached ({self.outcome.rung}), mode autonomous; protected: {', '.join(PROTECTED)}"
        )
        # 2 people
        people = People(network)
        self._telling.scene("twelve clients use a web service and a login host")
        time.sleep(1.5)
        # 3 attacks
        self._attacks()
        # 4 the protected
        self._protected()
        # 5 trials
        self._trials()
        # 6 undo
        self._undo()
        # 7 forged sources
        self._forged()
        # 8 accounts
        self._accounts(people, before)
        return self.outcome

    def keep(self) -> str:
        """How to look around in what `--keep` leaves."""
        return f"ip netns exec {self._network.name_of('attacker')} bash"

    def _attacks(self) -> None:
        for attack in attacks():
            self._telling.attack(attack)
            sent = self._launch(attack)
            if not self._all_stopped(attack):
                self._fail(f"not stopped: {attack.title}")
            source = attack.culprits[0].partition("/")[2]
            self._telling.stopped(attack, self._defender.entry(source), sent)

    def _launch(self, attack: Attack) -> int:
        """Carry it out; returns the frames or attempts that were sent (0 for tools that do not say)."""
        if attack.tool:
            self._run_tool(attack)
            return 0
        sent = int(self._attacker.does(attack.order)["sent"])
        for source in attack.exact:
            self._sent[source] = self._sent.get(source, 0) + sent
        return sent

    def _run_tool(self, attack: Attack) -> None:
        """An attack by somebody else's program, ended after its time; how it ended is its own business."""
        child = self._network.spawn("attacker", attack.tool, quiet=True)
        try:
            child.wait(float(attack.order["seconds"]) if "--flood" in attack.tool else 10.0)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            child.wait(5.0)

    def _all_stopped(self, attack: Attack) -> bool:
        """Whether each culprit was acted on, for this kind of attack or another it also is."""
        found = [self._defender.wait(_acted_on(culprit), attack.patience_s) for culprit in attack.culprits]
        return all(found)

    def _protected(self) -> None:
        self._telling.scene("floods in the name of those who must never be cut")
        for source in PROTECTED:
            attack = forged_for_protected(source)
            self._telling.attack(attack)
            sent = self._launch(attack)
            refused = self._defender.wait(lambda d, s=source: d["target"] == f"host/{s}", 2.0)  # type: ignore[misc]
            if self._defender.entry(source) or (refused and refused["decision"] != "refused"):
                self._fail(f"the protected {source} was touched")
            self._telling.line(f"{sent:,} frames, and {source} is left alone")

    def _trials(self) -> None:
        self._telling.scene(f"{self._count} short floods, each from a fresh source, timed by the kernel")
        trials = run_trials(self._attacker, self._defender, fresh_sources(0, self._count))
        self.outcome.trials = trials
        self._sent_in_trials = trials.sent
        if trials.unblocked:
            self._fail(f"{trials.unblocked} of {trials.tried} trials ended without a drop")

    def _undo(self) -> None:
        """Blocked, taken back, through again: by a real request from the attacker's address."""
        self._telling.scene("one block is taken back")
        source, target = ATTACKERS[0], f"host/{ATTACKERS[0]}"
        blocked = self._defender.entry(source) is not None and not self._attacker.passes(source, WEB)
        self.outcome.explanation = self._defender.ask({"do": "explain", "target": target})["text"]
        self._defender.ask({"do": "undo", "target": target})
        taken = self._defender.wait(lambda d: d["decision"] == "undone" and d["target"] == target, 5.0)
        passes = self._attacker.passes(source, WEB)
        self.outcome.undone = bool(blocked and taken and passes and self._defender.entry(source) is None)
        words = (
            f"{source}: request {'dropped' if blocked else 'ANSWERED'} before, {'answered' if passes else 'LOST'} after"
        )
        self._telling.line(words)
        if not self.outcome.undone:
            self._fail(f"undo of the block of {source} could not be verified ({words})")

    def _forged(self) -> None:
        self._telling.scene("a flood that names no source: its networks are slowed, nobody known lives there")
        attack = forged_at_random()
        self._telling.attack(attack)
        sent = self._launch(attack)
        acted = self._defender.wait(_acted_on(attack.culprits[0]), attack.patience_s)
        if not acted:
            self._fail(f"not stopped: {attack.title}")
        entry = self._defender.entry(acted["target"].partition("/")[2]) if acted else None
        self._telling.stopped(attack, entry, sent)

    def _accounts(self, people: People, before: int) -> None:
        """Stop all traffic, then count: nothing may be missing anywhere."""
        self._telling.scene("the accounts")
        self.outcome.benign = people.finish()
        difference = unaccounted(self._network, self._defender) - before
        exact = self._defender.ask({"do": "balance", "sources": [*self._sent, *self._trial_sources()]})
        counters, (_, _, lost) = exact["counters"], self._network.received()
        dropped = sum(n for reason, n in counters.items() if reason.startswith("drop_"))
        passed = counters["accounted"] + counters["overflowed"]
        arrived = exact["by_source"] | {}
        generated = sum(self._sent.values()) + self._sent_in_trials
        seen = sum(arrived.values()) + exact["dropped_by_source"]
        self.outcome.balance = {
            "adds_up": difference == 0 and exact["flow_packets"] == passed and 0 <= generated - seen <= lost,
            "received": self._network.received()[0],
            "unaccounted": difference,
            "passed": passed,
            "in_flows": exact["flow_packets"],
            "dropped": dropped,
            "unparsed": sum(n for reason, n in counters.items() if reason.startswith("unparsed_")),
            "overflow_lost": counters["overflow_lost"],
            "generated": generated,
            "generated_and_seen": seen,
            "lost_on_the_wire": lost,
        }
        self._judge_accounts()

    def _judge_accounts(self) -> None:
        if not self.outcome.balance["adds_up"]:
            self._fail(f"the balance does not add up: {self.outcome.balance}")
        if self.outcome.benign["lost"] or not self.outcome.benign["sent"]:
            self._fail(f"{self.outcome.benign['lost']} of {self.outcome.benign['sent']} benign requests were lost")

    def _trial_sources(self) -> Sequence[str]:
        return self.outcome.trials.sources if self.outcome.trials else ()

    def _fail(self, line: str) -> None:
        self.outcome.failures.append(line)
        self._telling.line(f"FAILED: {line}")


def _acted_on(culprit: str) -> Callable[[Message], bool]:
    """A decision that was carried out against a culprit; a network is known by its beginning."""

    def wanted(decision: Message) -> bool:
        target = str(decision["target"])
        same = target.startswith(culprit) if culprit.startswith("network/") else target == culprit
        return same and decision["decision"] == "applied"

    return wanted


@contextlib.contextmanager
def ending_cleanly() -> Iterator[None]:
    """SIGTERM ends the demo like Ctrl-C, so that the rooms are removed."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def live(telling: Telling, trials: int, linger: Callable[[str], None] | None = None) -> Outcome:
    """The whole demo in namespaces. `linger`: called with a hint before the rooms go. Raises EnvironmentLacks."""
    for name in sweep():
        telling.line(f"removed {name}, left by a demo that was killed")
    with ending_cleanly(), tempfile.TemporaryDirectory(prefix="loomidi-demo-") as folder, Network() as network:
        story = Story(telling, trials)
        outcome = story.tell(network, Path(folder))
        if linger:
            linger(story.keep())
        return outcome
