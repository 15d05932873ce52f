"""kill -9 of every process at random moments: what was acknowledged is in the lake once, and the balance adds up."""

import json
import os
import random
import threading
import time
import uuid

import httpx
import pytest

from tests.integration.pipeline.running import Pipeline, eventually
from tests.integration.pipeline.test_run import METRIC, adding_up

pytestmark = [pytest.mark.required, pytest.mark.slow]
ROUNDS = int(os.environ.get("LOOMIDI_FAULT_ROUNDS", "50"))
PARTS = ("bus", "commit", "ingest")
ROWS = 50


class Sender(threading.Thread):
    """Posts rows with values of its own, each body under a key until it is acknowledged."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(daemon=True)
        self._pipeline, self._ending = pipeline, threading.Event()
        self.acknowledged: set[float] = set()
        self.tries = 0
        self._next = 0

    def run(self) -> None:
        while not self._ending.is_set():
            values = range(self._next, self._next + ROWS)
            body = json.dumps([{**METRIC, "value": value} for value in values]).encode()
            key = uuid.uuid4().hex
            while not self._sent(body, key):
                time.sleep(0.05)
            self.acknowledged.update(values)
            self._next += ROWS

    def _sent(self, body: bytes, key: str) -> bool:
        self.tries += 1
        try:
            answer = self._pipeline.post("/data/system-metrics", body, "application/json", **{"Idempotency-Key": key})
        except httpx.HTTPError:
            return False
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202

    def end(self) -> None:
        """After the body that is under way."""
        self._ending.set()
        self.join(90)
        assert not self.is_alive(), "the last body was never acknowledged"


@pytest.mark.timeout(900)
def test_killed_at_random_points_nothing_acknowledged_is_lost_and_nothing_is_doubled(pipeline: Pipeline) -> None:
    seed = int(os.environ.get("LOOMIDI_FAULT_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"seed {seed}: LOOMIDI_FAULT_SEED repeats the moments")
    moments = random.Random(seed)
    for part in PARTS:
        pipeline.start(part)
    eventually(pipeline.listens, "the ingestion API")
    sender = Sender(pipeline)
    sender.start()
    for number in range(ROUNDS):
        before = len(sender.acknowledged)
        victim = moments.choice((*PARTS, "broker"))
        time.sleep(moments.random() * 0.6)
        if victim == "broker":
            pipeline.kill_broker()
        else:
            pipeline.kill(victim)
            pipeline.start(victim)
        if number % 5 == 4:  # not so fast that nothing is ever acknowledged between two kills
            eventually(lambda then=before: len(sender.acknowledged) > then, f"an acknowledgement after round {number}")
    sender.end()
    assert len(sender.acknowledged) > ROWS

    rows = "select count(*) as n, count(distinct value) as d, max(value) as top from metrics"
    want = {"n": len(sender.acknowledged), "d": len(sender.acknowledged), "top": max(sender.acknowledged)}
    eventually(lambda: list(pipeline.query(rows)) == [want], f"exactly {want}, not {pipeline.query(rows)}")
    eventually(lambda: adding_up(pipeline), "a balance that adds up")
    print(
        f"{ROUNDS} rounds, {len(sender.acknowledged)} rows acknowledged in {sender.tries} tries, each in the lake once"
    )
