"""The agent as a process: what it refuses, a bus that comes later, and the verbs around it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loomidi.conductor.verbs import replay, serve
from loomidi.contracts.errors import InputError, LoomidiError, Retryable, UsageError
from loomidi.loom.bus import BusSettings
from loomidi.loom.bus.envelopes import encode
from loomidi.services.agents.agent import capture_of
from loomidi.services.agents.serving import LateBus
from loomidi.services.settings.agent import AgentSettings
from tests.unit.origami.making import batch, flow


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


def test_a_bus_that_is_away_at_the_start_is_met_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every publish tries to open it until one does; then it is the bus."""
    from loomidi.loom.bus import open_bus
    from loomidi.services.agents import serving as agent_serving

    tries: list[BusSettings] = []

    async def opening(settings: BusSettings) -> Any:
        tries.append(settings)
        if len(tries) < 3:
            raise Retryable("nobody answers")
        return await open_bus(settings)

    async def played() -> int:
        bus, taken = LateBus(BusSettings(url="memory://")), 0
        envelope = encode(batch([flow()]), stream="flows", producer="n1.agent", epoch=7, seq=0)
        for _ in range(4):
            try:
                taken += len(await bus.publish([envelope]))
            except Retryable:
                continue
        await bus.close()
        return taken

    monkeypatch.setattr(agent_serving, "open_bus", opening)
    assert asyncio.run(played()) == 2
    assert len(tries) == 3


def test_without_a_link_there_is_nothing_to_meter(tmp_path: Path) -> None:
    result = run(serve.command, "agent", "--state", str(tmp_path))
    assert isinstance(result.exception, UsageError)
    assert "name at least one link" in str(result.exception)


@pytest.mark.parametrize("place", ["x", "70000", "host:"])
def test_probes_are_a_port(tmp_path: Path, place: str) -> None:
    result = run(serve.command, "agent", "eth0", "--state", str(tmp_path), "--probes", place)
    assert isinstance(result.exception, UsageError)


def test_a_namespace_that_is_not_there_is_told() -> None:
    for capture in ("shield", "sockets", "auto"):
        with pytest.raises(LoomidiError):
            capture_of(AgentSettings(links=("eth0",), netns=("nowhere",), capture=capture), frozenset())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("a.pcap", "--speed", "fast"), UsageError),
        (("a.pcap", "--speed", "-1"), UsageError),
        (("a.pcap", "--bus", "memory://", "--ingest", "http://x"), UsageError),
        (("nowhere.pcap", "--bus", "memory://"), InputError),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(arguments: tuple[str, ...], error: type[Exception]) -> None:
    assert isinstance(run(replay.command, *arguments).exception, error)
