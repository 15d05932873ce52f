"""One attack carried out: a fresh shield and fast lane, honest clients, the attack, taking back, the accounts.

Called by the verb and the test with a `Ground`. In: an `Attack` and a mode. Out: its `Measured` row. Steps, repeated by
number in the code:

    1 attach shield and lane   2 servers, honest clients until they are known   3 tap the link, attack, look at entries
    4 wait for what is due     5 take everything back, see that it is gone     6 end the clients, then count
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.services.demo.stage import Defender, Message
from loomidi.services.demo.testbed import GATEWAY, GATEWAY6, WEB
from loomidi_lab.redteam import judging, serving
from loomidi_lab.redteam.catalogue.places import PROTECTED
from loomidi_lab.redteam.crowd import Crowd
from loomidi_lab.redteam.grounds import Ground
from loomidi_lab.redteam.records import BLOCKED, Attack, Benign, Command, Measured
from loomidi_lab.redteam.tapping import Tap, is_neighbour, is_no_page, is_packet

KNOWN_S = 5.0  # until the honest clients have completed conversations that were drained
_LOOK_S, _END_S, _STILL_S = 0.25, 10.0, 0.4
_SAID = 3  # last lines kept of a tool
_CLOSED = 9


class Carrying:
    """One row. `run` once."""

    def __init__(self, ground: Ground, attack: Attack, mode: str) -> None:
        self._ground, self._attack, self._mode = ground, attack, mode
        self._first_hits: dict[str, int] = {}
        self._said: list[str] = []

    def run(self) -> Measured:
        """All steps. Raises EnvironmentLacks when a server or the shield cannot be started."""
        network, attack = self._ground.network, self._attack
        # 1 shield and lane
        receipts = self._ground.folder / f"{attack.name}-{self._mode}-{time.time_ns()}.sqlite"
        config = {"receipts": str(receipts), "mode": self._mode, "protected": [PROTECTED], "judge_s": 1.0}
        self._defender = Defender(network, config, _stamped)
        before = self._difference()
        with contextlib.ExitStack() as stack:
            # 2 servers and clients
            for name in attack.servers:
                stack.callback(serving.stop, serving.SERVERS[name](network, self._ground.folder))
            crowds = [_Crowding(self._ground, "client", self._ground.crowd())]
            if attack.shares_address:
                crowds.append(_Crowding(self._ground, "attacker", Crowd(web=((attack.attackers[0], WEB),))))
            time.sleep(KNOWN_S)
            for address in attack.present:
                self._speak(address)
            # 3 attack
            tap = self._attacked()
            # 5 take back
            left = self._taken_back()
            # 6 count
            benign = [one for crowd in crowds for one in crowd.finish()]
        figures = self._defender.ask({"do": "balance", "sources": []})
        balance = self._difference() == before and _adds_up(figures)
        rung = str(self._defender.ready["rung"])
        self._defender.end()
        decisions = list(self._defender.decisions)
        seen = judging.Seen(
            self._mode, rung, decisions, tap.first_ns, tap.samples, self._first_hits, self._dropped, benign, left,
            balance, int(time.time()), self._said,
        )  # fmt: skip
        return judging.judge(attack, seen)

    def _speak(self, address: str) -> None:
        """One datagram to a closed port of the gateway, which has to ask for the way back: it has forgotten it."""
        self._ground.network.forget(address)
        family, gateway = (socket.AF_INET6, GATEWAY6) if ":" in address else (socket.AF_INET, GATEWAY)
        with self._ground.network.inside("client"), socket.socket(family, socket.SOCK_DGRAM) as speaking:
            speaking.bind((address, 0))
            speaking.sendto(b"here", (gateway, _CLOSED))

    def _attacked(self) -> Tap:
        """3 the attack between two counts, and 4 what is due after it."""
        attack = self._attack
        wanted = is_neighbour if attack.arp else is_no_page if attack.shares_address else is_packet
        tap = Tap(self._ground.network, "attacker", wanted)
        dropped = self._drops()
        tap.start()
        with self._tools() as tools:
            until = time.monotonic() + attack.seconds
            while time.monotonic() < until and any(tool.poll() is None for tool in tools):
                self._look()
        # 4 what is due
        until = time.monotonic() + attack.settle_s
        while time.monotonic() < until and not self._settled():
            self._look()
        tap.finish()
        self._dropped = self._drops() - dropped
        return tap

    @contextlib.contextmanager
    def _tools(self) -> Iterator[list[subprocess.Popen[bytes]]]:
        tools: list[subprocess.Popen[bytes]] = []
        files = [self._ground.folder / f"tool-{index}.txt" for index in range(len(self._attack.commands))]
        try:
            for command, file in zip(self._attack.commands, files, strict=True):
                tools.append(self._tool(command, file))
            yield tools
        finally:
            for tool, file in zip(tools, files, strict=False):
                self._ended(tool, file)
            self._forget_connections()

    def _forget_connections(self) -> None:
        """What the attacker's kernel would go on sending for programs that are gone is no part of the next row."""
        killer = serving.found("ss")
        if killer and not self._attack.shares_address:  # honest connections end there as well
            with self._ground.network.inside("attacker"):
                subprocess.run([killer, "-K", "-a", "-t"], capture_output=True, check=False, timeout=10.0)

    def _tool(self, command: Command, file: Path) -> subprocess.Popen[bytes]:
        program = serving.found(command[0])
        if not program:
            raise EnvironmentLacks(f"{command[0]} is not installed; run tools/install_ebpf_deps.sh --redteam")
        with self._ground.network.inside("attacker"), file.open("wb") as said:
            return subprocess.Popen(
                [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                cwd=self._ground.folder, start_new_session=True,
            )  # fmt: skip

    def _ended(self, tool: subprocess.Popen[bytes], file: Path) -> None:
        """A tool that goes on is told to stop, with all it has started; of one that failed its last lines are kept."""
        going_on = tool.poll() is None
        for number in (signal.SIGINT, signal.SIGKILL) if going_on else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tool.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                tool.wait(1.0)
        tool.wait()
        if tool.returncode and not going_on:
            lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
            self._said += [f"{Path(str(tool.args[0])).name} ended with {tool.returncode}", *lines[-_SAID:]]  # type: ignore[index]

    def _look(self) -> None:
        """Note the entries with their first hits, then wait a little."""
        for entry in self._entries():
            at = int(entry["first_hit_ns"])
            known = self._first_hits.get(entry["source"], 0)
            self._first_hits[entry["source"]] = min(known, at) if known and at else known or at
        time.sleep(_LOOK_S)

    def _entries(self) -> list[Message]:
        found: list[Message] = self._defender.ask({"do": "entries"})["entries"]
        return [entry for entry in found if entry["live"]]

    def _settled(self) -> bool:
        """Whether everything that is expected has been seen."""
        told = any(judging.counts(self._attack, one) for one in list(self._defender.decisions))
        return told and (self._attack.expect.act != BLOCKED or any(self._first_hits.values()))

    def _taken_back(self) -> list[str]:
        """5: undo what stands until nothing does; returns what would not go."""
        until = time.monotonic() + _END_S
        self._look()
        while (live := self._entries()) and time.monotonic() < until:
            for entry in live:
                kind = "network" if "/" in entry["source"] else "host"
                self._first_hits.setdefault(entry["source"], int(entry["first_hit_ns"]))
                self._defender.ask({"do": "undo", "target": f"{kind}/{entry['source']}"})
            time.sleep(_STILL_S)
        return [str(entry["source"]) for entry in live]

    def _drops(self) -> int:
        counters = self._defender.ask({"do": "counters"})["counters"]
        return sum(int(count) for reason, count in counters.items() if reason.startswith("drop_"))

    def _difference(self) -> int:
        """Packets that the interface counted and the shield did not, read when nothing moves."""
        last = now = (-1, -1)
        for _ in range(20):
            counted = sum(int(n) for n in self._defender.ask({"do": "counters"})["counters"].values())
            now = (self._ground.network.received()[0], counted)
            if now == last:
                break
            last = now
            time.sleep(_STILL_S)
        return now[0] - now[1]


class _Crowding:
    """Honest clients in a room."""

    def __init__(self, ground: Ground, room: str, crowd: Crowd) -> None:
        words = (serving.PYTHON, "-m", "loomidi_lab.redteam.crowd", json.dumps(dataclasses.asdict(crowd)))
        self._process = ground.network.spawn(room, words)

    def finish(self) -> list[Benign]:
        """Ask no more, wait for what is due; figures by address."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        figures: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        self._process.wait()
        if not figures:
            raise EnvironmentLacks("the honest clients ended early; their error is above")
        sent, lost, cut = figures["sent"], figures["lost"], figures["cut"]
        return [Benign(a, sent.get(a, 0), lost.get(a, 0), cut.get(a, 0)) for a in sorted({*sent, *cut})]


def _stamped(decision: Message) -> None:
    decision["heard_ns"] = time.time_ns()


def _adds_up(figures: Message) -> bool:
    """Packets that passed are those that are in flow records."""
    counters = figures["counters"]
    return bool(figures["flow_packets"] == counters["accounted"] + counters["overflowed"])
