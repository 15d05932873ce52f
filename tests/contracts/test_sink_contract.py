"""One suite for every sink, against real receivers: files, HTTP, syslog (rsyslogd too), NATS JetStream, Kafka.

What a receiver cannot do by its nature is skipped by name, with the reason.
"""

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loomidi.contracts import Severity
from loomidi.loom.sinks import Away, Letter, Sink, Transport
from tests.contracts import receivers
from tests.contracts.receivers import KINDS, Receiver, standing
from tests.integration.bus.brokers import KafkaBroker, NatsBroker

_names = itertools.count()


def letters(count: int, start: int = 0, text: str = "") -> list[Letter]:
    return [
        Letter(f"event-{at}", "finding", json.dumps({"id": f"event-{at}", "text": text}).encode(), at, Severity.HIGH)
        for at in range(start, start + count)
    ]


def ids(bodies: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in bodies]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=receiver"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


@pytest.fixture(params=KINDS)
def receiver(
    request: pytest.FixtureRequest, tmp_path: Path, brokers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    kind: str = request.param

    def certified() -> tuple[Path, Path]:
        made: tuple[Path, Path] = request.getfixturevalue("certificate")
        return made

    if kind in ("nats", "kafka") and f"sink-{kind}" not in brokers:
        folder = tmp_path_factory.mktemp(f"sink-{kind}")
        brokers[f"sink-{kind}"] = KafkaBroker(folder) if kind == "kafka" else NatsBroker(folder)
    name = f"told{next(_names)}"
    made = {
        "memory": receivers.Memory,
        "stdout": receivers.Text,
        "file": lambda: receivers.Lines(tmp_path),
        "webhook": lambda: receivers.Web(tmp_path),
        "webhook-https": lambda: receivers.Web(tmp_path, certified()),
        "syslog-udp": lambda: receivers.Syslog(Transport.UDP),
        "syslog-tcp": lambda: receivers.Syslog(Transport.TCP),
        "syslog-tls": lambda: receivers.Syslog(Transport.TLS, certified()),
        "rsyslogd": lambda: receivers.Rsyslogd(tmp_path),
        "nats": lambda: receivers.Nats(brokers["sink-nats"], name),
        "kafka": lambda: receivers.Kafka(brokers["sink-kafka"], name),
    }[kind]()
    with standing(made) as up:
        yield up


@pytest.fixture
def sink(receiver: Receiver) -> Iterator[Sink]:
    made = receiver.make()
    yield made
    made.close()


def send(sink: Sink, given: list[Letter]) -> None:
    for start in range(0, len(given), sink.most):
        sink.send(given[start : start + sink.most])


def test_what_is_sent_arrives_whole_and_in_order(receiver: Receiver, sink: Sink) -> None:
    send(sink, letters(150))
    assert ids(receiver.wait(150)) == [f"event-{at}" for at in range(150)]


def test_text_of_others_stays_data(receiver: Receiver, sink: Sink) -> None:
    text = "\n<0>1 - - - - - -\r\n12 \x00\x1b[2J\u2028' OR 1=1 --\U0001f980"
    send(sink, letters(2, text=text))
    assert [one["text"] for one in receiver.wait(2)] == [text, text]


def test_a_receiver_that_is_away_is_told_and_gets_the_same_letters_later(receiver: Receiver, sink: Sink) -> None:
    if not receiver.falls:
        pytest.skip("what this receiver loses nobody can notice")
    send(sink, letters(1))
    receiver.wait(1)
    sink.close()
    receiver.down()
    with pytest.raises(Away) as told:
        send(sink, letters(1, 1))
    assert told.value.reason
    receiver.up()
    again(sink, letters(1, 1))
    assert ids(receiver.wait_for("event-1"))[-1] == "event-1"


def test_a_connection_that_broke_meanwhile_is_opened_again(receiver: Receiver, sink: Sink) -> None:
    if not receiver.falls:
        pytest.skip("there is no connection")
    send(sink, letters(1))
    receiver.wait(1)
    receiver.down()
    receiver.up()
    again(sink, letters(1, 1))
    assert ids(receiver.wait_for("event-1"))[-1] == "event-1"


def again(sink: Sink, given: list[Letter], tries: int = 20) -> None:
    """As the queue does it, without its pauses."""
    for _ in range(tries - 1):
        try:
            return send(sink, given)
        except Away:
            continue
    return send(sink, given)


def test_a_sink_that_was_closed_opens_again(receiver: Receiver, sink: Sink) -> None:
    send(sink, letters(1))
    receiver.wait(1)  # what comes over two connections has no order of its own
    sink.close()
    sink.close()
    send(sink, letters(1, 1))
    assert ids(receiver.wait(2)) == ["event-0", "event-1"]
