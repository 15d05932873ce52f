"""Replays: every accounted packet in a flow that was acknowledged, at the speed asked for, times kept or moved."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from loomidi.contracts.errors import InputError, Retryable, UsageError
from loomidi.contracts.schemas import COUNTERS, FLOW_RECORDS
from loomidi.contracts.streams import Ack, Envelope
from loomidi.loom.bus import BusSettings, open_bus
from loomidi.services import replaying
from loomidi.services.balancing import Elsewhere, chain
from loomidi.services.replaying import ApiSink, BusSink, Replayed, ReplaySettings
from loomidi.services.shared.counting import Counter
from tests.integration.captures.rewriting import pcap
from tests.unit.loom.flows import frames as f
from tests.unit.services.test_agent import everything, last

START = 1_700_000_000_000_000_000
SECOND = 10**9


@pytest.fixture
def capture(tmp_path: Path) -> str:
    """40 conversations of two packets, a tenth of a second apart, and one frame that is none."""
    packets = []
    for number in range(40):
        at = START + number * SECOND // 10
        packets += [(at, f.ethernet(f.ip(f.CLIENT, f.SERVER, 17, f.udp(1000 + number, 53, b"q"))))]
        packets += [(at + 1000, f.ethernet(f.ip(f.SERVER, f.CLIENT, 17, f.udp(53, 1000 + number, b"a"))))]
    packets.append((START + 5 * SECOND, b"\x00" * 20))
    path = tmp_path / "lab.pcap"
    path.write_bytes(pcap(packets, nanoseconds=True))
    return str(path)


def replayed(capture: str, **settings: Any) -> tuple[Replayed, pa.Table, pa.Table]:
    async def played() -> tuple[Replayed, pa.Table, pa.Table]:
        async with await open_bus(BusSettings(url="memory://")) as bus:
            sink = BusSink(bus, Counter("replay", "replay", 7))
            (done,) = await replaying.replay([capture], sink, ReplaySettings(**settings))
            return done, await everything(bus, "flows", FLOW_RECORDS), await everything(bus, "counters", COUNTERS)

    return asyncio.run(played())


def test_a_replay_sends_every_flow_with_its_balance(capture: str) -> None:
    done, flows, counters = replayed(capture, rows=7)
    assert (done.flows, done.packets, done.adds_up, flows.num_rows) == (40, 80, True, 40)
    assert set(flows["link"].to_pylist()) == {"lab.pcap"}
    assert last(counters, 7, "capture", "received") == 81
    assert (last(counters, 7, "export", "exported"), last(counters, 7, "export", "open")) == (80, 0)
    elsewhere = Elsewhere({("flows", "replay.replay", 7): 40}, {"flows": 0}, {"flows": 40})
    whole = chain(counters, elsewhere, until_ns=time.time_ns())
    assert whole.adds_up, [one for one in whole.equations if not one.holds]


def test_times_are_the_captures_unless_they_are_moved(capture: str) -> None:
    _, flows, _ = replayed(capture)
    starts = flows["flow_start_nanoseconds"].cast(pa.int64()).to_pylist()
    assert min(starts) == START
    before = time.time_ns()
    _, moved, _ = replayed(capture, shift=True)
    times = moved["flow_start_nanoseconds"].cast(pa.int64()).to_pylist()
    assert before <= min(times) <= time.time_ns()
    assert max(times) - min(times) == max(starts) - min(starts)
    assert not set(moved["flow_id"].to_pylist()) & set(flows["flow_id"].to_pylist())


def test_a_replay_at_a_speed_takes_its_time(capture: str) -> None:
    done, flows, _ = replayed(capture, speed=10.0)
    assert flows.num_rows == 40
    assert done.took_s >= 0.39


class Flaky:
    """A sink's bus that fails as often as told."""

    def __init__(self, failures: int) -> None:
        self.failures, self.ids = failures, list[str]()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Ack]:
        self.ids += [f"{envelope.stream}/{envelope.id}" for envelope in envelopes]
        if self.failures:
            self.failures -= 1
            raise Retryable("away")
        return [Ack(envelope.id, duplicate=False) for envelope in envelopes]


def test_what_is_tried_again_keeps_its_id(capture: str) -> None:
    bus = Flaky(1)
    sink = BusSink(bus, Counter("replay", "replay", 7))  # type: ignore[arg-type]
    asyncio.run(replaying.replay([capture], sink))
    assert bus.ids[0] == bus.ids[1] == "flows/replay.replay/7/0"


def test_a_bus_that_stays_away_ends_the_replay(capture: str) -> None:
    sink = BusSink(Flaky(10**6), Counter("replay", "replay", 7), patience_s=0.0)  # type: ignore[arg-type]
    with pytest.raises(Retryable):
        asyncio.run(replaying.replay([capture], sink))


def posted(capture: str, answers: list[httpx.Response], url: str = "http://api:8080") -> list[httpx.Request]:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answers.pop(0) if answers else httpx.Response(202)

    async def played() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await replaying.replay([capture], ApiSink(client, url))

    asyncio.run(played())
    return requests


@pytest.mark.parametrize(
    "url", ["http://api:8080", "http://api:8080/loom-api/", "http://api:8080/loom-api/data/network-flow"]
)
def test_the_ingestion_api_is_given_arrow(capture: str, url: str) -> None:
    (request,) = posted(capture, [], url)
    assert str(request.url) == "http://api:8080/loom-api/data/network-flow"
    assert request.headers["content-type"] == "application/octet-stream"
    assert pa.ipc.open_stream(request.content).read_all().num_rows == 40


def test_an_api_that_is_busy_is_asked_again(capture: str) -> None:
    busy = [httpx.Response(503, headers={"retry-after": "0"}), httpx.Response(429, headers={"retry-after": "0"})]
    assert len(posted(capture, busy)) == 3


def test_an_api_that_refuses_ends_the_replay_with_its_words(capture: str) -> None:
    with pytest.raises(UsageError, match="says 415: no"):
        posted(capture, [httpx.Response(415, text="no")])


def test_a_capture_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        replayed(str(tmp_path / "none.pcap"))


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(UsageError):
        ReplaySettings(speed=speed)
