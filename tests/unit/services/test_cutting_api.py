"""The agent's door for orders: shut unless it is locked, a key in a file, every route for operators alone."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from loomidi.contracts.errors import EnvironmentLacks, InputError, UsageError
from loomidi.services.agents.cutting_api import CuttingApi, sealer_of, uplinks_of
from loomidi.services.agents.serving import serve
from loomidi.services.http.authority import Authority, Door
from loomidi.services.settings.cutting import CutSettings
from loomidi.services.settings.run import NodeSettings, RunSettings


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("k" * 32)
    return file


def test_an_open_door_is_refused(tmp_path: Path, key: Path) -> None:
    with pytest.raises(UsageError, match="can be reached from other machines"):
        CuttingApi("n1", tmp_path, CutSettings(key=key, door=Door(host="10.0.0.1")))
    with pytest.raises(InputError, match="no such file"):
        CuttingApi("n1", tmp_path, CutSettings(key=key, door=Door(token_file=tmp_path / "none")))


@pytest.mark.parametrize(("text", "why"), [("k" * 31, "31 octets"), (None, "No such file")])
def test_a_key_that_is_short_or_missing_is_refused(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    with pytest.raises(EnvironmentLacks, match=why):
        sealer_of(tmp_path / "key")
    with pytest.raises(EnvironmentLacks, match="--orders-key"):
        sealer_of(None)


def test_every_route_is_for_operators_alone(tmp_path: Path, key: Path) -> None:
    api = CuttingApi("n1", tmp_path, CutSettings(key=key))
    assert {route.authority for route in api.routes()} == {Authority.RULER, Authority.READER}
    assert api.ready() == ["cuts: no orders are taken yet"]
    assert [sample.name for sample in api.samples()] == ["loomidi_agent_plans", "loomidi_agent_pods"]


def test_an_uplink_that_is_not_there_is_named() -> None:
    with pytest.raises(EnvironmentLacks, match="uplinks nolink0"):
        uplinks_of(CutSettings(uplinks=("nolink0",)), None)


def test_following_more_often_than_makes_sense_is_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.05 to 60"):
        CutSettings(follow_s=0)


def test_with_neither_links_nor_a_key_there_is_nothing_to_do(tmp_path: Path) -> None:
    settings = dataclasses.replace(RunSettings(), node=NodeSettings(state=tmp_path))
    with pytest.raises(UsageError, match="--orders-key"):
        asyncio.run(serve(settings, None, print))
