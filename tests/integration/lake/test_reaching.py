"""A catalog and a store that are far: by the verb's settings, with the wrong key, not there at all."""

import dataclasses
import json
from pathlib import Path

import pytest

from loomidi.conductor.cli import guarded, loomidi
from loomidi.contracts.errors import EnvironmentLacks, Retryable
from loomidi.loom.lake import Committer, Lake, LakeSettings
from tests.integration.lake.servers import KEY, SECRET, free_ports
from tests.unit.loom.lake.batches import messages

pytestmark = pytest.mark.required


@pytest.fixture
def far(seaweed: tuple[int, int], tmp_path: Path) -> LakeSettings:
    """Three rows behind a REST catalog."""
    s3, rest = seaweed
    settings = LakeSettings(
        folder=tmp_path / "lake",
        catalog=f"http://127.0.0.1:{rest}",
        warehouse="s3://tables",
        namespace=f"n{tmp_path.name}".replace("-", "_").lower(),
        credential=f"{KEY}:{SECRET}",
        s3_endpoint=f"http://127.0.0.1:{s3}",
        s3_access_key=KEY,
        s3_secret_key=SECRET,
    )
    with Lake(settings) as lake, Committer(lake, "metrics") as committer:
        committer.take(messages(1))
        committer.commit()
    return settings


def test_the_verb_asks_a_lake_that_the_environment_names(
    far: LakeSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for field, value in dataclasses.asdict(far).items():
        monkeypatch.setenv(f"LOOMIDI_LAKE_{field}".upper(), str(value))
    words = ["lake", "query", "--json", "select count(*) as rows from metrics"]
    assert guarded(lambda: loomidi.main(words, standalone_mode=False)) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 3}


def test_a_wrong_secret_is_no_reason_to_try_again(far: LakeSettings) -> None:
    with (
        Lake(dataclasses.replace(far, credential=f"{KEY}:wrong")) as lake,
        pytest.raises(EnvironmentLacks, match="keys"),
    ):
        lake.tables()


def test_a_catalog_that_is_not_there_may_be_there_later(far: LakeSettings) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Lake(dataclasses.replace(far, catalog=dead)) as lake, pytest.raises(Retryable, match="tried again"):
        lake.tables()


def test_a_store_that_is_not_there_keeps_rows_with_the_committer(far: LakeSettings) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Lake(dataclasses.replace(far, s3_endpoint=dead)) as lake, Committer(lake, "metrics") as committer:
        committer.take(messages(2))
        with pytest.raises(Retryable):
            committer.commit()
        assert (committer.waiting.rows, committer.position) == (3, {0: 1})
