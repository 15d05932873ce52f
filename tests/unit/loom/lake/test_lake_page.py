"""docs/lake.md names what is there."""

import dataclasses
import re
from pathlib import Path

from loomidi.loom.lake import LakeSettings, streams
from loomidi.loom.lake import settings as source

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "lake.md").read_text()


def test_every_setting_and_every_table_is_on_the_page() -> None:
    assert [each.name for each in dataclasses.fields(LakeSettings) if f"`{each.name}`" not in PAGE] == []
    assert [name for name in streams() if f"`{name}`" not in PAGE] == []


def test_every_setting_says_its_reason() -> None:
    text = Path(source.__file__).read_text()
    for field in dataclasses.fields(LakeSettings):
        assert re.search(rf"    {field.name}: .*\n    # \S", text), field.name
