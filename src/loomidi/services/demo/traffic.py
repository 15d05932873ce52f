"""The attacker of the demo: sends prepared frames as fast as one core can, or real failing logins.

Run as `python -m loomidi.services.demo.traffic INTERFACE` inside the attacker's room. In: one JSON order a line on
standard input. Out: one JSON line for each, with the frames that the kernel took (`sent`), refused (`failed`) and the
CLOCK_MONOTONIC time just before the first. Leaves what a frame looks like to `frames`.

Orders: {"do": "flood", "kind": NAME, "source": IP, "target": IP, "port": N, "seconds": S, "pps": N or 0}
        {"do": "trials", "sources": [IP...], "target": IP, "port": N, "seconds": S, "rest": S, "pps": N,
         "beside": IP or ""}
        {"do": "logins", "source": IP, "target": IP, "seconds": S, "per_second": N}
        {"do": "fetch", "source": IP, "target": IP}     one web request: does this address get through?
"""

import contextlib
import ipaddress
import itertools
import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loomidi.services.demo import benign, frames
from loomidi.services.demo.testbed import FORGED

Order = dict[str, Any]


class Sender:
    """A raw socket on one interface of the room that this thread was in when it was made."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((interface, 0))

    def send(self, prepared: Sequence[bytes], seconds: float, pps: int = 0, once: bool = False) -> dict[str, int]:
        """Send the frames round and round for so long, or each once; `pps` 0: as fast as it goes."""
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
                _pace(first + (sent + failed) * 1_000_000_000 // pps)
            if not (sent + failed) & 7 and now() >= end:
                break
        return {"sent": sent, "failed": failed, "first_ns": first, "last_ns": now()}

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _pace(due_ns: int) -> None:
    """Wait until it is time for the next frame."""
    ahead = due_ns - time.monotonic_ns()
    if ahead > 50_000:
        time.sleep(ahead / 1e9)


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
    return dict(sender.send(ready, float(order["seconds"]), int(order.get("pps", 0)), once))


def _trials(sender: Sender, order: Order) -> Order:
    """Short SYN floods, each from a fresh source, with a rest between them.

    `beside`: another source whose flood never rests: nine of its frames go out with each frame of a trial.
    """
    target, port, beside = order["target"], int(order["port"]), order.get("beside", "")
    others = frames.udp_flood(beside, target, port, 576) if beside else []
    done = []
    for source in order["sources"]:
        ready = frames.syn_flood(source, target, port, count=64)
        mixed = [f for i, frame in enumerate(ready) for f in (frame, *others[i * 9 : i * 9 + 9])]
        figures = sender.send(mixed, float(order["seconds"]), int(order.get("pps", 0)))
        done.append({"source": source, **figures, "sent": -(-figures["sent"] // (len(mixed) // len(ready)))})
        if beside:
            sender.send(others, float(order["rest"]))
        else:
            time.sleep(float(order["rest"]))
    return {"trials": done}


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
    "trials": _trials,
    "logins": _logins,
    "fetch": _fetch,
}


def main(interface: str, cpu: int = -1) -> None:
    """Carry out orders until standard input ends. `cpu`: stay on this one, and be first there: a machine of its own."""
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
        os.nice(-19)
    sender = Sender(interface)
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(json.dumps(DOES[order["do"]](sender, order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
