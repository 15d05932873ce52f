"""kill -9 of every process at random moments: what was acknowledged is in the lake once, and the balance adds up."""

import json
import os
import random
import struct
import threading
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from loomidi.loom.capture import detach, spaces
from tests.integration.pipeline.running import Pipeline, eventually
from tests.integration.pipeline.test_run import METRIC, balanced
from tests.integration.watch.rooms import NODE, rooms, talk

pytestmark = [pytest.mark.required, pytest.mark.slow]
ROUNDS = int(os.environ.get("LOOMIDI_FAULT_ROUNDS", "50"))
PARTS = ("bus", "commit", "ingest", "windows")
ROWS = 50
LINK = "vetha"
AGENT = ("agent", "serve", "agent", LINK, "--netns", NODE, "--pin", "--drain", "0.2", "--active", "1", "--idle", "1")


def capture(number: int) -> bytes:
    """A pcap of one datagram, sent now, from a port of its own."""
    ports = struct.pack("!HHHH", 1024 + number % 60_000, 9, 8, 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    frame = bytes(12) + b"\x08\x00" + head + ports
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    file = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return file + struct.pack("<IIII", seconds, micros, len(frame), len(frame)) + frame


class Sender(threading.Thread):
    """Posts rows with values of its own, each body under a key until it is acknowledged."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(daemon=True)
        self._pipeline, self._ending = pipeline, threading.Event()
        self.acknowledged: set[float] = set()
        self.flows = 0  # acknowledged
        self.tries = 0
        self._next = 0

    def run(self) -> None:
        while not self._ending.is_set():
            values = range(self._next, self._next + ROWS)
            body = json.dumps([{**METRIC, "value": value} for value in values]).encode()
            self._send("/data/system-metrics", body, "application/json")
            self.acknowledged.update(values)
            self._next += ROWS
            self._send("/data/network-flow", capture(self.flows), "application/octet-stream")
            self.flows += 1

    def _send(self, path: str, body: bytes, kind: str) -> None:
        key = uuid.uuid4().hex
        while not self._sent(path, body, kind, key):
            time.sleep(0.05)

    def _sent(self, path: str, body: bytes, kind: str, key: str) -> bool:
        self.tries += 1
        try:
            answer = self._pipeline.post(path, body, kind, **{"Idempotency-Key": key})
        except httpx.HTTPError:
            return False
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202

    def end(self) -> None:
        """After the body that is under way."""
        self._ending.set()
        self.join(90)
        assert not self.is_alive(), "the last body was never acknowledged"


class Talker(threading.Thread):
    """Two pods that never stop talking over a link of the agent's."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            talk(5)
            time.sleep(0.02)

    def end(self) -> None:
        """After the words that are under way."""
        self._ending.set()
        self.join(30)


@pytest.fixture
def talker() -> Iterator[Talker | None]:
    """With root, a node and two pods; the agent is among the victims then."""
    if os.geteuid() != 0:
        print("the agent is not among the victims: its links need root")
        yield None
        return
    with rooms():
        talker = Talker()
        talker.start()
        yield talker
        talker.end()
        with spaces.inside(NODE):
            detach(LINK)


def metering(pipeline: Pipeline) -> bool:
    """Whether the agent that was launched last has kept its first counts."""
    books = pipeline.folder / "agent" / "agent.json"
    return books.exists() and books.stat().st_mtime > pipeline.launched["agent"]


def windowed(pipeline: Pipeline) -> int:
    """Flows in the windows and, where their window had been closed, beside them."""
    within = pipeline.query("select sum(flow_record_count)::bigint as n from edge_windows where window_aligned")
    late = pipeline.query("select count(*) as n from late")
    return sum(row["n"] or 0 for row in (*within, *late))


@pytest.mark.timeout(900)
def test_killed_at_random_points_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    pipeline: Pipeline, talker: Talker | None
) -> None:
    seed = int(os.environ.get("LOOMIDI_FAULT_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"seed {seed}: LOOMIDI_FAULT_SEED repeats the moments")
    moments = random.Random(seed)
    pipeline.environment |= {"LOOMIDI_WINDOWS_SIZES_S": "10", "LOOMIDI_WINDOWS_IDLE_S": "2"}
    pipeline.environment |= {"LOOMIDI_WINDOWS_CHECKPOINT_S": "1"}
    for part in PARTS:
        pipeline.start(part)
    if talker is not None:
        pipeline.launch(*AGENT)
    eventually(pipeline.listens, "the ingestion API")
    sender = Sender(pipeline)
    sender.start()
    for number in range(ROUNDS):
        before = len(sender.acknowledged)
        victim = moments.choice((*PARTS, "broker", *(["agent"] if talker is not None else [])))
        time.sleep(moments.random() * 0.6)
        if victim == "broker":
            pipeline.kill_broker()
        elif victim == "agent":
            pipeline.kill(victim)
            pipeline.launch(*AGENT)
        else:
            pipeline.kill(victim)
            pipeline.start(victim)
        if number % 5 == 4:  # not so fast that nothing is ever acknowledged between two kills
            eventually(lambda then=before: len(sender.acknowledged) > then, f"an acknowledgement after round {number}")
    sender.end()
    if talker is not None:
        talker.end()
        eventually(lambda: metering(pipeline), "the last agent to meter")  # a process that only starts knows no signal
        time.sleep(1.0)
        assert pipeline.stop("agent") == 0, pipeline.log()
    assert len(sender.acknowledged) > ROWS

    rows = "select count(*) as n, count(distinct value) as d, max(value) as top from metrics"
    want = {"n": len(sender.acknowledged), "d": len(sender.acknowledged), "top": max(sender.acknowledged)}
    eventually(lambda: list(pipeline.query(rows)) == [want], f"exactly {want}, not {pipeline.query(rows)}")
    flows = "select count(*) as n, count(distinct flow_id) as d from flows where destination_transport_port = 9"
    eventually(lambda: list(pipeline.query(flows)) == [{"n": sender.flows, "d": sender.flows}], f"{sender.flows} flows")
    equations = balanced(pipeline)
    every = pipeline.query("select count(*) as n from flows")[0]["n"]
    eventually(lambda: windowed(pipeline) == every, f"{every} flows in windows or late, not {windowed(pipeline)}")
    metered = sum(
        int(str(one["accounted"])) for one in equations if one["stage"] == "meter" and LINK in str(one["place"])
    )
    assert talker is None or metered > 0
    print(f"{metered} packets of the agent's link, each in a flow or told why not")
    print(
        f"{ROUNDS} rounds, {len(sender.acknowledged)} rows acknowledged in {sender.tries} tries, each in the lake once"
    )
