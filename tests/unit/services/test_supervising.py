"""Parts run side by side: tried again after passing faults, all ended after others, the last started first."""

import asyncio

import pytest

from loomidi.contracts.errors import InputError, Retryable
from loomidi.services.shared.supervising import Part, Patience, Supervisor

QUICK = Patience(first_s=0.001, longest_s=0.004, steady_s=60.0, ending_s=0.2)


async def until_told(told: asyncio.Event) -> None:
    await told.wait()


def failing(*errors: Exception) -> tuple[Part, list[int]]:
    """A part that raises each of them in turn, then runs; and how often it was started."""
    left, starts = list(errors), [0]

    async def run(told: asyncio.Event) -> None:
        starts[0] += 1
        if left:
            raise left.pop(0)
        await told.wait()

    return Part("shaky", run), starts


async def eventually(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.001)


def test_a_passing_fault_starts_the_part_again() -> None:
    async def scene() -> None:
        part, starts = failing(Retryable("bus away"), ConnectionError("reset"))
        supervisor = Supervisor([part], QUICK)
        running = asyncio.create_task(supervisor.run())
        await eventually(lambda: starts[0] == 3)
        assert (part.state, part.restarts, supervisor.ready) == ("running", 2, [])
        supervisor.stop()
        await running
        assert part.state == "ended"

    asyncio.run(scene())


def test_an_error_that_only_a_person_can_mend_ends_all_parts_and_is_raised() -> None:
    async def scene() -> None:
        part, _ = failing(InputError("the table has another schema"))
        other = Part("other", until_told)
        with pytest.raises(InputError, match="another schema"):
            await Supervisor([other, part], QUICK).run()
        assert (other.state, part.state) == ("ended", "failed")

    asyncio.run(scene())


def test_what_nobody_mapped_is_tried_a_few_times_then_raised() -> None:
    async def scene() -> None:
        part, starts = failing(*[ZeroDivisionError("x")] * 9)
        with pytest.raises(ZeroDivisionError):
            await Supervisor([part], QUICK).run()
        assert starts[0] == 5

    asyncio.run(scene())


def test_parts_end_in_the_opposite_order_of_their_start() -> None:
    ended: list[str] = []

    def part(name: str) -> Part:
        async def run(told: asyncio.Event) -> None:
            await told.wait()
            ended.append(name)

        return Part(name, run)

    async def scene() -> None:
        supervisor = Supervisor([part("bus"), part("committer"), part("agent")], QUICK)
        running = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0)
        supervisor.stop()
        await running

    asyncio.run(scene())
    assert ended == ["agent", "committer", "bus"]


def test_a_part_that_does_not_end_is_cancelled() -> None:
    async def stuck(told: asyncio.Event) -> None:
        await asyncio.Event().wait()

    async def scene() -> None:
        supervisor = Supervisor([Part("stuck", stuck)], Patience(ending_s=0.01))
        running = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0)
        supervisor.stop()
        await asyncio.wait_for(running, 5)

    asyncio.run(scene())


def test_readiness_names_the_part_that_pauses_and_why() -> None:
    async def scene() -> None:
        part, _ = failing(Retryable("bus away"))
        supervisor = Supervisor([part], Patience(first_s=60.0))
        running = asyncio.create_task(supervisor.run())
        await eventually(lambda: part.state == "pausing")
        assert supervisor.ready == ["shaky: bus away"]
        supervisor.stop()
        await running

    asyncio.run(scene())


def test_readiness_asks_a_part_that_runs() -> None:
    async def scene() -> None:
        part = Part("agent", until_told, lambda: ["agent: no link fits"])
        supervisor = Supervisor([part], QUICK)
        running = asyncio.create_task(supervisor.run())
        await eventually(lambda: part.state == "running")
        assert supervisor.ready == ["agent: no link fits"]
        supervisor.stop()
        await running

    asyncio.run(scene())
