"""The schedule of the load, its sums, and the browser's client."""

import asyncio
import io
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomidi.contracts.errors import InputError, UsageError
from loomidi_lab.shop.load import LoadProfile, LoadSummary
from loomidi_lab.shop.load.journeys import CHAINS, SHARES
from loomidi_lab.shop.load.people import Person
from loomidi_lab.shop.load.planning import bursts, level, schedule
from loomidi_lab.shop.load.sending import Orders, Sender
from loomidi_lab.shop.load.summaries import Tally, quantile

FLAT = LoadProfile(swing=0.0, bursts=0.0)


class TestSchedule:
    def test_the_same_seed_is_the_same_schedule(self) -> None:
        assert list(schedule(LoadProfile(), 7, 60.0)) == list(schedule(LoadProfile(), 7, 60.0))

    def test_another_seed_is_another_one(self) -> None:
        assert list(schedule(LoadProfile(), 7, 20.0)) != list(schedule(LoadProfile(), 8, 20.0))

    def test_a_longer_one_begins_with_the_shorter_one(self) -> None:
        short = list(schedule(LoadProfile(), 7, 30.0))
        assert list(itertools.islice(schedule(LoadProfile(), 7), len(short))) == short

    def test_it_is_in_order_of_time_and_begins_at_once(self) -> None:
        times = [planned.at_s for planned in schedule(FLAT, 3, 120.0)]
        assert times == sorted(times)
        assert 0.0 <= times[0] < 2.0
        assert times[-1] < 120.0

    @pytest.mark.parametrize("rate", [5.0, 30.0, 120.0])
    def test_the_rate_is_what_was_asked_for(self, rate: float) -> None:
        found = len(list(schedule(LoadProfile(rate=rate, swing=0.0, bursts=0.0), 5, 600.0))) / 600.0
        assert found == pytest.approx(rate, rel=0.1)

    def test_the_rate_holds_from_the_first_minute(self) -> None:
        profile = LoadProfile(rate=100.0, swing=0.0, bursts=0.0)
        assert len(list(schedule(profile, 5, 20.0))) / 20.0 == pytest.approx(100.0, rel=0.2)

    def test_the_day_has_its_curve(self) -> None:
        profile = LoadProfile(swing=0.8, bursts=0.0, day_s=400.0)
        halves = Counter(planned.at_s < 200.0 for planned in schedule(profile, 1, 400.0))
        assert halves[True] > 1.5 * halves[False]

    def test_a_burst_is_a_burst(self) -> None:
        profile = LoadProfile(swing=0.0, bursts=3.0, burst_factor=3.0)
        starts = bursts(profile, 2, 0)
        assert starts
        assert level(profile, 2, starts[0] + 1.0) == 3.0
        assert all(0.0 <= start < profile.day_s for start in starts)

    def test_every_kind_of_visit_buys_or_looks(self) -> None:
        found = list(schedule(FLAT, 1, 300.0))
        assert {planned.journey for planned in found} == set(SHARES)
        routes = Counter(planned.step.route for planned in found)
        assert min(routes[route] for route in ("/", "/product", "/search", "/cart/items", "/checkout", "/orders")) > 0

    def test_two_orders_never_have_the_same_key(self) -> None:
        keys = [p.step.body for p in schedule(FLAT, 1, 600.0) if p.step.route == "/checkout"]
        assert len(set(keys)) == len(keys) > 50


def test_a_seed_that_is_played_again_orders_again() -> None:
    """The shop keeps orders by key; the drills play one seed many times on one shop."""
    drawn = next(p.step.body for p in schedule(FLAT, 1, 600.0) if p.step.route == "/checkout")
    times = [Sender(Orders("http://127.0.0.1:1", FLAT, 1, Path(), 1.0, at, "", 0), io.StringIO()) for at in (1, 2)]
    keys = [json.loads(sender._body(drawn))["key"] for sender in times]
    assert len({*keys, json.loads(drawn)["key"]}) == 3
    assert max(map(len, keys)) <= 80
    assert times[0]._body('{"sku": "a", "quantity": 1}') == '{"sku": "a", "quantity": 1}'


def test_every_page_that_is_reached_leads_somewhere() -> None:
    for chain in CHAINS.values():
        for page, following in chain.items():
            assert sum(following.values()) <= 1.0 + 1e-9, page
            assert set(following) <= set(chain), page


@pytest.mark.parametrize("field", [{"rate": 0.0}, {"users": 0}, {"swing": 1.5}, {"patience_s": -1.0}])
def test_a_profile_that_makes_no_sense_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        LoadProfile(**field).checked()  # type: ignore[arg-type]


def test_a_profile_travels_as_json() -> None:
    profile = LoadProfile(rate=3.0, users=9)
    assert LoadProfile.of_json(profile.as_json()) == profile
    with pytest.raises(UsageError):
        LoadProfile.of_json('{"speed": 1}')


class TestSummary:
    def tally(self) -> Tally:
        tally = Tally(1, 0)
        for number in range(100):
            outcome = "200" if number < 90 else ("503" if number < 95 else "404" if number < 98 else "timeout")
            tally.count("/", outcome, float(number), 0.5, number * 10**8)
        return tally

    def test_errors_and_refusals_are_told_apart(self) -> None:
        summary = self.tally().summary(0.1)
        assert (summary.errors, summary.refused) == ({"503": 5, "timeout": 2}, {"404": 3})
        assert summary.error_share == pytest.approx(0.07)

    def test_it_comes_back_from_a_file(self, tmp_path: Path) -> None:
        summary = self.tally().summary(0.1)
        (tmp_path / "s.json").write_text(summary.as_json())
        assert LoadSummary.read(tmp_path / "s.json") == summary
        (tmp_path / "s.json").write_text("{}")
        with pytest.raises(InputError):
            LoadSummary.read(tmp_path / "s.json")

    def test_prometheus_text_has_every_outcome(self) -> None:
        text = self.tally().prometheus()
        assert 'load_requests_total{route="/",outcome="503"} 5' in text

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
    def test_a_quantile_is_one_of_the_values_and_enough_are_below(self, values: list[float], share: float) -> None:
        ordered = sorted(values)
        found = quantile(ordered, share)
        assert found in ordered
        assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6


class Server:
    """A small HTTP server of loopback that counts connections: keeps them, closes them, or says nothing."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Server":
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.port = int(self.server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0)  # the handlers see the end

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        more = b"connection: close\r\n" if self.manner == "close" else b""
        while self.manner != "silent" and await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + more + b"\r\nok")
            if more:
                break
        if more:
            writer.close()


class TestPerson:
    @pytest.mark.parametrize(("manner", "expected"), [("keep", 1), ("close", 3)])
    def test_a_connection_is_kept_as_long_as_the_server_wants(self, manner: str, expected: int) -> None:
        async def work() -> int:
            async with Server(manner) as server, Person("127.0.0.1", server.port, "127.0.0.9", 6) as person:
                for _ in range(3):
                    outcome = await person.ask("GET", "/", "u1", "", 5.0)
                    assert (outcome.status, outcome.received, outcome.error) == (200, 2, "")
                return len(server.writers)

        assert asyncio.run(work()) == expected

    def test_nobody_there_is_refused_and_a_silent_one_times_out(self) -> None:
        async def work() -> tuple[str, str]:
            async with Server("silent") as server, Person("127.0.0.1", server.port, "", 6) as person:
                slow = await person.ask("GET", "/", "u1", "", 0.2)
            async with Person("127.0.0.1", server.port, "", 6) as person:
                gone = await person.ask("GET", "/", "u1", "", 5.0)
            return slow.error, gone.error

        assert asyncio.run(work()) == ("timeout", "refused")
