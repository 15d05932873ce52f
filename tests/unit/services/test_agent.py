"""The agent: every packet of every round is somewhere, flows reach the bus, books of a killed run are closed."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from loomidi.contracts.errors import Conflict, InputError, UsageError
from loomidi.contracts.schemas import COUNTERS, FLOW_RECORDS
from loomidi.contracts.streams import Bus
from loomidi.loom.bus import BusSettings, Publisher, PublisherSettings, open_bus
from loomidi.loom.bus.envelopes import decode
from loomidi.loom.sources.capturing import Adopted, Taken, Tally, joined
from loomidi.services.agents.agent import Agent
from loomidi.services.agents.books import Books, closing, keep, kept
from loomidi.services.balancing import Elsewhere, chain
from loomidi.services.settings.agent import AgentSettings
from loomidi.services.shared.counting import Count
from tests.unit.origami.making import batch, flow

QUICK = AgentSettings(links=("eth0",), drain_s=0.05)


class FakeCapture:
    """One link whose packets a test makes: some in flows that ended, some in open ones, some unparsed."""

    rung = "sockets"
    problems: tuple[str, ...] = ()

    def __init__(self, adopted: dict[str, Adopted] | None = None, identity: str = "") -> None:
        self.accounted = self.unparsed = self.exported = self.flows = 0
        self.identity, self.base = identity, dict[str, int]()
        self._ended: list[int] = []
        self._adopted = adopted or {}
        self.closed = False

    def packets(self, *, ended: int = 0, still_open: int = 0, unparsed: int = 0) -> None:
        self.accounted += ended + still_open
        self.unparsed += unparsed
        self._ended += [ended] if ended else []

    def take(self) -> list[Taken]:
        ended, self._ended = self._ended, []
        self.exported += sum(ended)
        self.flows += len(ended)
        return [Taken("eth0", batch([flow(packets=n, back_packets=0) for n in ended]))] if ended else []

    def finish(self) -> list[Taken]:
        left = self.accounted - self.exported - sum(self._ended)
        self._ended += [left] if left else []
        return self.take()

    def tallies(self) -> dict[str, Tally]:
        counts = {"received": self.accounted + self.unparsed, "accounted": self.accounted, "unparsed_ip": self.unparsed}
        return {
            "eth0": Tally(self.rung, counts, self.exported, self.flows, base=dict(self.base), identity=self.identity)
        }

    def adopted(self) -> dict[str, Adopted]:
        return self._adopted

    def close(self) -> None:
        self.closed = True


class Run:
    """One run of an agent on a bus in memory."""

    def __init__(self, folder: Path, capture: FakeCapture, bus: Bus) -> None:
        self.folder, self.capture, self.bus = folder, capture, bus
        self.ending = asyncio.Event()

    async def play(
        self, acts: Callable[["Run", Agent], Awaitable[None]], epoch: int = 7, *, kill: bool = False
    ) -> Agent:
        async with Publisher(
            self.bus, producer="n1.agent", epoch=epoch, settings=PublisherSettings(linger_s=0.001)
        ) as publisher:
            agent = Agent(publisher, lambda _known: self.capture, "n1", self.folder, QUICK)
            task = asyncio.create_task(agent.run(self.ending))
            await acts(self, agent)
            if kill:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                self.ending.set()
                await task
            return agent

    async def rounds(self, agent: Agent, more: int = 2) -> None:
        want = agent._rounds + more
        async with asyncio.timeout(20):
            while agent._rounds < want:
                await asyncio.sleep(0.005)


async def everything(bus: Bus, stream: str, schema: pa.Schema) -> pa.Table:
    reader = await bus.reader(stream, "test")
    batches = []
    while messages := await reader.fetch(timeout_s=0.05):
        batches += [decode(one.envelope, schema) for one in messages]
    await reader.close()
    return pa.Table.from_batches(batches, schema=schema)


def played(folder: Path, *lives: Any, capture: FakeCapture | None = None) -> tuple[pa.Table, pa.Table]:
    """Flows and counters on the bus after one or more runs: (acts, epoch, kill, capture)."""

    async def all_of_them() -> tuple[pa.Table, pa.Table]:
        async with await open_bus(BusSettings(url="memory://")) as bus:
            for acts, epoch, kill, taken in lives:
                await Run(folder, taken, bus).play(acts, epoch, kill=kill)
            return await everything(bus, "flows", FLOW_RECORDS), await everything(bus, "counters", COUNTERS)

    return asyncio.run(all_of_them())


def last(counters: pa.Table, epoch: int, stage: str, name: str, unit: str = "packets") -> int | None:
    rows = [
        row["value"]
        for row in counters.drop_columns(["timestamp"]).to_pylist()
        if (row["epoch"], row["stage"], row["name"], row["unit"]) == (epoch, stage, name, unit)
        and row["stream"] != "counters"
    ]
    return rows[-1] if rows else None


async def some_traffic(run: Run, agent: Agent) -> None:
    for _ in range(3):
        run.capture.packets(ended=5, still_open=2, unparsed=1)
        await run.rounds(agent)


def test_flows_come_out_with_where_they_were_seen_and_everything_adds_up(tmp_path: Path) -> None:
    capture = FakeCapture()
    flows, counters = played(tmp_path, (some_traffic, 7, False, capture))
    assert set(flows["exporter"].to_pylist()) == {"n1"}
    assert set(flows["link"].to_pylist()) == {"eth0"}
    assert sum(flows["packet_delta_count"].to_pylist()) == capture.accounted == 21
    assert last(counters, 7, "capture", "received") == 24
    assert (last(counters, 7, "export", "exported"), last(counters, 7, "export", "open")) == (21, 0)
    assert last(counters, 7, "publish", "published", "rows") == flows.num_rows == 4
    assert capture.closed


def test_the_balance_over_the_counters_holds_at_every_moment(tmp_path: Path) -> None:
    flows, counters = played(tmp_path, (some_traffic, 7, False, FakeCapture()))
    elsewhere = Elsewhere({("flows", "n1.agent", 7): flows.num_rows}, {"flows": 0}, {"flows": flows.num_rows})
    moments = sorted(set(counters["timestamp"].cast(pa.int64()).to_pylist()))
    for moment in moments:
        links = [
            one
            for one in chain(counters, elsewhere, until_ns=moment + 1).equations
            if one.stage in ("capture", "meter")
        ]
        assert len(links) == 2
        assert all(one.holds for one in links), links
    whole = chain(counters, elsewhere, until_ns=time.time_ns())
    assert whole.adds_up, [one for one in whole.equations if not one.holds]


def test_an_open_flow_of_a_killed_agent_is_told_as_uncovered_by_the_next(tmp_path: Path) -> None:
    async def then_nothing(run: Run, agent: Agent) -> None:
        await run.rounds(agent)

    _, counters = played(tmp_path, (some_traffic, 7, True, FakeCapture()), (then_nothing, 8, False, FakeCapture()))
    assert (last(counters, 7, "export", "open"), last(counters, 7, "export", "uncovered")) == (0, 6)
    assert last(counters, 7, "export", "exported") == 15
    assert last(counters, 8, "export", "uncovered") is None


def test_a_shield_that_counted_on_is_told_as_recovered_and_uncovered(tmp_path: Path) -> None:
    """6 packets were open; 10 more came, of which 9 were still in the kernel: 7 are in no flow."""
    first = FakeCapture(identity="pin")
    adopted = Adopted("pin", {"received": 40, "accounted": 31, "unparsed_ip": 9}, 9)

    async def then_nothing(run: Run, agent: Agent) -> None:
        await run.rounds(agent)

    second = FakeCapture({"eth0": adopted}, identity="pin")
    _, counters = played(tmp_path, (some_traffic, 7, True, first), (then_nothing, 8, False, second))
    assert (last(counters, 7, "capture", "received"), last(counters, 7, "capture", "accounted")) == (40, 31)
    parts = {name: last(counters, 7, "export", name) for name in ("exported", "recovered", "uncovered", "open")}
    assert parts == {"exported": 15, "recovered": 9, "uncovered": 7, "open": 0}


def test_an_agent_that_is_tried_again_within_its_run_counts_on(tmp_path: Path) -> None:
    """The same epoch: values go on growing, what was open is told as uncovered."""
    _, counters = played(tmp_path, (some_traffic, 7, True, FakeCapture()), (some_traffic, 7, False, FakeCapture()))
    assert last(counters, 7, "capture", "received") == 48
    parts = {name: last(counters, 7, "export", name) for name in ("exported", "uncovered", "open")}
    assert parts == {"exported": 36, "uncovered": 6, "open": 0}
    received = [row["value"] for row in counters.drop_columns(["timestamp"]).to_pylist() if row["name"] == "received"]
    assert received == sorted(received)


def test_an_agent_that_ended_in_order_leaves_nothing_to_close(tmp_path: Path) -> None:
    played(tmp_path, (some_traffic, 7, False, FakeCapture()))
    books = kept(tmp_path / "agent.json")
    assert books is not None
    assert (books.ended, closing(books, {})) == (True, [])


def test_a_link_that_counts_nothing_is_not_told_again(tmp_path: Path) -> None:
    async def quiet(run: Run, agent: Agent) -> None:
        run.capture.packets(ended=5)
        await run.rounds(agent, 6)

    _, counters = played(tmp_path, (quiet, 7, False, FakeCapture()))
    received = [row for row in counters["name"].to_pylist() if row == "received"]
    assert len(received) <= 4


def test_a_second_agent_over_the_same_state_is_refused(tmp_path: Path) -> None:
    async def tried(run: Run, agent: Agent) -> None:
        with pytest.raises(Conflict, match="another agent runs here"):
            Agent(agent._publisher, lambda _: run.capture, "n1", tmp_path)

    played(tmp_path, (tried, 7, False, FakeCapture()))


def test_how_it_is_and_what_it_measures_can_be_asked(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    async def asked(run: Run, agent: Agent) -> None:
        seen["before"] = agent.ready()
        run.capture.packets(ended=5)
        await run.rounds(agent)
        seen["after"], seen["line"] = agent.ready(), agent.describe()
        seen["samples"] = {(one.name, one.labels.get("name")): one.value for one in agent.samples()}

    played(tmp_path, (asked, 7, False, FakeCapture()))
    assert seen["before"] == ["agent: the capture is not open yet"]
    assert (seen["after"], seen["line"]) == ([], "1 links by sockets")
    assert seen["samples"]["loomidi_agent_packets", "received"] == 5


@pytest.mark.parametrize(("links", "said"), [(("veth*",), []), (("veth*", "eth0"), ["agent: no link fits"])])
def test_a_glob_may_fit_nothing_a_name_may_not(tmp_path: Path, links: tuple[str, ...], said: list[str]) -> None:
    class NoLinks(FakeCapture):
        def tallies(self) -> dict[str, Tally]:
            return {}

    async def asked(run: Run, agent: Agent) -> None:
        agent.settings = dataclasses.replace(QUICK, links=links)
        await run.rounds(agent)
        assert [reason.partition(";")[0] for reason in agent.ready()] == said

    played(tmp_path, (asked, 7, False, NoLinks()))


def test_a_link_with_a_past_is_closed_with_all_of_it() -> None:
    """10 packets before, 5 of a second shield (it had counted 100 for others), then 7 more while nobody ran."""
    past = Tally("tc", {"received": 10, "accounted": 10}, 10, 2)
    now = Tally("tc", {"received": 5, "accounted": 5}, 3, 1, base={"received": 100, "accounted": 100}, identity="pin")
    books = Books("n1", 7, False, {"eth0": joined(past, now)})
    told = closing(books, {"eth0": Adopted("pin", {"received": 112, "accounted": 112}, 4)})
    found = {(one.stage, one.name): one.value for one in told if one.unit == "packets"}
    assert (found["capture", "received"], found["capture", "accounted"]) == (22, 22)
    assert [found["export", name] for name in ("exported", "recovered", "uncovered", "open")] == [13, 4, 5, 0]


def test_rows_that_waited_in_a_killed_run_are_in_doubt_and_those_of_a_run_that_ended_are_not(tmp_path: Path) -> None:
    gone = (Count("publish", "flows", "", "offered", "rows", 9), Count("publish", "flows", "", "waiting", "rows", 4))
    keep(tmp_path / "agent.json", Books("n1", 7, False, {}, gone))
    killed = kept(tmp_path / "agent.json")
    assert killed is not None
    assert {one.name: one.value for one in closing(killed, {})} == {"offered": 9, "waiting": 0, "in_doubt": 4}
    assert closing(dataclasses.replace(killed, ended=True), {}) == []


def test_books_are_closed_later_than_they_were_told_though_the_clock_has_stepped_back(tmp_path: Path) -> None:
    async def then_nothing(run: Run, agent: Agent) -> None:
        await run.rounds(agent)

    ahead = time.time_ns() + 3600 * 10**9
    links = {"eth0": Tally("sockets", {"received": 9, "accounted": 9}, 5, 1)}
    keep(tmp_path / "agent.json", Books("n1", 7, False, links, counted_ns=ahead))
    _, counters = played(tmp_path, (then_nothing, 8, False, FakeCapture()))
    closing_rows = counters.filter(pc.equal(counters["epoch"], 7))
    assert set(closing_rows["timestamp"].cast(pa.int64()).to_pylist()) == {ahead + 1}
    assert last(counters, 7, "export", "uncovered") == 4


def test_books_that_are_none_are_refused(tmp_path: Path) -> None:
    assert kept(tmp_path / "agent.json") is None
    keep(tmp_path / "agent.json", Books("n1", 7, False, {"eth0": Tally("tc", {"received": 1, "accounted": 1}, 0, 0)}))
    found = kept(tmp_path / "agent.json")
    assert found is not None
    assert found.links["eth0"].open == 1
    (tmp_path / "agent.json").write_text("[]")
    with pytest.raises(InputError, match="remove it"):
        kept(tmp_path / "agent.json")


@pytest.mark.parametrize("given", [{"capture": "magic"}, {"drain_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        AgentSettings(**given)
