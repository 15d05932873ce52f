"""The attacker of the demo: sends prepared frames as fast as one core can, or real failing logins.

Run as `python -m loomidi.services.demo.traffic INTERFACE` inside the attacker's room. In: one JSON order a line on
standard input. Out: one JSON line for each, with the frames that the kernel took (`sent`), refused (`failed`) and the
CLOCK_MONOTONIC time just before the first. Leaves what a frame looks like to `frames`.

Orders: {"do": "flood", "kind": NAME, "source": IP, "target": IP, "port": N, "seconds": S, "pps": N or 0}
        {"do": "trial", "source": IP, "target": IP, "port": N, "seconds": S, "pps": N or 0, "beside": IP or ""}
        {"do": "stop"}                                  ends a trial; has no reply
        {"do": "logins", "source": IP, "target": IP, "seconds": S, "per_second": N}
        {"do": "fetch", "source": IP, "target": IP}     one web request: does this address get through?
"""

import contextlib
import ipaddress
import itertools
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loomidi.services.demo import benign, frames
from loomidi.services.demo.testbed import FORGED

Order = dict[str, Any]
AFTER_S = 0.02  # a trial goes on for so long after it was told to stop: the entry must be met


class Sender:
    """A raw socket on one interface of the room that this thread was in when it was made."""

    def __init__(self, interface: str, *, spin: bool = False) -> None:
        """`spin`: the CPU is ours; wait without sleeping."""
        self._wait = _spin_until if spin else _sleep_until
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((interface, 0))

    def send(
        self,
        prepared: Sequence[bytes],
        seconds: float,
        pps: int = 0,
        *,
        once: bool = False,
        enough: Callable[[], bool] = lambda: False,
    ) -> dict[str, int]:
        """Send the frames round and round for so long or until `enough`, or each once; `pps` 0: as fast as it goes."""
        send, now = self._socket.send, time.monotonic_ns
        sent = failed = 0
        first = now()
        end = first + int(seconds * 1e9)
        for frame in prepared if once else itertools.cycle(prepared):
            try:
                send(frame)
                sent += 1
            except OSError:  # the queue is full; the frame was not taken
                failed += 1
            if pps:
                self._wait(first + (sent + failed) * 1_000_000_000 // pps)
            if not (sent + failed) & 7 and (now() >= end or enough()):
                break
        return {"sent": sent, "failed": failed, "first_ns": first, "last_ns": now()}

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _sleep_until(due_ns: int) -> None:
    """Wait until it is time for the next frame; a wait too short to sleep is made up for by the next one."""
    ahead = due_ns - time.monotonic_ns()
    if ahead > 50_000:
        time.sleep(ahead / 1e9)


def _spin_until(due_ns: int) -> None:
    """The same without giving the CPU away: who sleeps may have to wait for it afterwards."""
    while time.monotonic_ns() < due_ns:
        pass


def forged_sources() -> Iterator[str]:
    """Addresses of the benchmarking range at random, without end, always the same order."""
    chance, network = random.Random(7), ipaddress.ip_network(FORGED)
    base = int(network.network_address)
    while True:
        yield str(ipaddress.IPv4Address(base + chance.randrange(1, network.num_addresses - 1)))


def prepared(order: Order) -> tuple[list[bytes], bool]:
    """The frames of a flood order, and whether each goes out once only."""
    kind, source, target, port = order["kind"], order["source"], order["target"], int(order.get("port", 80))
    count = int(order.get("frames", 4096))
    make: dict[str, Callable[[], list[bytes]]] = {
        "syn_flood": lambda: frames.syn_flood(source, target, port),
        "spoofed_syn_flood": lambda: frames.spoofed_syn_flood(forged_sources(), target, port, count),
        "udp_flood": lambda: frames.udp_flood(source, target, port),
        "amplification": lambda: frames.amplification(order["reflectors"], target),
        "vertical_scan": lambda: frames.vertical_scan(source, target),
        "horizontal_scan": lambda: frames.horizontal_scan(source, target),
    }
    return make[kind](), kind.endswith("scan")


def _flood(sender: Sender, order: Order) -> Order:
    ready, once = prepared(order)
    return dict(sender.send(ready, float(order["seconds"]), int(order.get("pps", 0)), once=once))


def _trial(sender: Sender, order: Order) -> Order:
    """A SYN flood from one source until the next order comes in, and a little longer, but no more than `seconds`.

    `beside`: another source that floods, too: nine of its frames go out with each frame of the trial.
    """
    target, port, beside = order["target"], int(order["port"]), order.get("beside", "")
    ready = frames.syn_flood(order["source"], target, port, count=64)
    others = frames.udp_flood(beside, target, port, 9 * len(ready)) if beside else []
    mixed = [f for i, frame in enumerate(ready) for f in (frame, *others[i * 9 : i * 9 + 9])]
    pps, share = int(order.get("pps", 0)), len(mixed) // len(ready)
    begun = sender.send(mixed, float(order["seconds"]), pps, enough=_told)
    ended = sender.send(mixed, AFTER_S, pps)
    sent = -(-begun["sent"] // share) - (-ended["sent"] // share)
    return {"source": order["source"], "sent": sent, "first_ns": begun["first_ns"], "last_ns": ended["last_ns"]}


def _told() -> bool:
    """Whether the next order is there. It is read when this one is done."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _logins(_: Sender, order: Order) -> Order:
    """Real connections that fail to log in, at an even pace."""
    end, tried, answered = time.monotonic() + float(order["seconds"]), 0, 0
    while time.monotonic() < end:
        tried += 1
        answered += _denied(order["source"], order["target"])
        time.sleep(1 / float(order["per_second"]))
    return {"sent": tried, "answered": answered}


def _denied(source: str, target: str) -> bool:
    """One failing login over a new connection that is given up soon."""
    with contextlib.suppress(OSError), socket.create_connection((target, benign.LOGIN_PORT), 0.3, (source, 0)) as there:
        there.sendall(b"root:12345678\n")
        return there.recv(64) == b"denied\n"
    return False


def _fetch(_: Sender, order: Order) -> Order:
    return {"answered": benign.fetch(order["target"], order["source"], float(order.get("patience", 1.0)))}


DOES: dict[str, Callable[[Sender, Order], Order]] = {
    "flood": _flood,
    "trial": _trial,
    "logins": _logins,
    "fetch": _fetch,
}


def main(interface: str, cpu: int = -1) -> None:
    """Carry out orders until standard input ends. `cpu`: stay on this one, and be first there: a machine of its own."""
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
        os.nice(-19)
    sender = Sender(interface, spin=cpu >= 0)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "stop":
            continue
        sys.stdout.write(json.dumps(DOES[order["do"]](sender, order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
