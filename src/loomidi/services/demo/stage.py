"""The processes of the demo in their rooms: services, clients, attacker and defender, as objects to talk to.

Called by the story, the bench and the kernel tests. In: a built `Network`. Out: replies and decisions as plain dicts.
Each process ends when its standard input does, so none outlives us. Leaves what to order, and when, to the caller.
"""

import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.services.demo.testbed import CLIENTS, CLIENTS6, LOGIN, WEB, WEB6, Network

SETTLE_S = 0.4  # what is under way in queues gets this long to arrive before it is counted

Message = dict[str, Any]
ANSWER_S = 30.0  # a process of ours that is silent for longer is broken
PAIRS = (*((c, WEB) for c in CLIENTS), *((c, WEB6) for c in CLIENTS6), *((c, LOGIN) for c in CLIENTS[:4]))


def apart() -> tuple[int, int]:
    """A CPU for the attacker and one for the defender: they are two machines. -1, -1 where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (-1, -1)


class Speaking:
    """A child that reads orders and writes lines of JSON."""

    def __init__(self, network: Network, room: str, module: str, *given: str) -> None:
        command = [sys.executable, "-m", f"loomidi.services.demo.{module}", *given]
        self.process: subprocess.Popen[str] = network.spawn(room, command)
        self.module = module

    def tell(self, order: Message) -> None:
        """Write one order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next line. Raises EnvironmentLacks when the process has ended."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise EnvironmentLacks(f"the demo's {self.module} process ended early; its error is above")
        return text


class Attacker(Speaking):
    """Carries out one order after the other."""

    def __init__(self, network: Network, interface: str = "eth0", cpu: int = -1) -> None:
        super().__init__(network, "attacker", "traffic", interface, str(cpu))

    def does(self, order: Message) -> Message:
        """Carry out and wait for the figures."""
        self.tell(order)
        reply: Message = json.loads(self.line())
        return reply

    def passes(self, source: str, target: str, patience_s: float = 1.0) -> bool:
        """Whether one web request from this address is answered."""
        return bool(self.does({"do": "fetch", "source": source, "target": target, "patience": patience_s})["answered"])


class People:
    """The services, and clients that use them all the time."""

    def __init__(self, network: Network, per_second: float = 4.0, pairs: Sequence[tuple[str, str]] = PAIRS) -> None:
        for room in ("web", "login"):
            Speaking(network, room, "benign", "serve").line()
        self._asking = Speaking(network, "client", "benign", "ask", str(per_second), json.dumps(list(pairs)))
        self.figures: Message = {"sent": 0, "answered": 0, "lost": 0, "slowest_ms": 0.0}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def finish(self) -> Message:
        """Ask no more, wait for what is due, and give the final figures."""
        assert self._asking.process.stdin is not None
        self._asking.process.stdin.close()
        self._reader.join(ANSWER_S)
        return self.figures

    def _read(self) -> None:
        for text in self._asking.process.stdout or ():
            self.figures = json.loads(text)


class Defender(Speaking):
    """The shield and the fast lane in a process of their own."""

    def __init__(self, network: Network, config: Message, listener: Callable[[Message], None] = lambda _: None) -> None:
        config = {"interface": network.interface, **config}
        super().__init__(network, "node", "defender", json.dumps(config))
        self.decisions: list[Message] = []
        self.applied: dict[str, Message] = {}  # target -> what was last carried out against it
        self.ready: Message = self._readied()
        self._listener = listener
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _readied(self) -> Message:
        """The line that it is ready; before it come decisions about what an earlier process left.

        Raises EnvironmentLacks with its reason when it cannot attach a shield here.
        """
        while not (message := json.loads(self.line())).get("ready"):
            if "error" in message:
                raise EnvironmentLacks(message["error"])
            self.decisions.append(message)
        return dict(message)

    def decisions_of(self, outcome: str) -> list[str]:
        """Targets of the decisions that came out so, in their order."""
        return [str(decision["target"]) for decision in self.decisions if decision["decision"] == outcome]

    def ask(self, order: Message) -> Message:
        """Send an order and wait for its reply."""
        self.tell(order)
        try:
            return self._replies.get(timeout=ANSWER_S)
        except queue.Empty:
            raise EnvironmentLacks(f"the demo's defender did not answer {order['do']!r} in {ANSWER_S:g} s") from None

    def entry(self, source: str) -> Message | None:
        """The live entry of a source."""
        found = self.ask({"do": "entries"})["entries"]
        return next((entry for entry in found if entry["source"] == source and entry["live"]), None)

    def wait(self, wanted: Callable[[Message], bool], seconds: float) -> Message | None:
        """The first decision that is wanted, also one that was made already; None when none comes in time."""
        until = time.monotonic() + seconds
        while True:
            found = next((decision for decision in list(self.decisions) if wanted(decision)), None)
            if found or time.monotonic() > until:
                return found
            time.sleep(0.02)

    def wait_applied(self, target: str, seconds: float) -> Message | None:
        """What was carried out against a target, as soon as it is known; None when nothing is in time."""
        until = time.monotonic() + seconds
        while target not in self.applied and time.monotonic() < until:
            time.sleep(0.002)
        return self.applied.get(target)

    def end(self) -> None:
        """Let it finish its receipts and go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(ANSWER_S)

    def _read(self) -> None:
        for text in self.process.stdout or ():
            message: Message = json.loads(text)
            if "reply" in message:
                self._replies.put(message["reply"])
            else:
                self.decisions.append(message)
                if message["decision"] == "applied":
                    self.applied[message["target"]] = message
                self._listener(message)


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of repeated measurements, in milliseconds."""

    p50: float
    p99: float
    trials: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> "Spread":
        """Nearest rank. Of nothing: NaN, so that nobody takes it for fast."""
        ranked = sorted(nanoseconds)
        if not ranked:
            return cls(float("nan"), float("nan"), 0)
        at = [ranked[max(0, -(-len(ranked) * share // 100) - 1)] / 1e6 for share in (50, 99)]
        return cls(round(at[0], 4), round(at[1], 4), len(ranked))

    def as_dict(self) -> dict[str, float]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def unaccounted(network: Network, defender: Defender) -> int:
    """Packets that the interface counted and the shield did not, read when nothing moves."""
    last = now = (-1, -1)
    for _ in range(20):
        counted = sum(int(n) for n in defender.ask({"do": "counters"})["counters"].values())
        now = (network.received()[0], counted)
        if now == last:
            break
        last = now
        time.sleep(SETTLE_S)
    return now[0] - now[1]
