"""Acknowledged is held: through kill -9 of the service and of the bus; a retry under the same key doubles nothing."""

import random
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.integration.bus.brokers import NatsBroker
from tests.integration.ingest.running import ROW, Service, held, until

pytestmark = pytest.mark.required
CLIENTS, ROUNDS = 8, 4


class Sender(threading.Thread):
    """Sends numbered rows, each under a key of its own, again and again until it is acknowledged."""

    def __init__(self, service: Service, name: str, end: threading.Event) -> None:
        super().__init__(name=name)
        self._service, self._end = service, end
        self.acknowledged: list[str] = []

    def run(self) -> None:
        number = 0
        with self._service.client() as client:
            while not self._end.is_set():
                self._send(client, f"{self.name}-{number}")
                number += 1

    def _send(self, client: httpx.Client, row: str) -> None:
        while True:
            try:
                headers = {"Idempotency-Key": row}
                answer = client.post("/data/system-metrics", json=[ROW | {"source_id": row}], headers=headers)
            except httpx.TransportError:  # killed: nobody knows whether it was held
                if self._end.wait(0.05):
                    return
                continue
            if answer.status_code == 202:
                self.acknowledged.append(row)
                return
            assert answer.status_code == 503, answer.text


def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    broker: NatsBroker, own: Service
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice, end = random.Random(seed), threading.Event()
    own.start()
    senders = [Sender(own, f"{seed}-{number}", end) for number in range(CLIENTS)]
    for sender in senders:
        sender.start()
    for _ in range(ROUNDS):
        wanted = sum(len(sender.acknowledged) for sender in senders) + dice.randrange(20, 300)
        until(lambda wanted=wanted: sum(len(one.acknowledged) for one in senders) >= wanted, "rows go through")
        own.kill()
        own.start()
    until(lambda: all(not sender.is_alive() or sender.acknowledged for sender in senders), "all go on")
    end.set()
    for sender in senders:
        sender.join()
    rows = Counter(row for row in held(broker, "metrics")["source_id"].to_pylist() if row.startswith(f"{seed}-"))
    acknowledged = {row for sender in senders for row in sender.acknowledged}
    assert acknowledged <= rows.keys()
    assert [row for row, times in rows.items() if times != 1] == []
    assert len(rows) - len(acknowledged) <= CLIENTS  # what was on its way when it was ended


def test_a_bus_that_is_away_is_told_and_comes_back(tmp_path: Path) -> None:
    broker = NatsBroker(tmp_path / "broker")
    broker.start()
    (tmp_path / "service").mkdir()
    service = Service(tmp_path / "service", broker.url, config="[ingest]\nbus_wait_s = 0.5\nretry_after_s = 3\n")
    try:
        service.start()
        with service.client() as client:
            assert client.post("/data/system-metrics", json=ROW).status_code == 202
            broker.down()
            answer = client.post("/data/system-metrics", json=ROW)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
            until(lambda: not service.is_ready(), "it is not ready")
            broker.start()
            headers = {"Idempotency-Key": "again"}
            until(
                lambda: client.post("/data/system-metrics", json=ROW, headers=headers).status_code == 202,
                "it is taken again",
            )
        assert held(broker, "metrics").num_rows in (2, 3)  # the one of 503 may have been held
    finally:
        service.close()
        broker.stop()


def test_told_to_end_it_answers_what_is_in_progress(broker: NatsBroker, own: Service) -> None:
    own.start()
    rows = "\n".join(f'{{"source_id": "end-{own.port}", "metric_name": "m", "value": {n}}}' for n in range(100_000))
    answers: list[httpx.Response] = []

    def send() -> None:
        with own.client() as client:
            headers = {"Content-Type": "application/x-ndjson"}
            answers.append(client.post("/data/system-metrics", content=rows, headers=headers))

    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: "loomidi_ingest_requests_in_progress 1\n" in own.metrics() or bool(answers), "it is in progress")
    assert own.end() == 0
    sender.join()
    assert [answer.status_code for answer in answers] == [202]
    found = [row for row in held(broker, "metrics")["source_id"].to_pylist() if row == f"end-{own.port}"]
    assert len(found) == 100_000
