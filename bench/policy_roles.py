"""The two processes that bench/policy_latency.py puts where they belong: the prober in a pod, the fast lane on a node.

Run as `python bench/policy_roles.py probe|lane CONFIG` inside a network namespace. In: CONFIG as JSON, then one order a
line on standard input, whose end ends the process. Out: lines of JSON. All times are CLOCK_MONOTONIC in ns, the same
for every process of the machine. Leaves what to do when to the bench.
"""

import collections
import dataclasses
import errno
import gc
import json
import os
import queue
import random
import select
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]
_RUN = 10  # answers, or their absence, in a row: one lost packet is no policy
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that no port waits
_WINDOW_S = 0.05  # a pause of the prober that is longer is not made good by hurrying


class Ordered:
    """Orders as they come in; `next` never waits. `ended` when there will be no more."""

    def __init__(self) -> None:
        self.ended = False
        self._orders: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> Message | None:
        """The oldest order not yet taken, or None."""
        with suppress(queue.Empty):
            return self._orders.get_nowait()
        return None

    def _listen(self) -> None:
        for line in sys.stdin:
            self._orders.put(json.loads(line))
        self.ended = True


def say(message: Message) -> None:
    """One line for the bench."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


# -- the prober ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Probe:
    """One connection that was asked for."""

    socket: socket.socket
    sent_ns: int
    answered: bool | None = None  # None: not known yet


class Prober:
    """Opens a connection after the other without waiting for any, and tells when answers stop and when they return.

    A probe is a TCP connect: SYN out, SYN-ACK back, one octet, RST. It counts as answered when the handshake is done
    within `timeout_s`, shorter than TCP's own first repetition (1 s). Gaps between probes are random around their mean,
    so that nothing that a probe sets off falls into step with the next.
    """

    def __init__(self, config: Message) -> None:
        self.target = (config["address"], config["port"])
        self.gap_s, self.timeout_ns = 1 / config["per_second"], round(config["timeout_s"] * 1e9)
        self.random = random.Random(config["seed"])
        self.poll = select.epoll()
        self.waiting: dict[int, Probe] = {}  # by descriptor
        self.line: collections.deque[Probe] = collections.deque()  # in the order of sending
        self.flowing = False
        self.turned: list[Probe] = []  # the latest probes in a row that speak against `flowing`
        self.last: Probe | None = None  # the latest before those
        self.gaps: list[int] = []
        self.sent = self.lost = self.leaked = 0

    def work(self) -> None:
        """Until standard input ends."""
        orders = Ordered()
        due = time.monotonic()
        while not orders.ended:
            self._open()
            self._collect()
            self._settle()
            if (order := orders.next()) is not None:
                say(self._figures() | {"reply": order["do"]})
            due = max(due + self.gap_s * self.random.uniform(0.5, 1.5), time.monotonic() - _WINDOW_S)
            time.sleep(max(0.0, due - time.monotonic()))

    def _open(self) -> None:
        asking = socket.socket()
        asking.setblocking(False)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        probe = Probe(asking, time.monotonic_ns())
        status = asking.connect_ex(self.target)
        if status not in (0, errno.EINPROGRESS):
            probe.answered = False
            asking.close()
        else:
            self.waiting[asking.fileno()] = probe
            self.poll.register(asking, select.EPOLLOUT)
        if self.line:
            self.gaps.append(probe.sent_ns - self.line[-1].sent_ns)
        self.line.append(probe)
        self.sent += 1

    def _collect(self) -> None:
        for descriptor, _ in self.poll.poll(0):
            self._end(descriptor, not self.waiting[descriptor].socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        late = time.monotonic_ns() - self.timeout_ns
        for descriptor in [at for at, probe in self.waiting.items() if probe.sent_ns < late]:
            self._end(descriptor, answered=False)

    def _end(self, descriptor: int, answered: bool) -> None:
        probe = self.waiting.pop(descriptor)
        probe.answered = answered
        with suppress(OSError):
            if answered:
                probe.socket.send(b"\n")
        probe.socket.close()

    def _settle(self) -> None:
        """Take what is known in the order of sending, but the latest, which the next gap is measured from."""
        while len(self.line) > 1 and self.line[0].answered is not None:
            probe = self.line.popleft()
            if probe.answered == self.flowing:
                self.lost += len(self.turned) if self.flowing else 0
                self.leaked += 0 if self.flowing else len(self.turned)
                self.turned.clear()
                self.last = probe
            else:
                self.turned.append(probe)
                self._turn()

    def _turn(self) -> None:
        if len(self.turned) < _RUN:
            return
        self.flowing = not self.flowing
        first, before = self.turned[0].sent_ns, self.last.sent_ns if self.last else 0
        self.last = self.turned[-1]
        self.turned = []
        say({"state": "flowing" if self.flowing else "dropping", "first_ns": first, "before_ns": before})

    def _figures(self) -> Message:
        """What was sent since the last time, and how evenly."""
        found = {"sent": self.sent, "lost": self.lost, "leaked": self.leaked, "gaps_ns": self.gaps}
        self.sent = self.lost = self.leaked = 0
        self.gaps = []
        return found


def probe(config: Message) -> None:
    """Ready at once: an instrument waits for nobody."""
    gc.disable()
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    Prober(config).work()


# -- the fast lane ---------------------------------------------------------------------------------------------------


class PodLane:
    """A shield on a pod's host-side link and the fast lane over it, asleep until it is armed."""

    def __init__(self, config: Message) -> None:
        from loomidi.contracts import Match, Mode
        from loomidi.contracts.ports import Deny
        from loomidi.garden.graph import EntityGraph
        from loomidi.ionic.act import SqliteReceipts
        from loomidi.loom.capture import ShieldSettings, open_shield
        from loomidi.services.fast.settings import FastLaneSettings
        from loomidi.services.fast.waking import waking
        from loomidi.services.fastlane import FastLane

        self.deny = Deny(Match(source=config["source"]), "drop", 60.0)
        self.target = f"host/{config['source']}"
        self.thresholds = waking()
        self.shield = open_shield(config["interface"], config["rung"], ShieldSettings(watch=None))
        settings = FastLaneSettings(mode=Mode.AUTONOMOUS, staged=False, longest_ttl_s=120.0, quiet_s=0.05)
        self.lane = FastLane(
            self.shield,
            SqliteReceipts(Path(config["receipts"])),
            settings,
            graph=EntityGraph(),
            observers=[self._tell],
        )
        self.orders = Ordered()

    def work(self) -> None:
        """Say `ready`, then defend until standard input ends."""
        say({"ready": True, "rung": self.shield.rung})
        try:
            self.lane.run(self._obey)
        finally:
            self.lane.close()
            self.shield.close()

    def _obey(self) -> bool:
        order = self.orders.next()
        if order is not None:
            say({"reply": order["do"]} | getattr(self, f"do_{order['do']}")())
        return self.orders.ended

    def do_arm(self) -> Message:
        """From now on the kernel tells of sources that cross the usual thresholds."""
        self.shield.watch(self.thresholds)
        return {}

    def do_undo(self) -> Message:
        """Sleep again, and take back what stands."""
        self.shield.watch(None)
        self.lane.undo(self.target, "the next trial")
        return {}

    def do_floor(self) -> Message:
        """One bare write of an entry: no lane can be faster."""
        at_ns = time.monotonic_ns()
        self.shield.deny(self.deny)
        return {"at_ns": at_ns}

    def do_clear(self) -> Message:
        """Remove that entry."""
        return {"removed": self.shield.remove(self.deny.match)}

    def do_entry(self) -> Message:
        """When the entry of the source dropped its first packet; 0: it has dropped none."""
        entry = self.shield.entry(self.deny.match)
        return {"first_hit_ns": entry.first_hit_ns - self.shield.offset_ns if entry and entry.first_hit_ns else 0}

    def do_counters(self) -> Message:
        """Packets by reason."""
        return {"counters": {reason: packets for reason, (packets, _) in self.shield.counters().items() if packets}}

    def _tell(self, decision: Any) -> None:
        """A decision, after the act."""
        decided_ns = decision.decided_ns - self.shield.offset_ns if decision.decided_ns else 0
        say(
            {
                "decision": decision.outcome,
                "target": decision.target,
                "because": decision.because,
                "pattern": decision.finding.pattern if decision.finding else "",
                "decided_ns": decided_ns,
            }
        )


def lane(config: Message) -> None:
    """One line with the reason, and exit code 2, when no shield can be attached here."""
    from loomidi.contracts.errors import LoomidiError

    try:
        made = PodLane(config)
    except LoomidiError as error:
        say({"error": str(error)})
        sys.exit(error.exit_code)
    made.work()


if __name__ == "__main__":
    {"probe": probe, "lane": lane}[sys.argv[1]](json.loads(sys.argv[2]))
